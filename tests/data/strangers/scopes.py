"""Exports of oscilloscopes and recorders, as their manuals and users show them."""

from pathlib import Path
from typing import Any

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text

CASES: list[Case] = []


@listed(
    CASES,
    source="PicoScope 6 user's guide, text formats: names, then units, then a blank line; in ms",
)
def picoscope_csv_ms(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=0.4)
        columns = [
            numbers(truth.seconds * 1000 - 100, ".6f"),
            *(numbers(v, ".6f") for v in truth.channels.values()),
        ]
        text(path, ["Time,Channel A,Channel B", "(ms),(A),(V)", "", *rows(*columns)], end="\r\n")
        return Truth(
            truth.seconds,
            {"Channel A": truth.channels["current"], "Channel B": truth.channels["voltage"]},
        )

    return logs(folder, write)


def _picoscope_tabs(folder: Path, **settings: Any) -> Made:
    """In (µs) and tabs, with the infinity sign where a value is beyond the range."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=0.0004)
        a = numbers(truth.channels["current"], ".6f")
        a[100] = a[101] = "∞"
        columns = [
            numbers(truth.seconds * 1e6, ".6f"),
            a,
            numbers(truth.channels["voltage"], ".6f"),
        ]
        text(
            path,
            ["Time\tChannel A\tChannel B", "(µs)\t(A)\t(V)", "", *rows(*columns, separator="\t")],
            "utf-8-sig",
        )
        return Truth(
            truth.seconds,
            {"Channel A": truth.channels["current"], "Channel B": truth.channels["voltage"]},
        )

    return logs(folder, write, "txt", **settings)


PICOSCOPE = "PicoScope 6 user's guide: a value beyond the range is written as the infinity sign"


@listed(CASES, "refused", says=r'series_missing=\["∞"\]', source=PICOSCOPE)
def picoscope_tabs_us_overrange(folder: Path) -> Made:
    return _picoscope_tabs(folder)


@listed(CASES, source=PICOSCOPE)
def picoscope_tabs_us_overrange_by_setting(folder: Path) -> Made:
    return _picoscope_tabs(folder, series_missing=["∞"])


@listed(
    CASES,
    "right or refused",
    says="log0.csv",
    source="https://mamclain.com/?page=Engineering_Matlab_TexOscCSVLoader",
)
def tektronix_tds_preamble_beside_data(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        side = [
            "Record Length,2.400000e+02,", "Sample Interval,1.666667e-02,", "Trigger Point,1.200000e+02,",
            ",,", ",,", ",,", "Source,CH1,", "Vertical Units,V,", "Vertical Scale,2.000000e+00,",
            "Vertical Offset,0.000000e+00,", "Horizontal Units,s,", "Horizontal Scale,5.000000e-02,",
            "Pt Fmt,Y,", "Yzero,0.000000e+00,", "Probe Atten,1.000000e+01,", "Firmware Version,FV:v10.21,",
        ]  # fmt: skip
        side += [",,"] * (240 - len(side))
        body = [
            f"{s},{t:18.12f},{a:10.5f},"
            for s, t, a in zip(side, truth.seconds - 2, truth.channels["current"], strict=True)
        ]
        text(path, body, end="\r\n")
        return Truth(truth.seconds, {"*0": truth.channels["current"]})

    return logs(folder, write)


@listed(CASES, source="Tektronix MSO/DPO CSV: Model,... rows, then TIME,CH1,CH2")
def tektronix_mso_preamble_above(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            "Model,MSO4034", "Firmware Version,2.48", "", "Waveform Type,ANALOG,,", "Point Format,Y,,",
            "Horizontal Units,s,,", "Horizontal Scale,0.4,,", "Horizontal Delay,0,,", "Sample Interval,0.0166667,,",
            "Record Length,240,,", "Gating,0.0% to 100.0%,,", "Probe Attenuation,10,10,", "Vertical Units,A,V,",
            "Vertical Offset,0,0,", "Vertical Scale,2,2,", "Label,,,", "TIME,CH1,CH2,",
        ]  # fmt: skip
        body = [
            f"{t:.6e},{a:.5f},{b:.5f},"
            for t, a, b in zip(truth.seconds - 2, *truth.channels.values(), strict=True)
        ]
        text(path, head + body)
        return Truth(
            truth.seconds, {"CH1": truth.channels["current"], "CH2": truth.channels["voltage"]}
        )

    return logs(folder, write)


@listed(
    CASES,
    source="https://www.easymanua.ls/agilent-technologies/infiniivision-5000-series/manual?p=417",
)
def keysight_infiniivision(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = [
            f"{t:+.8E},{a:+.5E},{b:+.5E}"
            for t, a, b in zip(truth.seconds - 2, *truth.channels.values(), strict=True)
        ]
        text(path, ["x-axis,1,2", "second,Volt,Volt", *body], end="\r\n")
        return Truth(
            truth.seconds, {"1": truth.channels["current"], "2": truth.channels["voltage"]}
        )

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says="log0.csv.*",
    source="Rigol DS1000Z CSV: Start and Increment stand in the head, the rows only count",
)
def rigol_sequence_with_increment(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = [
            f"{n},{a:.2e},{b:.2e},"
            for n, (a, b) in enumerate(zip(*truth.channels.values(), strict=True))
        ]
        text(
            path,
            ["X,CH1,CH2,Start,Increment,", "Sequence,Volt,Volt,-2.000000e+00,1.666667e-02", *body],
        )
        return Truth(
            truth.seconds,
            {"CH1": truth.channels["current"], "CH2": truth.channels["voltage"]},
            clocked=False,
        )

    return logs(folder, write)


@listed(CASES, source="https://manualshive.com/ru/manual/hioki/8807-01/2137496?page=286")
def hioki_8807_quoted_head(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            '"COMMENT","8807 MEM DATA"', '"DATE","01-01-1999"', '"TIME","15:26:55"', '"NUM_SIGS",3',
            '"INTERVAL",1.6667E-02', '"HORZ_UNITS","S"', '"VERT_UNITS","S","A","V"',
            '"SIGNAL","TIME","ACH1","ACH2"', '"DATA"',
        ]  # fmt: skip
        body = [
            f"{t:+.5E}, {a:+.4E}, {b:+.4E}"
            for t, a, b in zip(truth.seconds, *truth.channels.values(), strict=True)
        ]
        text(path, head + body, end="\r\n")
        return Truth(
            truth.seconds, {"ACH1": truth.channels["current"], "ACH2": truth.channels["voltage"]}
        )

    return logs(folder, write, "txt")


@listed(CASES, source="https://www.easymanua.ls/hioki/memory-hicorder-mr8880/manual?p=275")
def hioki_mr8880_trailing_comma(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            '"File name","WAVE0001.CSV","V1.00"', '"Title comment",""', "\"Start trigger time\",\"'10-06-30 15:53:03\"",
            '"CH","CH1","CH2",', '"Mode","DC","DC",', '"Range","500mV","2V",', '"Comment","","",',
            '"Scaling","Off","Off",', '"Ratio"," 1.00000E+00"," 1.00000E+00",',
            '"Offset"," 0.00000E+00"," 0.00000E+00",', '"Time","CH1[A]","CH2[V]",',
        ]  # fmt: skip
        body = [
            f"{t:.9E},{a: .5E},{b: .5E},"
            for t, a, b in zip(truth.seconds, *truth.channels.values(), strict=True)
        ]
        text(path, head + body, end="\r\n")
        return Truth(
            truth.seconds, {"CH1": truth.channels["current"], "CH2": truth.channels["voltage"]}
        )

    return logs(folder, write)


@listed(CASES, source="Rohde & Schwarz RTM CSV: 'in s,C1 in V' in the first line")
def rohde_schwarz_unit_in_name(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = [
            f"{t:.6E},{a:.5E},{b:.5E}"
            for t, a, b in zip(truth.seconds - 2, *truth.channels.values(), strict=True)
        ]
        text(path, ["in s,C1 in A,C2 in V", *body])
        return Truth(
            truth.seconds, {"C1": truth.channels["current"], "C2": truth.channels["voltage"]}
        )

    return logs(folder, write)

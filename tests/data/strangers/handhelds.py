"""Logs of phones, wearables and loggers that fit into a hand, as their own programs export them."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text
from .programs import START

CASES: list[Case] = []


def _named(truth: Truth, *names: str, clocked: bool = True) -> Truth:
    """The same readings under other names."""
    return Truth(
        truth.seconds, dict(zip(names, truth.channels.values(), strict=True)), clocked=clocked
    )


@listed(CASES, source="phyphox, CSV with a decimal point: quoted names, exponents")
def phyphox(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = [numbers(v, ".9E") for v in (truth.seconds, *truth.channels.values())]
        head = '"Time (s)","Linear Acceleration x (m/s^2)","Absolute acceleration (m/s^2)"'
        text(path, [head, *rows(*columns)])
        return _named(truth, "Linear Acceleration x", "Absolute acceleration")

    return logs(folder, write)


@listed(CASES, source="phyphox, CSV with a decimal comma and tabs")
def phyphox_decimal_comma(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = [numbers(v, ".9E", ",") for v in (truth.seconds, *truth.channels.values())]
        head = '"Time (s)"\t"Illuminance (lx)"\t"Voltage (V)"'
        text(path, [head, *rows(*columns, separator="\t")])
        return _named(truth, "Illuminance", "Voltage")

    return logs(folder, write)


@listed(
    CASES,
    source="HOBOware: a title, serial numbers in the names, marks of events in the last rows",
)
def hobo_with_events(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240 * 60)
        stamps = [
            (START + timedelta(seconds=float(t))).strftime("%m/%d/%y %I:%M:%S %p")
            for t in truth.seconds
        ]
        count = [str(n + 1) for n in range(len(stamps))]
        body = rows(count, stamps, *(numbers(v, ".3f") for v in truth.channels.values()))
        serial = "(LGR S/N: 20435, SEN S/N: 20435"
        lines = [
            '"Plot Title: hall 3"',
            f'"#","Date Time, GMT+02:00","Temp, °C {serial}, LBL: in)","Volt, V {serial})"'
            f',"Host Connected {serial[:-19]})","End Of File (LGR S/N: 20435)"',
            *(line + ",," for line in body[:-1]),
            body[-1] + ",Logged,Logged",
        ]
        text(path, lines, "utf-8-sig", "\r\n")
        return _named(truth, "Temp", "Volt")

    return logs(folder, write, series_dates="month_first")


@listed(
    CASES,
    source="Graphtec GL: settings above, whole seconds beside a column of milliseconds, signs apart",
)
def graphtec_gl(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        stamps = [START + timedelta(seconds=float(t)) for t in truth.seconds]
        signed = [
            [f"{'+' if v >= 0 else '-'} {abs(v):8.3f}" for v in values]
            for values in truth.channels.values()
        ]
        body = rows(
            [f"{n + 1}" for n in range(len(stamps))],
            [stamp.strftime("%Y/%m/%d %H:%M:%S") for stamp in stamps],
            [f"{stamp.microsecond // 1000}" for stamp in stamps],
            *signed,
            ["LLLLLLLLLL"] * len(stamps),
        )
        head = [
            "Vendor,GRAPHTEC Corporation",
            "Model,GL820",
            "Sampling interval,16.67ms",
            "Total data points,240",
            "Amp settings",
            "CH,Signal name,Input,Range",
            "CH1,weld current,DC,50V",
            "CH2,voltage,DC,5V",
            "Data",
            "Number,Date&Time,ms,CH1,CH2,Alarm1-10",
            "NO.,Time,ms,V,V,A1234567890",
        ]
        text(path, head + body, end="\r\n")
        return _named(truth, "CH1", "CH2")

    return logs(folder, write)


@listed(
    CASES,
    source="Keysight 34970A: UTF-16, scan numbers, milliseconds behind a colon, alarms beside values",
)
def keysight_34970a(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        stamps = [START + timedelta(seconds=float(t)) for t in truth.seconds]
        words = [f"{s:%m/%d/%Y %H:%M:%S}:{s.microsecond // 1000:03d}" for s in stamps]
        cells = [numbers(v, ".6E") for v in truth.channels.values()]
        zeros = ["0"] * len(stamps)
        count = [str(n + 1) for n in range(len(stamps))]
        body = rows(count, words, cells[0], zeros, cells[1], zeros)
        head = ["Scan,Time,101 <current> (ADC),Alarm 101,102 <voltage> (VDC),Alarm 102"]
        text(path, head + body, "utf-16", "\r\n")
        return Truth(
            truth.seconds,
            {
                "<current>": truth.channels["current"],
                "<voltage>": truth.channels["voltage"],
                "Alarm 101": np.zeros(240),
                "Alarm 102": np.zeros(240),
            },
        )

    return logs(folder, write, series_dates="month_first")


@listed(CASES, source="Shimmer Consensys: sep=, then names, then RAW or CAL, then units")
def shimmer_three_rows(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        clock = 1686753468123 + 1000 * truth.seconds
        body = rows(
            numbers(clock, ".3f"),
            *(numbers(v, ".7f") for v in truth.channels.values()),
            separator="\t",
        )
        head = [
            '"sep=\t"',
            "Shimmer_6749_Timestamp_Unix_CAL\tShimmer_6749_Accel_LN_X_CAL\tShimmer_6749_GSR_CAL",
            "CAL\tCAL\tCAL",
            "ms\tm/(s^2)\tkOhms",
        ]
        text(path, head + [line + "\t" for line in body])
        return _named(truth, "Accel_LN_X", "GSR")

    return logs(folder, write)


@listed(CASES, source="ActiGraph: ten lines of words between dashes, names, no clock")
def actigraph(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            "------------ Data File Created By ActiGraph GT3X+ ActiLife v6.13.3 Firmware v2.5.0 "
            "date format M/d/yyyy at 30 Hz  Filter Normal -----------",
            "Serial Number: NEO1C15110103",
            "Start Time 14:37:48",
            "Start Date 6/14/2023",
            "Epoch Period (hh:mm:ss) 00:00:00",
            "Download Time 16:28:24",
            "Download Date 6/14/2023",
            "Current Memory Address: 0",
            "Current Battery Voltage: 4.15     Mode = 12",
            "--------------------------------------------------",
            "Accelerometer X,Accelerometer Y",
        ]
        text(path, head + rows(*(numbers(v, ".3f") for v in truth.channels.values())), end="\r\n")
        return _named(truth, "Accelerometer X", "Accelerometer Y", clocked=False)

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says=r"SampleTimeFine rises in every row",
    source="Xsens MT Manager: comments by //, a packet counter, a fine time in tenths of a millisecond",
)
def xsens_fine_time(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            "// General information:",
            "//  MT Manager version:\t2019.0.0",
            "//  Update Rate:\t60.0Hz",
            "PacketCounter\tSampleTimeFine\tAcc_X\tAcc_Y",
        ]
        body = rows(
            [f"{n:05d}" for n in range(240)],
            [f"{round(t * 10000)}" for t in truth.seconds],
            *(numbers(v, ".6f") for v in truth.channels.values()),
            separator="\t",
        )
        text(path, head + body)
        return _named(truth, "Acc_X", "Acc_Y")

    return logs(folder, write, "txt")


@listed(CASES, source="MATLAB writetimetable: durations in words, '0.25 sec'")
def matlab_durations(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        clock = [f"{t:.5g} sec" for t in truth.seconds]
        text(path, ["Time,current,voltage", *rows(clock, *map(numbers, truth.channels.values()))])
        return truth

    return logs(folder, write)


@listed(CASES, source="Python's logging: 2023-06-14 14:37:48,123 in quotes between commas")
def python_logging_stamps(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        stamps = [START + timedelta(seconds=float(t)) for t in truth.seconds]
        words = [f'"{s:%Y-%m-%d %H:%M:%S},{s.microsecond // 1000:03d}"' for s in stamps]
        text(
            path, ["asctime,current,voltage", *rows(words, *map(numbers, truth.channels.values()))]
        )
        return truth

    return logs(folder, write)


@listed(CASES, "refused", says=r"\.jsonl", source="a script that writes a JSON object a reading")
def json_lines(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        text(path, [f'{{"t": {t:.3f}, "current": 1.5}}' for t in truth.seconds])
        return truth

    return logs(folder, write, "jsonl")


@listed(CASES, "refused", says=r"\.mf4", source="car loggers: MDF 4")
def mdf_4(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        path.write_bytes(b"MDF     4.10    quadlib " + bytes(500))
        return readings(number)

    return logs(folder, write, "mf4")

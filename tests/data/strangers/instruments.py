"""Exports of well-known instruments and programs, as their manuals and users show them."""

from pathlib import Path
from typing import Any

import numpy as np

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text

CASES: list[Case] = []


@listed(
    CASES,
    source="https://ni.com/en/support/documentation/supplemental/06/specification-for-the-labview-measurement-file---lvm-.html",
)
def labview_lvm_renamed_txt(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            "LabVIEW Measurement\t", "Writer_Version\t2", "Reader_Version\t2", "Separator\tTab",
            "Decimal_Separator\t.", "Multi_Headings\tNo", "X_Columns\tOne", "Time_Pref\tRelative",
            "Operator\tlab", "Date\t2023/06/04", "Time\t14:37:48.2010002136", "***End_of_Header***\t",
            "\t", "Channels\t2\t\t", "Samples\t240\t240\t", "Date\t2023/06/04\t2023/06/04\t",
            "Time\t14:37:48.201\t14:37:48.201\t", "Y_Unit_Label\tA\tV\t", "X_Dimension\tTime\tTime\t",
            "X0\t0.0000000000000000E+0\t0.0000000000000000E+0\t",
            "Delta_X\t0.016667\t0.016667\t", "***End_of_Header***\t\t\t",
            "X_Value\tcurrent\tvoltage\tComment",
        ]  # fmt: skip
        body = rows(
            *(numbers(v, ".6f") for v in (truth.seconds, *truth.channels.values())), separator="\t"
        )
        text(path, head + body, end="\r\n")
        return truth

    return logs(folder, write, "txt")


@listed(
    CASES, "right or refused", says=r"log0\.lvm.*|lvm", source="https://github.com/ladisk/lvm_read"
)
def labview_lvm_by_its_own_ending(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = ["LabVIEW Measurement\t", "Separator\tTab", "***End_of_Header***\t", "", "Channels\t2",
                "***End_of_Header***\t\t\t", "X_Value\tcurrent\tvoltage\tComment"]  # fmt: skip
        body = rows(
            *(numbers(v, ".6f") for v in (truth.seconds, *truth.channels.values())), separator="\t"
        )
        text(path, head + body)
        return truth

    return logs(folder, write, "lvm")


@listed(
    CASES,
    source="HBM catman Easy ASCII export: a header block, then names, then units, decimal comma",
)
def catman_ascii_decimal_comma(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            "HBM_CATMAN_DATAFILE_50", "Export Datum/Zeit: 04.06.2023 14:37:48", "Kommentar: Naht 3", "",
            "Zeit  1 - Standardmessrate\tcurrent\tvoltage", "s\tA\tV",
        ]  # fmt: skip
        columns = [numbers(v, ".5f", ",") for v in (truth.seconds, *truth.channels.values())]
        text(path, head + rows(*columns, separator="\t"), "cp1252", "\r\n")
        return truth

    return logs(folder, write, "txt")


@listed(CASES, source="Dewesoft X text export: settings, blank line, names, units in brackets")
def dewesoft_export(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        head = [
            "Filename:\tweld_0001.dxd", "Start time:\t6/4/2023 2:37:48.201 PM", "Sample rate:\t60 Hz",
            "Number of channels:\t2", "", "Time (s)\tcurrent (A)\tvoltage (V)",
        ]  # fmt: skip
        columns = [numbers(v, ".6f") for v in (truth.seconds, *truth.channels.values())]
        text(path, head + rows(*columns, separator="\t"), end="\r\n")
        return truth

    return logs(folder, write, "txt")


@listed(
    CASES,
    says="99999 4 times.*series_missing",
    good="right or refused",
    source="http://38.142.81.21:8001/manual/yokogawa/data-acquisition-with-pid-control-cx2000/owner-s-manual-english/page-389.html",
)
def yokogawa_overrange_99999(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        a = truth.channels["current"].copy()
        cells = numbers(a)
        cells[60:64] = ["99999"] * 4
        text(
            path,
            [
                "Time [s],current [A],voltage [V]",
                *rows(numbers(truth.seconds), cells, numbers(truth.channels["voltage"])),
            ],
        )
        return truth

    return logs(folder, write)


@listed(
    CASES, source="https://infohub.industry.panasonic.eu/data/fpwin/en/topics/t-0000014608.html"
)
def panasonic_plc_date_time_split(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        head = [
            "Line 4",
            "Date,Time,1,2",
            ",,current,voltage",
            ",,ampere,volt",
            ",,MOMENT,MOMENT",
            ",,REAL,REAL",
            ",,A,V",
        ]
        body = [
            f"2023-04-01,12:{int(t) // 60:02d}:{int(t) % 60:02d},{a:.4f},{b:.4f}"
            for t, a, b in zip(truth.seconds, *truth.channels.values(), strict=True)
        ]
        text(path, head + body + [",,-,-"])
        return truth

    return logs(folder, write)


@listed(CASES, source="NI DIAdem / LabVIEW spreadsheet: no header at all, tabs, decimal comma")
def no_header_tabs_decimal_comma(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = [numbers(v, ".4f", ",") for v in truth.channels.values()]
        text(path, rows(*columns, separator="\t"))
        return Truth(
            truth.seconds,
            {"*0": truth.channels["current"], "*1": truth.channels["voltage"]},
            clocked=False,
        )

    return logs(folder, write, "txt")


@listed(
    CASES,
    source="Arduino serial monitor: the first line is the torn end of another, the last is torn too",
)
def arduino_torn_first_and_last_line(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(
            numbers(truth.seconds * 1000, ".0f"), *(numbers(v) for v in truth.channels.values())
        )
        text(path, ["millis,current,voltage", "3.21,-1.2", *body[:-1]])
        path.write_bytes(path.read_bytes() + body[-1][:6].encode())
        return truth

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says="log0.txt",
    source="https://forum.arduino.cc: Serial plotter with labels, 'a:1.0,b:2.0'",
)
def arduino_serial_plotter_labels(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        text(
            path,
            [
                f"current:{a:.3f},voltage:{b:.3f}"
                for a, b in zip(*truth.channels.values(), strict=True)
            ],
        )
        return Truth(truth.seconds, truth.channels, clocked=False)

    return logs(folder, write, "txt")


@listed(CASES, source="Arduino IDE 2 serial monitor with time stamps: '14:37:48.201 -> 21.3,4.5'")
def arduino_monitor_arrow_stamps(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = [
            f"14:37:{48 + t:06.3f} -> {a:.3f},{b:.3f}"
            for t, a, b in zip(truth.seconds, *truth.channels.values(), strict=True)
        ]
        text(path, body)
        return Truth(
            truth.seconds, {"*0": truth.channels["current"], "*1": truth.channels["voltage"]}
        )

    return logs(folder, write, "txt")


def _meter(folder: Path, **settings: Any) -> Made:
    """Three digits behind each comma: it may be a decimal sign or separate thousands."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        body = [
            f"{n + 1};04.06.2023 14:{int(t) // 60:02d}:{int(t) % 60:02d};{a:.3f} A;{b:.3f} V".replace(
                ".", ","
            ).replace("04,06,2023", "04.06.2023")
            for n, (t, a, b) in enumerate(zip(truth.seconds, *truth.channels.values(), strict=True))
        ]
        text(path, ["Nr.;Datum/Uhrzeit;current;voltage", *body], "cp1252")
        return truth

    return logs(folder, write, series_dates="day_first", **settings)


METER = (
    "Fluke, Testo, Extech logger software: rows numbered, date and time together, unit in each cell"
)


@listed(CASES, "refused", says=r"log0\.csv.*series_decimal", source=METER)
def meter_with_units_in_cells(folder: Path) -> Made:
    return _meter(folder)


@listed(CASES, source=METER)
def meter_with_units_in_cells_by_setting(folder: Path) -> Made:
    return _meter(folder, series_decimal=",")


@listed(
    CASES,
    source="Campbell Scientific TOA5: four head lines, the second of names, the third of units, the fourth of Smp/Avg",
)
def campbell_toa5(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        head = [
            '"TOA5","CR1000","CR1000","1234","CR1000.Std.28","CPU:weld.CR1","20223","Table1"',
            '"TIMESTAMP","RECORD","current","voltage"', '"TS","RN","A","V"', '"","","Smp","Avg"',
        ]  # fmt: skip
        body = [
            f'"2023-06-04 14:{int(t) // 60:02d}:{int(t) % 60:02d}",{n},{a:.4f},{b:.4f}'
            for n, (t, a, b) in enumerate(zip(truth.seconds, *truth.channels.values(), strict=True))
        ]
        text(path, head + body, end="\r\n")
        return truth

    return logs(folder, write)


@listed(CASES, source="MATLAB writematrix / numpy savetxt: blanks, exponents, a # before the names")
def numpy_savetxt_hash_header(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        data = np.column_stack([truth.seconds, *truth.channels.values()])
        np.savetxt(path, data, header="time current voltage")
        return truth

    return logs(folder, write, "txt")

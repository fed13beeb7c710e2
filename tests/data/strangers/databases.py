"""Exports of data bases, plant control and wearables, as their users show them."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text
from .programs import START

CASES: list[Case] = []


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv",
    source="Empatica E4: the start since 1970, then the rate, then readings, no names",
)
def empatica_start_and_rate_above(folder: Path) -> Made:
    """Read without a word, the first row would be a reading of 1.7 thousand million."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(*(numbers(v, ".2f") for v in truth.channels.values()))
        text(path, ["1686753468.000000, 1686753468.000000", "60.000000, 60.000000", *body])
        return Truth(
            truth.seconds,
            {"*0": truth.channels["current"], "*1": truth.channels["voltage"]},
            clocked=False,
        )

    return logs(folder, write)


@listed(CASES, source="OpenSignals of PLUX: a JSON head of comments, numbered rows, no names")
def opensignals_comments(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(
            [str(n % 16) for n in range(240)],
            *(numbers(v) for v in truth.channels.values()),
            separator="\t",
        )
        head = [
            "# OpenSignals Text File Format. Version 1",
            '# {"00:07:80": {"sampling rate": 60, "column": ["nSeq", "CH1", "CH2"]}}',
            "# EndOfHeader",
        ]
        text(path, head + [line + "\t" for line in body])
        return Truth(
            truth.seconds,
            {
                "*1": truth.channels["current"],
                "*2": truth.channels["voltage"],
                "*0": np.arange(240) % 16.0,
            },
            clocked=False,
        )

    made = logs(folder, write, "txt")

    def compare(dataset, words):
        return [line for line in made.compare(dataset, words) if "*0" not in line]

    return Made(made.settings, compare)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv",
    source="InfluxDB annotated CSV: #group, #datatype, #default, then one row a reading of one field",
)
def influxdb_annotated(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        stamps = [
            (START + timedelta(seconds=float(t))).strftime("%Y-%m-%dT%H:%M:%SZ")
            for t in truth.seconds
        ]
        body = [
            f",,0,{s},{v:.4f},current"
            for s, v in zip(stamps, truth.channels["current"], strict=True)
        ]
        head = [
            "#group,false,false,false,false,true",
            "#datatype,string,long,dateTime:RFC3339,double,string",
            "#default,_result,,,,",
            ",result,table,_time,_value,_field",
        ]
        text(path, head + body, end="\r\n")
        return Truth(truth.seconds, {"value": truth.channels["current"], "table": np.zeros(240)})

    return logs(folder, write)


@listed(
    CASES,
    source="Windows Performance Monitor: PDH-CSV, back slashes in names, a blank for no value",
)
def windows_performance_monitor(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        stamps = [
            (START + timedelta(seconds=float(t))).strftime("%m/%d/%Y %H:%M:%S.000")
            for t in truth.seconds
        ]
        cells = [[f'"{v:.4f}"' for v in values] for values in truth.channels.values()]
        cells[0][0] = '" "'
        head = [
            '"(PDH-CSV 4.0) (W. Europe Standard Time)(-120)","\\\\PC\\Processor(_Total)\\% Processor Time","\\\\PC\\Memory\\Available MBytes"'
        ]
        text(path, [*head, *rows([f'"{s}"' for s in stamps], *cells)], end="\r\n")
        return Truth(
            truth.seconds,
            {"Processor": truth.channels["current"], "Memory": truth.channels["voltage"]},
        )

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv",
    source="Siemens WinCC: one row a value, names in a column, days since 1899 times a million",
)
def wincc_one_row_a_value(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        body = []
        for t, *values in zip(truth.seconds, *truth.channels.values(), strict=True):
            stamp = (START + timedelta(seconds=float(t))).strftime("%d.%m.%Y %H:%M:%S")
            body += [
                f'"{name}";"{stamp}";{v:.4f};1;{45091609583 + t / 0.0864:.3f}'.replace(
                    ".", ","
                ).replace(stamp.replace(".", ","), stamp)
                for name, v in zip(truth.channels, values, strict=True)
            ]
        text(
            path,
            [
                '"VarName";"TimeString";"VarValue";"Validity";"Time_ms"',
                *body,
                '"$RT_COUNT$";480;;;',
            ],
        )
        return truth

    return logs(folder, write)


@listed(CASES, source="two rates in one file: the slower channel has a reading in every tenth row")
def two_rates_in_one_file(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        slow = [
            cell if n % 10 == 0 or n == 239 else ""
            for n, cell in enumerate(numbers(truth.channels["voltage"]))
        ]
        text(
            path,
            [
                "time_s,current,voltage",
                *rows(numbers(truth.seconds), numbers(truth.channels["current"]), slow),
            ],
        )
        return truth

    return logs(folder, write)

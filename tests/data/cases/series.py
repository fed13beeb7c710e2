"""Sensor series as loggers, oscilloscopes and colleagues write them.

Every case writes twelve files of two channels over an uneven clock, so that values are right only
where clock, separator, decimal sign and names were understood.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.io
from nptdms import ChannelObject, TdmsWriter

from tests.data.cases.matrix import Case, Refused, Right

ROWS, SECONDS, STEPS = 400, 10.0, 32
U = np.linspace(0, 1, ROWS)
CLOCK = SECONDS * U**2  # seconds, uneven: rows alone tell another story


def pressure(row: int, t: np.ndarray) -> np.ndarray:
    return (1 + row % 2) * np.sin(t / 2) + 0.1 * row


def flow(row: int, t: np.ndarray) -> np.ndarray:
    return 40 + 3 * t + np.cos(t / 3 + row)


def expected(row: int, *channels: Callable[[int, np.ndarray], np.ndarray], even=False) -> np.ndarray:
    """The channels at every step: by the clock, or by row where there is none."""
    steps = np.linspace(0, 1, STEPS)
    t = SECONDS * (steps**2 if even else steps)
    return np.stack([channel(row, t) for channel in channels or (pressure, flow)])


def frame(row: int) -> pd.DataFrame:
    """One recording with its clock in seconds."""
    return pd.DataFrame({"time": CLOCK.round(6), "pressure": pressure(row, CLOCK).round(5), "flow": flow(row, CLOCK).round(5)})


def lines(row: int, sep: str = ",", decimal: str = ".", names: Sequence[str] = ()) -> list[str]:
    """The lines of the recording's CSV, header first."""
    data = frame(row)
    data.columns = list(names) or data.columns
    return data.to_csv(index=False, sep=sep, decimal=decimal).splitlines()


def recordings(folder: Path, ending: str, settings: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """recordings.csv of twelve files f/0 to f/11: two classes, six sessions."""
    pd.DataFrame({"sample_id": [f"r{row}" for row in range(12)], "label": ["ab"[row % 2] for row in range(12)], "group": [f"s{row // 2}" for row in range(12)], "sensor": [f"f/{row}{ending}" for row in range(12)]}).to_csv(folder / "recordings.csv", index=False)
    return settings or {}


def each(name: str, write: Callable[[Path, int], Any], right: Right | Refused, ending: str = ".csv", kind: str = "series", **settings: Any) -> Case:
    """A case whose twelve files are written one by one."""

    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "f").mkdir()
        for row in range(12):
            write(folder / f"f/{row}{ending}", row)
        return recordings(folder, ending, settings)

    return Case(name, kind, make, right)


def text(name: str, content: Callable[[int], Sequence[str]], right: Right | Refused, *, encoding: str = "utf-8", newline: str = "\n", ending: str = ".csv", kind: str = "series", **settings: Any) -> Case:
    """A case of text files, given as their lines."""

    def write(path: Path, row: int) -> None:
        path.write_bytes((newline.join(content(row)) + newline).encode(encoding))

    return each(name, write, right, ending, kind, **settings)


def data(name: str, change: Callable[[pd.DataFrame, int], pd.DataFrame], right: Right | Refused, kind: str = "series", settings: Mapping[str, Any] | None = None, **options: Any) -> Case:
    """A case of CSV files, given as a change of the recording's DataFrame."""

    def write(path: Path, row: int) -> None:
        change(frame(row), row).to_csv(path, **({"index": False} | options))

    return each(name, write, right, kind=kind, **(settings or {}))


def at(*channels: Callable[[int, np.ndarray], np.ndarray], says: tuple[str, ...] = (), even=False) -> Right:
    """The recordings r0 and r7 as they should be read."""
    return Right({"sensor": {f"r{row}": expected(row, *channels, even=even) for row in (0, 7)}}, says=says, tolerance=0.03)


READ = at()
EVEN = at(even=True)
P, Q = pressure, flow


def clock(name: str, change: Callable[[pd.Series], Any], says: tuple[str, ...] = ()) -> Case:
    """A case whose clock has another name and unit."""

    def renamed(recording: pd.DataFrame, row: int) -> pd.DataFrame:
        recording.insert(0, name, change(recording.pop("time")))
        return recording

    return data(f"clock {name}", renamed, at(says=says), kind="series clock")


def stamps(form: str, start: str = "2023-06-14 09:30:00") -> Callable[[pd.Series], Any]:
    """Absolute times in one format, milliseconds kept where it holds %f."""

    def written(seconds: pd.Series) -> Any:
        moments = pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s")
        if form.endswith("%L"):
            whole, milli = moments.dt.strftime(form[:-2]), moments.dt.microsecond // 1000
            return whole + milli.astype(str).str.zfill(3)
        return moments.dt.strftime(form)

    return written


def two_clocks(date: str, time: str, start: str = "2023-06-14 09:30:00", names=("Date", "Time")) -> Any:
    def change(recording: pd.DataFrame, row: int) -> pd.DataFrame:
        seconds = recording.pop("time")
        recording.insert(0, names[0], stamps(date, start)(seconds))
        recording.insert(1, names[1], stamps(time, start)(seconds))
        return recording

    return change


def with_column(name: str, value: Callable[[pd.DataFrame, int], Any], place: int | None = None) -> Any:
    def change(recording: pd.DataFrame, row: int) -> pd.DataFrame:
        made = value(recording, row)
        recording.insert(len(recording.columns) if place is None else place, name, made)
        return recording

    return change


def cells(column: str, change: Callable[[pd.Series], Any]) -> Any:
    return lambda recording, row: recording.assign(**{column: change(recording[column])})


def above(*rows: str) -> Callable[[int], list[str]]:
    return lambda row: [*rows, *lines(row)]


def only(row_of: int, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Any:
    return lambda recording, row: change(recording) if row == row_of else recording


def german(row: int) -> list[str]:
    return lines(row, ";", ",", ("Zeit [s]", "Druck [bar]", "Durchfluss [l/min]"))


LVM = """LabVIEW Measurement\t
Writer_Version\t2
Reader_Version\t2
Separator\tTab
Decimal_Separator\t.
Multi_Headings\tNo
X_Columns\tOne
Time_Pref\tRelative
Operator\tkm
Date\t2023/06/14
Time\t09:30:00.123
***End_of_Header***\t
\t
Channels\t2\t\t
Samples\t400\t400\t
X_Dimension\tTime\tTime\t
X0\t0.0E+0\t0.0E+0\t
Delta_X\t0.01\t0.01\t
***End_of_Header***\t\t\t""".splitlines()

NAMES = [
    clock("t", lambda s: s),
    clock("Time", lambda s: s),
    clock("TIME", lambda s: s),
    clock("time_ms", lambda s: (s * 1e3).round(3)),
    clock("Time [s]", lambda s: s),
    clock("Time (s)", lambda s: s),
    clock("Time (ms)", lambda s: (s * 1e3).round(3)),
    clock("Zeit [s]", lambda s: s),
    clock("%time", lambda s: (1686735000000000000 + s * 1e9).astype("int64")),
    clock("unix_ms", lambda s: (1686735000000 + s * 1e3).round().astype("int64")),
    clock("timestamp", lambda s: (1686735000 + s).round(3)),
    clock("datetime", stamps("%Y-%m-%d %H:%M:%S.%f")),
    clock("timestamp_utc", stamps("%Y-%m-%dT%H:%M:%S.%fZ")),
    clock("Timestamp", stamps("%Y-%m-%dT%H:%M:%S.%f+02:00")),
    clock("Zeitstempel", stamps("%d.%m.%Y %H:%M:%S,%L")),
    clock("Date/Time", stamps("%m/%d/%Y %I:%M:%S.%f %p")),
    clock("time ", stamps("%H:%M:%S.%f")),
    clock("elapsed_s", lambda s: s),
    clock("seconds", lambda s: s),
    clock("X_Value", lambda s: s),
    clock("time_us", lambda s: (s * 1e6).round()),
    clock("Time [ms]", lambda s: (s * 1e3).round(3), says=(" s",)),
]

TWO_COLUMNS = [
    data("date and time", two_clocks("%Y-%m-%d", "%H:%M:%S.%f"), READ, "series clock"),
    data("German date and time", two_clocks("%d.%m.%Y", "%H:%M:%S,%L", names=("Datum", "Uhrzeit")), READ, "series clock", sep=";"),
    data("date and time over midnight", two_clocks("%m/%d/%Y", "%H:%M:%S.%f", "2023-06-14 23:59:57"), READ, "series clock"),
    data("a date that may be read in two ways, within one day", two_clocks("%m/%d/%Y", "%H:%M:%S.%f", "2023-04-06 09:30:00"), READ, "series clock"),
    data("a date that may be read in two ways, over midnight", two_clocks("%m/%d/%Y", "%H:%M:%S.%f", "2023-04-06 23:59:57"), Refused(("Date", "day", "month")), "series clock"),
    data("time of day over midnight without a date", lambda d, row: d.assign(time=stamps("%H:%M:%S.%f", "2023-06-14 23:59:57")(d["time"])), at(says=("midnight",)), "series clock"),
    data("a clock that runs backwards", cells("time", lambda s: s[::-1].to_numpy()), Refused(("time", "backwards")), "series clock"),
    data("seconds of the minute that begin again", cells("time", lambda s: (s + 55) % 60), Refused(("time", "backwards")), "series clock"),
    data("time stamps that stand twice", lambda d, row: d.loc[d.index.repeat(2)], READ, "series clock"),
    data("a clock that stands still", cells("time", lambda s: s * 0 + 3), Refused(("time",)), "series clock"),
    data("no clock", lambda d, row: d.drop(columns="time"), EVEN, "series clock"),
    data("a clock by setting", lambda d, row: d.rename(columns={"time": "achse"}), READ, "series clock", {"series_clock": "achse"}),
    data("a clock by setting that no file has", lambda d, row: d, Refused(("series_clock", "timme", "time")), "series clock", {"series_clock": "timme"}),
    data("rows as the clock by setting", lambda d, row: d, at(even=True), "series clock", {"series_clock": "rows"}),
    data("a clock with a hole in it", cells("time", lambda s: s.where(s.index != 7)), READ, "series clock"),
    data("two formats of dates in one file", lambda d, row: d.assign(time=[*stamps("%Y-%m-%d %H:%M:%S.%f")(d["time"][:200]), *stamps("%d.%m.%Y %H:%M:%S.%f")(d["time"][200:])]), Refused(("time",)), "series clock"),
    data("a further column of absolute time", with_column("epoch_ms", lambda d, row: (1.7e12 + 1e9 * row + d["time"] * 1e3).round()), at(says=("epoch_ms",)), "series clock"),
    data("a clock of its own for each channel", lambda d, row: pd.concat([d[["time", "pressure"]], d[["time", "flow"]]], axis=1), Refused(("time", "twice")), "series clock"),
]

TEXTS = [
    data("plain", lambda d, row: d, READ),
    data("semicolons", lambda d, row: d, READ, sep=";"),
    data("tabs in a .csv", lambda d, row: d, READ, sep="\t"),
    data("bars", lambda d, row: d, READ, sep="|"),
    text("German logger", german, at(says=("Druck", "bar", "Durchfluss", "l/min"))),
    text("German logger in cp1252", lambda row: ["Zeit [s];Temperatur [°C];Drehmoment [µNm]", *german(row)[1:]], at(says=("Temperatur", "°C")), encoding="cp1252"),
    text("byte order mark", lines, READ, encoding="utf-8-sig"),
    text("UTF-16", lines, READ, encoding="utf-16"),
    text("UTF-16 with tabs", lambda row: lines(row, "\t"), READ, encoding="utf-16"),
    text("CR LF", lines, READ, newline="\r\n"),
    text("sep= line of a spreadsheet", lambda row: ["sep=;", *lines(row, ";")], READ),
    text("a semicolon ends each line", lambda row: [line + ";" for line in lines(row, ";")], READ),
    text("two empty names", lambda row: [line + ",," for line in lines(row)], READ),
    text("blanks after commas", lambda row: [line.replace(",", ", ") for line in lines(row)], READ),
    text("all quoted", lambda row: [",".join(f'"{cell}"' for cell in line.split(",")) for line in lines(row)], READ),
    text("columns of blanks, .txt", lambda row: ["   ".join(f"{cell:>14}" for cell in line.split(",")) for line in lines(row)], READ, ending=".txt"),
    text("tab separated .tsv", lambda row: lines(row, "\t"), READ, ending=".tsv"),
    text("upper-case ending", lines, READ, ending=".CSV"),
    text("numpy.savetxt with its header", lambda row: ["# time pressure flow", *(line.replace(",", " ") for line in lines(row)[1:])], READ, ending=".txt"),
    text("numbers without a header", lambda row: lines(row)[1:], Right(says=("header",))),
    text("units in the second row", lambda row: [lines(row)[0], "s,bar,l/min", *lines(row)[1:]], at(says=("bar", "l/min"))),
    text("German units in the second row", lambda row: ["Zeit;Druck;Durchfluss", "[s];[bar];[l/min]", *german(row)[1:]], at(says=("bar",))),
    text("names, descriptions and units", lambda row: ["time,pressure,flow", "clock,line pressure,gas flow", "ms,bar,l/min", *lines(row)[1:]], at(says=("bar",))),
    text("comments above", above("# logger 7", "# operator: km", "#"), READ),
    text("comments above that hold commas", above("# logger, 7, serial 12", "# a, b"), READ),
    text("metadata rows above", above("Logger,ACME 3000", "Serial,0815", "Start,2023-06-14 09:30:00", ""), at(says=("4",))),
    text("metadata rows above, one field each", above("Measurement of weld 12", "Exported by DataView 2.1"), READ),
    text("LabVIEW measurement", lambda row: [*LVM, "X_Value\tpressure\tflow\tComment", *(line + "\t" for line in lines(row, "\t")[1:])], READ, ending=".txt"),
    text("TwinCAT export", lambda row: ["Name;Scope Project", "File;C:\\data\\x.tcscope", "Starttime of export;133310358000000000", "", "Name;pressure;flow", "Data-Type;REAL64;REAL64", "SampleTime[ms];10;10", *german(row)[1:], "EOF"], Refused(("SampleTime[ms]", "line 7"))),
    text("rows to skip by setting", above("a,b,c", "1,2,3"), READ, series_skip_rows=2),
    text("separator by setting", lambda row: lines(row, ";"), READ, series_separator=";"),
    text("decimal sign by setting", lambda row: lines(row, ";", ","), READ, series_decimal=","),
    text("a separator that is not there by setting", lines, Refused(("series_separator", ";")), series_separator=";"),
    text("header again in the middle", lambda row: [*lines(row)[:200], *lines(row)[:1], *lines(row)[200:]], at(says=("header stands 1 more time",))),
    text("a footer of text", lambda row: [*lines(row), "End of measurement,,"], at(says=("below the readings", "End of measurement"))),
    text("last line cut", lambda row: [*lines(row)[:-1], lines(row)[-1].rpartition(",")[0]], at(says=("last line is cut",))),
    text("an extra field in one line", lambda row: [*lines(row)[:100], lines(row)[100] + ",7", *lines(row)[101:]], Refused(("101",))),
    text("NUL bytes of a logger that lost power", lambda row: [*lines(row), "\0" * 4096], at(says=("NUL",))),
    text("NUL bytes between readings", lambda row: [*lines(row)[:300], "\0" * 4096, *lines(row)[300:]], Refused(("NUL",))),
    text("a line cut between readings", lambda row: [*lines(row)[:300], lines(row)[300].rpartition(",")[0], *lines(row)[301:]], Refused(("301",))),
    text("a word in the clock between readings", lambda row: [*lines(row)[:300], "pause,,", *lines(row)[300:]], Refused(("pause", "301"))),
    text("decimal commas between commas", lambda row: [lines(row)[0], *(line.replace(".", ",") for line in lines(row)[1:])], Refused(("fields",))),
    text("header alone", lambda row: lines(row)[:1], Refused(("no",))),
    text("one row", lambda row: lines(row)[:2], Refused(("one",))),
    each("empty file", lambda path, row: path.write_bytes(b""), Refused(("empty",))),
    text("prose", lambda row: ["Dear colleague,", "the sensors were off today.", "Regards"], Refused(("number",))),
    each("an image called .csv", lambda path, row: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8), Refused(("text",))),
    text("Grafana, series joined by time", lambda row: ["sep=,", '"Time","pressure","flow"', *(f"{a},{b} bar,{c} l/min" for a, b, c in (line.split(",") for line in lines(row)[1:]))], at(says=("bar",))),
    text("Grafana, series as rows", lambda row: ["Series;Time;Value", *(f"{n};{v.split(',')[0]};{v.split(',')[1 + k]}" for k, n in enumerate(("pressure", "flow")) for v in lines(row)[1:])], Refused(("Series",))),
    each("gzip", lambda path, row: path.write_bytes(gzip.compress("\n".join(lines(row)).encode())), READ, ".csv.gz"),
]

CELLS = [
    data("quoted decimal commas between commas", lambda d, row: d.astype(str).map(lambda cell: cell.replace(".", ",")), READ, "series cells"),
    data("thousands with commas, quoted", cells("flow", lambda s: (s * 100).map("{:,.2f}".format)), at(P, lambda row, t: 100 * flow(row, t)), "series cells"),
    data("German thousands", lambda d, row: d.assign(flow=(d["flow"] * 100).map("{:,.2f}".format).str.translate(str.maketrans(",.", ".,"))), at(P, lambda row, t: 100 * flow(row, t)), "series cells", sep=";", decimal=","),
    data("1,234 that may be both", lambda d, row: d.assign(time=(d["time"] * 1e6).astype(int), pressure=(d["pressure"] * 1e4).astype(int), flow=[f"{1 + k // 100},{100 + k}" for k in range(ROWS)]), Refused(("flow", "series_decimal")), "series cells", sep=";"),
    data("unit after the number", cells("pressure", lambda s: s.astype(str) + " bar"), at(says=("bar",)), "series cells"),
    data("two units in one column", cells("pressure", lambda s: [f"{value} {'bar' if k % 2 else 'mbar'}" for k, value in enumerate(s)]), Refused(("pressure", "bar")), "series cells"),
    data("per cent", cells("flow", lambda s: s.astype(str) + "%"), at(says=("%",)), "series cells"),
    data("hexadecimal", cells("flow", lambda s: (s * 100).astype(int).map(hex)), at(P, lambda row, t: 100 * flow(row, t)), "series cells"),
    data("typographic minus", cells("pressure", lambda s: s.astype(str).str.replace("-", "\u2212")), READ, "series cells"),
    data("exponents with decimal commas", lambda d, row: d.assign(flow=d["flow"].map("{:.6E}".format).str.replace(".", ",")), READ, "series cells", sep=";", decimal=","),
    data("Fortran exponents", cells("flow", lambda s: s.map("{:.6E}".format).str.replace("E", "D")), READ, "series cells"),
    data("true and false", with_column("valve", lambda d, row: d["time"] > 5), at(P, Q, lambda row, t: (t > 5).astype(float)), "series cells"),
    data("a few empty cells", cells("pressure", lambda s: s.where(s.index % 50 != 7)), READ, "series cells"),
    data("a few missing words", cells("pressure", lambda s: s.astype(object).where(s.index % 50 != 7, "n/a")), READ, "series cells"),
    data("a few dashes for missing", cells("pressure", lambda s: s.astype(object).where(s.index % 50 != 7, "---")), READ, "series cells"),
    data("German missing word", cells("pressure", lambda s: s.astype(object).where(s.index % 50 != 7, "#NV")), READ, "series cells"),
    data("infinite", cells("pressure", lambda s: s.where(s.index != 9, np.inf)), Refused(("pressure", "inf")), "series cells"),
    data("an error word in a column of numbers", cells("pressure", lambda s: s.astype(object).where(s.index != 9, "OVERLOAD")), Refused(("pressure", "OVERLOAD", "11")), "series cells"),
    data("a column without a value", with_column("spare", lambda d, row: np.nan), at(says=("spare",)), "series cells"),
    data("a channel that is empty in one file", only(3, lambda d: d.assign(flow=np.nan)), Refused(("flow", "3.csv")), "series cells"),
    data("a text column", with_column("remark", lambda d, row: "fine"), at(says=("remark",)), "series cells"),
    data("a state as text", with_column("state", lambda d, row: np.where(d["time"] > 5, "RUN", "IDLE")), at(says=("state",)), "series cells"),
]

LEAKS = [
    data("a label column inside, as a number", with_column("label", lambda d, row: row % 2), Refused(("label", "series_channels")), "series columns"),
    data("a label column inside, as text", with_column("Label", lambda d, row: "ab"[row % 2]), at(says=("Label",)), "series columns"),
    data("a class column inside", with_column("class", lambda d, row: row % 2), Refused(("class",)), "series columns"),
    data("a target column that varies", with_column("target", lambda d, row: np.where(d["time"] > 3, row % 2, 0)), Refused(("target",)), "series columns"),
    data("a split column inside", with_column("split", lambda d, row: row % 3), Refused(("split",)), "series columns"),
    data("a sample_id column inside", with_column("sample_id", lambda d, row: row), Refused(("sample_id",)), "series columns"),
    data("channels chosen, without the label", with_column("label", lambda d, row: row % 2), READ, "series columns", {"series_channels": ["pressure", "flow"]}),
    data("channels chosen that are not there", lambda d, row: d, Refused(("presure", "pressure")), "series columns", {"series_channels": ["presure", "flow"]}),
    data("a set-point that tells the classes apart", with_column("setpoint", lambda d, row: 1.5 if row % 2 else 2.5), Refused(("setpoint", "class")), "series columns"),
    data("a constant that all files share", with_column("supply", lambda d, row: 24.0), at(P, Q, lambda row, t: 24 + 0 * t), "series columns"),
    data("a constant of each session", with_column("ambient", lambda d, row: 20.0 + row // 2), at(P, Q, lambda row, t: 20.0 + row // 2 + 0 * t), "series columns"),
    data("the index of a data frame", lambda d, row: d, at(says=("index",)), "series columns", index=True),
    data("a column called index", with_column("index", lambda d, row: np.arange(ROWS), 0), at(says=("index",)), "series columns"),
    data("row numbers from one", with_column("No.", lambda d, row: np.arange(1, ROWS + 1), 0), at(says=("No.",)), "series columns"),
    data("columns in another order in one file", only(7, lambda d: d[["flow", "time", "pressure"]]), READ, "series columns"),
    data("blanks around names in one file", only(7, lambda d: d.rename(columns={"flow": " flow "})), READ, "series columns"),
    data("another case of a name in one file", only(7, lambda d: d.rename(columns={"flow": "Flow"})), READ, "series columns"),
    data("a channel missing in one file", only(3, lambda d: d.drop(columns="flow")), Refused(("flow", "3.csv")), "series columns"),
    data("a channel more in one file", only(3, lambda d: d.assign(extra=d["time"] % 1)), at(says=("extra",)), "series columns"),
    data("another unit of a channel in one file", lambda d, row: d.rename(columns={"pressure": "pressure [mbar]" if row == 3 else "pressure [bar]"}), Refused(("mbar", "bar")), "series columns"),
    data("a name twice", lambda d, row: pd.concat([d, d["flow"] + 1], axis=1), Refused(("flow", "twice")), "series columns"),
    data("a current that is above 5 for a short time", with_column("motor_current", lambda d, row: np.where(abs(d["time"] - 4) < 0.15, 9.0, 0.1)), Right({"sensor": {}}, holds=lambda dataset: "" if abs(dataset.store.arrays["sensor"][0][:2] - expected(0)).max() < 1.0 else "cropped"), "series columns"),
    data("units in the header", lambda d, row: d.rename(columns={"time": "time [s]", "pressure": "pressure [bar]", "flow": "flow (l/min)"}), at(says=("pressure", "bar", "l/min")), "series columns"),
    data("files of several lengths", lambda d, row: d[: ROWS - 10 * (row % 3)] if row not in (0, 7) else d, READ, "series columns"),
    data("the same file under two recordings", lambda d, row: frame(0) if row == 3 else d, Refused(("same content", "3.csv")), "series columns"),
]


def array(path: Path, row: int) -> np.ndarray:
    t = np.linspace(0, SECONDS, ROWS)
    return np.stack([pressure(row, t), flow(row, t)]).astype(np.float32)


def mat(**more: Any) -> Callable[[Path, int], None]:
    def write(path: Path, row: int) -> None:
        d = frame(row)
        scipy.io.savemat(path, {name: d[name].to_numpy() for name in d} | more)

    return write


def store(dtype: Any = np.float32, change: Callable[[np.ndarray, int], Any] = lambda a, row: a) -> Any:
    def write(path: Path, row: int) -> None:
        np.save(path, np.asarray(change(array(path, row), row)).astype(dtype))

    return write


def hdf5(change: Callable[[h5py.File, int], Any] = lambda file, row: None, names: Sequence[str] = ("time", "pressure", "flow")) -> Callable[[Path, int], None]:
    """Writes the recording as one dataset a column, then changed."""

    def write(path: Path, row: int) -> None:
        with h5py.File(path, "w") as file:
            for name in names:
                file[f"weld/{name}"] = frame(row)[name].to_numpy()
            change(file, row)

    return write


def tdms(*groups: str, step: float = 0.0, clock: bool = True, cut: Callable[[bytes], bytes] = lambda data: data) -> Callable[[Path, int], None]:
    """Writes the recording's channels into groups, with a step or with a channel of times."""

    def write(path: Path, row: int) -> None:
        even = np.arange(ROWS) * step
        values = {"pressure": pressure(row, even), "flow": flow(row, even)} if step else {name: frame(row)[name].to_numpy() for name in ("pressure", "flow")}
        values |= {"Time": CLOCK} if clock else {}
        with TdmsWriter(str(path)) as file:
            file.write_segment([ChannelObject(group, name, value, properties={"wf_increment": step, "wf_start_offset": 2.0} if step else {}) for group, (name, value) in zip(groups * 3, values.items(), strict=False)])
        path.write_bytes(cut(path.read_bytes()))

    return write


def compound(file: h5py.File, row: int) -> None:
    """The whole recording in one compound dataset."""
    file["log"] = frame(row).to_records(index=False)


def by_rate(file: h5py.File, row: int) -> None:
    """Two channels at even times, by the file's sample rate."""
    even = np.linspace(0, SECONDS, ROWS)
    file.attrs["sample_rate"] = (ROWS - 1) / SECONDS
    file["signal"] = np.stack([pressure(row, even), flow(row, even)])
    file["signal"].attrs["channels"] = ["pressure", "flow"]


NPY = "series arrays"
LAB = "series of the laboratory"
WHOLE = Right({"sensor": {f"r{row}": array(Path(), row) for row in (0, 7)}}, tolerance=1e-5)
ARRAYS = [
    each("npy of channels and steps", store(), WHOLE, ".npy", NPY),
    each("npy of steps and channels", store(change=lambda a, row: a.T), WHOLE, ".npy", NPY),
    each("npy of unequal length", store(change=lambda a, row: a[:, : ROWS - 5 * (row % 3 if row not in (0, 7) else 0)]), READ, ".npy", NPY),
    each("npy of unequal length, steps first", store(change=lambda a, row: a[:, : ROWS - 5 * (row % 3 if row not in (0, 7) else 0)].T), READ, ".npy", NPY),
    each("npy that may be both", store(change=lambda a, row: np.resize(a, (40, 48))), Refused(("series_axes",)), ".npy", NPY),
    each("npy of one dimension and unequal length", store(change=lambda a, row: a[0, : ROWS - 5 * (row % 3 if row not in (0, 7) else 0)]), at(P), ".npy", NPY),
    each("npy of 16-bit readings", store(np.int16, lambda a, row: a * 100), Right({"sensor": {"r7": (array(Path(), 7) * 100).astype(np.int16)}}, tolerance=1e-5), ".npy", NPY),
    each("npy of doubles, column order", lambda path, row: np.save(path, np.asfortranarray(array(path, row).astype(float))), WHOLE, ".npy", NPY),
    each("npy of complex numbers", store(np.complex64), Refused(("complex",)), ".npy", NPY),
    each("npy of objects", lambda path, row: np.save(path, array(path, row).astype(object), allow_pickle=True), Refused(("pickle",)), ".npy", NPY),
    each("npy with a name for each column", lambda path, row: np.save(path, frame(row).to_records(index=False)), Right({"sensor": {"r7": frame(7).T}}, tolerance=1e-5), ".npy", NPY),
    each("npy with NaN", store(change=lambda a, row: np.where(np.arange(ROWS) == 5, np.nan, a)), Refused(("NaN",)), ".npy", NPY),
    each("npy that is cut", lambda path, row: (np.save(path, array(path, row)), path.write_bytes(path.read_bytes()[:900])), Refused(("cut",)), ".npy", NPY),
    each("Parquet", lambda path, row: frame(row).to_parquet(path), READ, ".parquet", NPY),
    each("Parquet with a time index", lambda path, row: frame(row).assign(time=pd.Timestamp("2023-06-14") + pd.to_timedelta(CLOCK, unit="s")).set_index("time").to_parquet(path), READ, ".parquet", NPY),
    each("Parquet with a time column that knows its zone", lambda path, row: frame(row).assign(time=pd.Timestamp("2023-06-14", tz="Europe/Berlin") + pd.to_timedelta(CLOCK, unit="s")).to_parquet(path), READ, ".parquet", NPY),
    each("Feather", lambda path, row: frame(row).to_feather(path), READ, ".feather", NPY),
    each("mat", mat(), READ, ".mat", NPY),
    each("mat with a scalar beside", mat(fs=40.0), at(says=("fs",)), ".mat", NPY),
    each("mat 7.3", lambda path, row: path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600)), Refused(("7.3",)), ".mat", NPY),
    each("a spreadsheet", lambda path, row: path.write_bytes(b"PK\x03\x04" + bytes(200)), Refused(("xlsx", "CSV")), ".xlsx", NPY),
]

BY_NAME = at(flow, pressure)  # HDF5 keeps its datasets by name
LABORATORY = [
    each("HDF5, a dataset a column", hdf5(), BY_NAME, ".h5", LAB),
    each("HDF5, in milliseconds by an attribute", hdf5(lambda file, row: (file["weld/time"].write_direct(1000 * file["weld/time"][:]), file["weld/time"].attrs.update(units="ms"))), BY_NAME, ".hdf5", LAB),
    each("HDF5, compound", hdf5(compound, ()), READ, ".h5", LAB),
    each("HDF5, two axes and a sample rate", hdf5(by_rate, ()), READ, ".h5", LAB),
    each("HDF5 with photos and text beside", hdf5(lambda file, row: file.update(photo=np.zeros((3, 4, 4)), operator="x")), at(flow, pressure, says=("/photo", "/operator")), ".h5", LAB),
    each("HDF5, one channel shorter", hdf5(lambda file, row: file.update({"weld/heat": np.arange(30.0)})), at(flow, pressure, says=("heat: of length 30",)), ".h5", LAB),
    each("HDF5, two lengths and no clock", hdf5(lambda file, row: file.update(heat=np.arange(30.0)), ("flow",)), Refused(("flow (400)", "heat (30)")), ".h5", LAB),
    each("HDF5 of pandas", hdf5(lambda file, row: file["weld"].attrs.update(pandas_type="frame")), Refused(("to_parquet",)), ".h5", LAB),
    each("HDF5 that is cut", lambda path, row: (hdf5()(path, row), path.write_bytes(path.read_bytes()[:5000])), Refused(("HDF5",)), ".h5", LAB),
    each("HDF5 that is text", lambda path, row: frame(row).to_csv(path), Refused(("HDF5",)), ".h5", LAB),
    each("HDF5, its label inside", hdf5(lambda file, row: file.update({"weld/label": np.full(ROWS, row % 2)})), Refused(("label",)), ".h5", LAB),
    each("TDMS with a step", tdms("weld", step=SECONDS / (ROWS - 1), clock=False), READ, ".tdms", LAB),
    each("TDMS with a step, in two groups", tdms("left", "right", step=SECONDS / (ROWS - 1), clock=False), READ, ".tdms", LAB),
    each("TDMS with a channel of times", tdms("weld"), READ, ".tdms", LAB),
    each("TDMS of a killed recorder", tdms("weld", cut=lambda data: data[:12] + b"\xff" * 8 + data[20:]), at(says=("killed",)), ".tdms", LAB),
    each("TDMS that is cut", tdms("weld", cut=lambda data: data[:-900]), Refused(("cut short",)), ".tdms", LAB),
    each("TDMS that is an index", tdms("weld", cut=lambda data: b"TDSh" + data[4:200]), Refused(("TDMS",)), ".tdms", LAB),
]

CASES: list[Case] = [*NAMES, *TWO_COLUMNS, *TEXTS, *CELLS, *LEAKS, *ARRAYS, *LABORATORY]

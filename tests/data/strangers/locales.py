"""Logs and tables of other countries, computers and line ends."""

from datetime import timedelta
from pathlib import Path

import pandas as pd

from .case import COUNT, LABELS, Case, Made, listed, opened
from .logs import Truth, logs, numbers, readings, rows, text
from .programs import START
from .tables import IDS, compare_table, sheet, usual, vector_files

CASES: list[Case] = []


def _plain(
    folder: Path,
    head: str,
    names: tuple[str, str],
    encoding: str,
    end: str = "\n",
    separator: str = ",",
    decimal: str = ".",
    **settings: str,
) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = (truth.seconds, *truth.channels.values())
        body = rows(*(numbers(v, ".4f", decimal) for v in columns), separator=separator)
        text(path, [head, *body], encoding, end)
        return Truth(truth.seconds, dict(zip(names, truth.channels.values(), strict=True)))

    return logs(folder, write, **settings)


COUNTRIES = {
    "chinese": ("WPS in China", "gb18030", "时间(s),电流(A),电压(V)", ("电流", "电压")),
    "japanese": ("Excel in Japan", "cp932", "時間[s],電流[A],電圧[V]", ("電流", "電圧")),
    "korean": ("Excel in Korea", "cp949", "시간(s),전류(A),전압(V)", ("전류", "전압")),
    "russian": ("Excel in Russia", "cp1251", "Время, с;Ток, А;Напряжение, В", ("Ток", "Напряжение")),
    "greek": ("Excel in Greece", "cp1253", "t [s];Ρεύμα [A];Τάση [V]", ("Ρεύμα", "Τάση")),
    "polish": ("Excel in Poland", "cp1250", "Czas [s];Prąd [A];Napięcie łuku [V]", ("Prąd", "Napięcie łuku")),
    "console": ("a console in Germany", "cp850", "Zeit [s];Länge [mm];Höhe [mm]", ("Länge", "Höhe")),
}  # fmt: skip


def _country(encoding: str, head: str, names: tuple[str, str], told: bool):
    def make(folder: Path) -> Made:
        german = ";" in head
        separator, decimal, end = (";", ",", "\r\n") if german else (",", ".", "\n")
        settings = {"series_encoding": encoding} if told else {}
        return _plain(folder, head, names, encoding, end, separator, decimal, **settings)

    return make


for _name, (_where, _encoding, _head, _names) in COUNTRIES.items():
    _ask = _country(_encoding, _head, _names, told=False)
    CASES.append(Case(_name, _ask, frozenset({"refused"}), "series_encoding", _where))
    _told = _country(_encoding, _head, _names, told=True)
    CASES.append(Case(f"{_name}_by_setting", _told, source=_where))


@listed(CASES, source="Igor Pro and old Macs: lines end by CR alone")
def carriage_returns(folder: Path) -> Made:
    return _plain(
        folder, "time_s\tcurrent\tvoltage", ("current", "voltage"), "mac-roman", "\r", "\t"
    )


@listed(CASES, source="a Windows file sent in text mode: lines end by CR CR LF")
def doubled_carriage_returns(folder: Path) -> Made:
    return _plain(folder, "time_s,current,voltage", ("current", "voltage"), "utf-8", "\r\r\n")


@listed(CASES, source="R in Germany: write.csv2 with row names and NA")
def r_write_csv2(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        cells = [numbers(v, ".6g", ",") for v in (truth.seconds, *truth.channels.values())]
        cells[2][7] = "NA"
        names = [f'"{n + 1}"' for n in range(240)]
        text(path, ['"";"t";"current";"voltage"', *rows(names, *cells, separator=";")])
        return truth

    return logs(folder, write)


@listed(CASES, source="Germany: 14.06.23 14:37:48,123 between semicolons")
def german_short_years(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        stamps = [START + timedelta(seconds=float(t)) for t in truth.seconds]
        words = [f"{s:%d.%m.%y %H:%M:%S},{s.microsecond // 1000:03d}" for s in stamps]
        cells = [numbers(v, ".4f", ",") for v in truth.channels.values()]
        text(path, ["Zeitstempel;current;voltage", *rows(words, *cells, separator=";")], "cp1252")
        return truth

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv",
    source="Excel with Arabic digits and the Arabic decimal sign",
)
def arabic_digits(folder: Path) -> Made:
    digits = str.maketrans("0123456789.", "٠١٢٣٤٥٦٧٨٩٫")

    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = (truth.seconds, *truth.channels.values())
        body = rows(*([cell.translate(digits) for cell in numbers(v)] for v in columns))
        text(path, ["time_s,current,voltage", *body])
        return truth

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv",
    source='Excel in India: "1,23,456.78", thousands after the first by twos',
)
def indian_thousands(folder: Path) -> Made:
    def grouped(value: float) -> str:
        whole, _, part = f"{value:.2f}".partition(".")
        while len(whole.split(",")[0]) > (3 if "," not in whole else 2):
            first, *others = whole.split(",")
            cut = 3 if not others else 2
            whole = ",".join([first[:-cut], first[-cut:], *others])
        return f'"{whole}.{part}"'

    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        large = 10000 * truth.channels["current"]
        text(path, ["time_s,force", *rows(numbers(truth.seconds), [grouped(v) for v in large])])
        return Truth(truth.seconds, {"force": large})

    return logs(folder, write)


@listed(CASES, "refused", says=r"(?i)csv", source="Stata and SPSS: a table as .dta")
def stata_table(folder: Path) -> Made:
    frame = pd.DataFrame(usual(folder))
    frame.to_stata(folder / "recordings.dta", write_index=False)
    return Made(opened(folder / "recordings.dta"), lambda dataset, words: [])


@listed(CASES, source="R write.csv2 of the table itself: row names, semicolons, all text quoted")
def r_table_csv2(folder: Path) -> Made:
    base = usual(folder)
    lines = [";".join(['""', *(f'"{name}"' for name in base)])]
    for n, row in enumerate(zip(*base.values(), strict=True), 1):
        lines.append(";".join(f'"{cell}"' for cell in [str(n), *row]))
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    return Made(
        opened(folder / "recordings.csv"),
        lambda dataset, words: compare_table(dataset, LABELS, IDS, range(COUNT)),
    )


@listed(
    CASES,
    "right or refused",
    says=r"v0\.npy",
    source="annotation tools: paths as file:// addresses, blanks as %20",
)
def paths_as_addresses(folder: Path) -> Made:
    names = [f"my vec/v{n}.npy" for n in range(COUNT)]
    vector_files(folder, names)
    paths = [f"file://{folder}/{name}".replace(" ", "%20") for name in names]
    return sheet(folder, usual(folder, vec=paths))


@listed(
    CASES,
    "right or refused",
    says=r"neither UTF-8 nor Western",
    source="dir /b > list in a German console: file names in code page 850",
)
def names_of_a_console(folder: Path) -> Made:
    names = vector_files(folder, [f"Prüfung{n}.npy" for n in range(COUNT)])
    return sheet(folder, usual(folder, vec=names), encoding="cp850")


@listed(
    CASES,
    "refused",
    says=r"'meta' stands 4 times",
    source="pandas with two levels of columns: two rows of names",
)
def two_rows_of_names(folder: Path) -> Made:
    made = sheet(folder, usual(folder))
    path = folder / "recordings.csv"
    path.write_text("meta,meta,meta,meta,files\n" + path.read_text())
    return made

"""How people's logs write their numbers, names, units and remarks."""

import re
from pathlib import Path

import numpy as np

from .case import Case, Made, listed
from .logs import Truth, logs, numbers, readings, rows, text

CASES: list[Case] = []


def plain(
    folder: Path,
    head: list[str],
    cells=None,
    foot: tuple[str, ...] = (),
    separator: str = ",",
    decimal: str = ".",
    encoding: str = "utf-8",
    names: tuple[str, str] = ("current", "voltage"),
    **settings,
) -> Made:
    """Logs of one clock and two channels; `cells(number, column of text)` may spoil the first."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        columns = [numbers(v, ".4f", decimal) for v in (truth.seconds, *truth.channels.values())]
        if cells:
            columns[1] = cells(number, columns[1])
        text(path, [*head, *rows(*columns, separator=separator), *foot], encoding)
        return Truth(truth.seconds, dict(zip(names, truth.channels.values(), strict=True)))

    return logs(folder, write, **settings)


def missing(word: str):
    """A spoiler of ten cells in the middle, which readers bridge."""
    return lambda number, column: [
        word if 100 <= at < 110 else cell for at, cell in enumerate(column)
    ]


HEAD = ["time_s,current,voltage"]


@listed(CASES, source="Excel in Germany: semicolons, decimal comma, cp1252, umlauts in names")
def excel_german(folder: Path) -> Made:
    return plain(
        folder,
        ["Zeit (s);Strom für Naht (A);Spannung (V)"],
        None,
        (),
        ";",
        ",",
        "cp1252",
        ("Strom", "Spannung"),
    )


@listed(CASES, source="Excel in France: a narrow no-break space between thousands")
def excel_french_thousands(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        large = truth.channels["current"] * 1000
        cells = [f"{v:,.2f}".replace(",", "\u202f").replace(".", ",") for v in large]
        columns = [
            numbers(truth.seconds, ".4f", ","),
            cells,
            numbers(truth.channels["voltage"], ".4f", ","),
        ]
        text(path, ["temps [s];courant;tension", *rows(*columns, separator=";")], "utf-8-sig")
        return Truth(truth.seconds, {"courant": large, "tension": truth.channels["voltage"]})

    return logs(folder, write)


@listed(CASES, source="Excel in Sweden: a no-break space between thousands, typographic minus")
def excel_swedish_minus(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        low = -truth.channels["current"] * 1000
        cells = [f"{v:,.2f}".replace(",", "\xa0").replace(".", ",").replace("-", "−") for v in low]
        columns = [
            numbers(truth.seconds, ".4f", ","),
            cells,
            numbers(truth.channels["voltage"], ".4f", ","),
        ]
        text(path, ["Tid (s);ström;spänning", *rows(*columns, separator=";")])
        return Truth(truth.seconds, {"ström": low, "spänning": truth.channels["voltage"]})

    return logs(folder, write)


@listed(CASES, source="Excel in Switzerland: 12'345.67 with an apostrophe")
def swiss_thousands(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        large = truth.channels["current"] * 1000
        columns = [
            numbers(truth.seconds),
            [f"{v:,.2f}".replace(",", "'") for v in large],
            numbers(truth.channels["voltage"]),
        ]
        text(path, ["time_s;current;voltage", *rows(*columns, separator=";")])
        return Truth(truth.seconds, {"current": large, "voltage": truth.channels["voltage"]})

    return logs(folder, write)


@listed(CASES, source='quoted thousands between commas: "12,345.67"')
def quoted_thousands(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        large = truth.channels["current"] * 1000
        columns = [
            numbers(truth.seconds),
            [f'"{v:,.2f}"' for v in large],
            numbers(truth.channels["voltage"]),
        ]
        text(path, [*HEAD, *rows(*columns)])
        return Truth(truth.seconds, {"current": large, "voltage": truth.channels["voltage"]})

    return logs(folder, write)


@listed(CASES, source="Excel 'Unicode text': UTF-16 with tabs")
def utf16_tabs(folder: Path) -> Made:
    return plain(folder, ["time_s\tcurrent\tvoltage"], None, (), "\t", ".", "utf-16")


@listed(CASES, source="PowerShell > log.csv: UTF-16 little endian; here without its mark")
def utf16_without_mark(folder: Path) -> Made:
    return plain(folder, HEAD, None, (), ",", ".", "utf-16-le")


@listed(CASES, source="'sep=;' in the first line, as Excel wants it")
def excel_sep_line(folder: Path) -> Made:
    return plain(folder, ["sep=;", "time_s;current;voltage"], None, (), ";")


@listed(CASES, source="units in a row of their own, some in brackets, some empty")
def unit_row_with_holes(folder: Path) -> Made:
    return plain(folder, [*HEAD, "[s],,V"])


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv.*",
    source="https://github.com/pandas-dev/pandas/issues: mangle_dupe_cols; two probes of one name",
)
def duplicate_names(folder: Path) -> Made:
    return plain(folder, ["time_s,Ch,Ch"], names=("*0", "*1"))


@listed(CASES, source="a separator at the end of every row but the header's")
def trailing_separator_in_rows_only(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(*(numbers(v) for v in (truth.seconds, *truth.channels.values())))
        text(path, [*HEAD, *(line + "," for line in body)])
        return truth

    return logs(folder, write)


@listed(CASES, source="https://github.com/pandas-dev/pandas/issues/32495")
def footer_of_remarks(folder: Path) -> Made:
    return plain(
        folder, HEAD, None, ("", "# end of measurement", '"operator: Müller', "Samples: 240")
    )


@listed(CASES, source="a summary below the data: Min, Max, Mean of each column")
def footer_of_statistics(folder: Path) -> Made:
    return plain(folder, HEAD, None, ("Min,15.1,-3.0", "Max,999.5,99.0", "Mean,20.0,-1.0"))


@listed(CASES, source="the header again every hundred rows (a logger that reconnects)")
def header_repeated_inside(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = rows(*(numbers(v) for v in (truth.seconds, *truth.channels.values())))
        text(path, [*HEAD, *body[:100], *HEAD, *body[100:200], *HEAD, *body[200:]])
        return truth

    return logs(folder, write)


for word, origin in {
    "---": "Testo, Fluke: no reading", "-1.#IND": "Visual C++ before 2015", "#N/A": "Excel", "#DIV/0!": "Excel",
    "NaN(ind)": "Visual C++ since 2015", "null": "databases", "": "empty cells", "?": "ARFF, UCI", "n.a.": "hand made",
}.items():  # fmt: skip

    def _spelled(folder: Path, word: str = word) -> Made:
        return plain(folder, HEAD, missing(word))

    name = f"missing_as_{word or 'nothing'}".replace("/", "_").replace(" ", "_")
    CASES.append(Case(name, _spelled, source=origin))

# A reading beyond the range is no missing one: that it is bridged is for its owner to say.
for word, origin in {
    "OVL": "meters: overload", "OL": "Fluke: overload", "1.#INF": "Visual C++ before 2015",
    "Error": "PLC", "Bad Input": "OSIsoft PI",
}.items():  # fmt: skip
    wanted = rf'log0\.csv(.|\n)*series_missing=\["{re.escape(word)}"\]|series_missing=\["{re.escape(word)}"\](.|\n)*log0\.csv'

    def _refused(folder: Path, word: str = word) -> Made:
        return plain(folder, HEAD, missing(word))

    def _by_setting(folder: Path, word: str = word) -> Made:
        return plain(folder, HEAD, missing(word), series_missing=[word])

    name = f"overload_as_{word}".replace(" ", "_")
    CASES.append(Case(name, _refused, frozenset({"refused"}), wanted, origin))
    CASES.append(Case(f"{name}_by_setting", _by_setting, source=origin))


@listed(
    CASES,
    "right or refused",
    says="-9999 10 times.*series_missing",
    source="NetCDF/AWS loggers: -9999 where nothing was read",
)
def missing_as_minus_9999(folder: Path) -> Made:
    return plain(folder, HEAD, missing("-9999"))


@listed(CASES, source="the same, as its note proposes")
def missing_as_minus_9999_by_setting(folder: Path) -> Made:
    return plain(folder, HEAD, missing("-9999"), series_missing=["-9999"])


@listed(CASES, source="CAN dumps: values in hexadecimal, 0x1A2B")
def hexadecimal(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        counts = np.round(truth.channels["current"] * 100).astype(int)
        columns = [
            numbers(truth.seconds),
            [f"0x{v:04X}" for v in counts],
            numbers(truth.channels["voltage"]),
        ]
        text(path, [*HEAD, *rows(*columns)])
        return Truth(truth.seconds, {"current": counts, "voltage": truth.channels["voltage"]})

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says=r"current|log0\.csv",
    source="CAN dumps: hexadecimal without 0x: 1A2B, 0834, 12E4",
)
def hexadecimal_without_prefix(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        counts = np.round(truth.channels["current"] * 100).astype(int)
        columns = [
            numbers(truth.seconds),
            [f"{v:04X}" for v in counts],
            numbers(truth.channels["voltage"]),
        ]
        text(path, [*HEAD, *rows(*columns)])
        return Truth(truth.seconds, {"current": counts, "voltage": truth.channels["voltage"]})

    return logs(folder, write)


@listed(CASES, source="PLC: TRUE and FALSE, ON and OFF beside numbers")
def booleans_in_words(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        on = (truth.seconds > 1 + 0.2 * number).astype(float)
        columns = [
            numbers(truth.seconds),
            numbers(truth.channels["current"]),
            ["TRUE" if v else "FALSE" for v in on],
        ]
        text(path, ["time_s,current,gas", *rows(*columns)])
        return Truth(truth.seconds, {"current": truth.channels["current"], "gas": on})

    return logs(folder, write)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv",
    source="an export of commas as decimals and commas between fields, unquoted",
)
def commas_for_both(folder: Path) -> Made:
    return plain(folder, HEAD, None, (), ",", ",")


@listed(
    CASES,
    "right or refused",
    says=r"log0\.csv.*",
    source="3,5 beside 3.5: half the rows after the regional setting was changed",
)
def both_decimal_signs(folder: Path) -> Made:
    return plain(
        folder,
        ["time_s;current;voltage"],
        lambda n, c: [v.replace(".", ",") if k > 120 else v for k, v in enumerate(c)],
        (),
        ";",
    )


@listed(CASES, source="blanks lined up in columns of fixed width")
def fixed_width(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        body = [
            f"{t:10.4f}{a:14.4f}{b:12.4f}"
            for t, a, b in zip(truth.seconds, *truth.channels.values(), strict=True)
        ]
        text(path, ["    time_s       current     voltage", *body])
        return truth

    return logs(folder, write, "txt")


@listed(
    CASES, source="pipes: | time | current | voltage |, as a Markdown table or SQL client prints"
)
def pipes(folder: Path) -> Made:
    return plain(folder, ["time_s|current|voltage"], None, (), "|")


@listed(CASES, source="NUL bytes after a power loss in the middle of writing")
def nul_bytes_at_the_end(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        text(path, [*HEAD, *rows(*(numbers(v) for v in (truth.seconds, *truth.channels.values())))])
        path.write_bytes(path.read_bytes() + b"\0" * 512)
        return truth

    return logs(folder, write)

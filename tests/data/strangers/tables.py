"""Tables of recordings as spreadsheets, scripts and colleagues leave them."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .arrays import workbook
from .case import COUNT, LABELS, SPLITS, Case, Made, listed, opened

CASES: list[Case] = []
IDS = [f"r{number}" for number in range(COUNT)]


def values(number: int) -> np.ndarray:
    """The vector of a recording; its first entry tells which file was read."""
    return np.random.default_rng(number).normal(size=12) + np.eye(12)[0] * 10 * number


def vector_files(folder: Path, names: Sequence[str]) -> list[str]:
    """Write a vector under each name, below `folder`."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, values(number))
    return list(names)


def sheet(
    folder: Path,
    columns: dict[str, Sequence[str]],
    *,
    separator: str = ",",
    encoding: str = "utf-8",
    name: str = "recordings.csv",
    end: str = "\n",
    labels: Sequence[str] = LABELS,
    ids: Sequence[str] = IDS,
    order: Sequence[int] = tuple(range(COUNT)),
    **settings: Any,
) -> Made:
    """A table of finished text; the truth is labels, ids, and which file belongs to which row."""
    lines = [
        separator.join(columns),
        *(separator.join(row) for row in zip(*columns.values(), strict=True)),
    ]
    (folder / name).write_bytes((end.join(lines) + end).encode(encoding))
    return Made(
        opened(folder / name, **settings),
        lambda dataset, words: compare_table(dataset, labels, ids, order),
    )


def compare_table(
    dataset: Any,
    labels: Sequence[str],
    ids: Sequence[str],
    order: Sequence[int],
    splits: Sequence[str] | None = SPLITS,
) -> list[str]:
    """How ids, labels, splits and the contents of the files differ from the truth."""
    frame = dataset.table.frame
    wrong = []
    if frame["sample_id"].tolist() != list(ids):
        wrong.append(f"ids {frame['sample_id'].tolist()}, not {list(ids)}")
    if frame["label"].tolist() != list(labels):
        wrong.append(f"labels {frame['label'].tolist()}, not {list(labels)}")
    if splits is not None and frame["split"].tolist() != list(splits):
        wrong.append(f"splits {frame['split'].tolist()}")
    vectors = np.asarray(next(iter(dataset.store.arrays.values())))
    if len(vectors) != len(order) or any(
        np.abs(row - values(k)).max() > 0.01 for row, k in zip(vectors, order, strict=True)
    ):
        wrong.append("a row has another row's file")
    return wrong


def usual(folder: Path, **changes: Sequence[str]) -> dict[str, Sequence[str]]:
    files = changes.pop("vec", None) or vector_files(
        folder, [f"vec/v{n}.npy" for n in range(COUNT)]
    )
    return {
        "sample_id": IDS,
        "label": LABELS,
        "group": IDS,
        "split": SPLITS,
        "vec": files,
    } | changes


@listed(CASES, source="tab-separated, from Excel 'Text (Tab delimited)', with CRLF")
def tab_separated_txt(folder: Path) -> Made:
    return sheet(folder, usual(folder), separator="\t", name="recordings.txt", end="\r\n")


@listed(
    CASES,
    source="Excel in Germany: semicolons, byte order mark, German column names and splits",
    good="right or refused",
    says="label|Klasse",
)
def german_columns(folder: Path) -> Made:
    base = usual(folder)
    splits = ["Training"] * 4 + ["Validierung"] * 2 + ["Test"] * 2
    columns = {
        "Aufnahme": IDS,
        "Klasse": LABELS,
        "Sitzung": IDS,
        "Aufteilung": splits,
        "vec": base["vec"],
    }
    return sheet(folder, columns, separator=";", encoding="utf-8-sig")


@listed(CASES, source="UTF-16 of Excel 'Unicode text'")
def utf16_table(folder: Path) -> Made:
    return sheet(folder, usual(folder), separator="\t", encoding="utf-16", name="recordings.tsv")


@listed(CASES, source="Windows: back slashes")
def windows_paths(folder: Path) -> Made:
    base = usual(folder)
    return sheet(folder, base | {"vec": [name.replace("/", "\\") for name in base["vec"]]})


@listed(CASES, "refused", says=r"D:\\|data_root", source="absolute paths of another machine")
def paths_of_another_machine(folder: Path) -> Made:
    base = usual(folder)
    return sheet(
        folder, base | {"vec": ["D:\\Messung\\" + name.replace("/", "\\") for name in base["vec"]]}
    )


@listed(
    CASES,
    "right or refused",
    says=r"%20|v%200|not",
    source="Label Studio and browsers: names encoded as in addresses",
)
def url_encoded_names(folder: Path) -> Made:
    vector_files(folder, [f"vec/v {n}.npy" for n in range(COUNT)])
    return sheet(folder, usual(folder, vec=[f"vec/v%20{n}.npy" for n in range(COUNT)]))


@listed(CASES, "right or refused", says=r"file://|not", source="file:// addresses")
def file_addresses(folder: Path) -> Made:
    base = usual(folder)
    return sheet(folder, base | {"vec": [(folder / name).as_uri() for name in base["vec"]]})


@listed(
    CASES,
    "right or refused",
    says=r"Prüf",
    source="macOS names umlauts in parts (NFD), the table has them whole (NFC)",
)
def names_in_parts_and_whole(folder: Path) -> Made:
    names = [f"vec/Prüfung{n}.npy" for n in range(COUNT)]
    vector_files(folder, [unicodedata.normalize("NFD", name) for name in names])
    return sheet(folder, usual(folder, vec=[unicodedata.normalize("NFC", name) for name in names]))


@listed(
    CASES,
    says="label: 8 values have blanks around them",
    source="blanks around cells, from a fixed-width paste",
)
def blanks_around_cells(folder: Path) -> Made:
    base = usual(folder)
    padded = {f" {key} ": [f" {cell}  " for cell in column] for key, column in base.items()}
    return sheet(folder, padded)


@listed(
    CASES,
    "right or refused",
    says=r"V0\.NPY|case|not",
    source="Windows does not tell V0.NPY from v0.npy; Linux does",
)
def case_of_names(folder: Path) -> Made:
    base = usual(folder)
    return sheet(folder, base | {"vec": [name.upper() for name in base["vec"]]})


@listed(CASES, source="an index column that pandas wrote: a first column without a name")
def pandas_index_column(folder: Path) -> Made:
    base = usual(folder)
    pd.DataFrame(base).to_csv(folder / "recordings.csv")
    return Made(
        opened(folder / "recordings.csv"),
        lambda dataset, words: compare_table(dataset, LABELS, IDS, range(COUNT)),
    )


@listed(
    CASES,
    source="a title line above the header, an empty line below the table",
    good="right or refused",
    says="recordings.csv",
)
def title_above_the_header(folder: Path) -> Made:
    made = sheet(folder, usual(folder))
    path = folder / "recordings.csv"
    path.write_text("Versuchsreihe 3, Mai 2023,,,\n" + path.read_text() + ",,,,\n")
    return made


@listed(
    CASES,
    "refused",
    says=r"(?i)xlsx|csv",
    source="an Excel workbook with a merged title, formulas and two sheets",
)
def xlsx_table(folder: Path) -> Made:
    base = usual(folder)
    cells = [list(base), *[list(row) for row in zip(*base.values(), strict=True)]]
    (folder / "recordings.xlsx").write_bytes(workbook(cells))
    return Made(opened(folder / "recordings.xlsx"), lambda dataset, words: [])


@listed(CASES, "refused", says=r"v6\.npy", source="one file is missing on the disk")
def one_file_missing(folder: Path) -> Made:
    base = usual(folder)
    (folder / "vec/v6.npy").unlink()
    return sheet(folder, base)


def _leaking(folder: Path, **settings: Any) -> Made:
    groups = ["a", "b", "c", "d", "a", "b", "e", "f"]
    return sheet(folder, usual(folder, group=groups), **settings)


CASES.append(
    Case(
        "session_in_two_splits",
        _leaking,
        frozenset({"refused"}),
        r"QL-S04|two splits|session",
        "sessions a and b are in train and in val",
    )
)


def _quoted(folder: Path) -> Made:
    names = vector_files(folder, [f'vec/Naht {n}, "links".npy' for n in range(COUNT)])
    cells = ['"' + name.replace('"', '""') + '"' for name in names]
    return sheet(folder, usual(folder, vec=cells))


CASES.append(Case("names_with_commas_and_quotes", _quoted, source="RFC 4180: quotes doubled"))

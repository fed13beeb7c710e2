"""Labels and ids of tables as spreadsheets, scripts and colleagues leave them."""

from pathlib import Path

import pandas as pd

from .case import COUNT, LABELS, Case, Made, listed, opened
from .tables import IDS, compare_table, sheet, usual

CASES: list[Case] = []


@listed(CASES, source="ids like 1E5 and 2E10 must stay as they are written")
def ids_in_exponents(folder: Path) -> Made:
    ids = [f"{n}E{n + 3}" for n in range(1, 9)]
    return sheet(folder, usual(folder, sample_id=ids, group=ids), ids=ids)


@listed(CASES, source="ids with leading zeros")
def ids_with_leading_zeros(folder: Path) -> Made:
    ids = [f"000{n}" for n in range(COUNT)]
    return sheet(folder, usual(folder, sample_id=ids, group=ids), ids=ids)


@listed(CASES, source="ids in parquet as integers beyond 2^53")
def parquet_long_ids(folder: Path) -> Made:
    base = usual(folder)
    ids = [9007199254740993 + n for n in range(COUNT)]
    pd.DataFrame(base | {"sample_id": ids, "group": ids}).to_parquet(folder / "recordings.parquet")
    truth = [str(number) for number in ids]
    return Made(
        opened(folder / "recordings.parquet"),
        lambda dataset, words: compare_table(dataset, LABELS, truth, range(COUNT)),
    )


@listed(CASES, source="parquet with categories, and missing labels beside")
def parquet_categories(folder: Path) -> Made:
    base = usual(folder)
    frame = pd.DataFrame(base)
    frame["label"] = frame["label"].astype("category")
    frame["split"] = frame["split"].astype("category")
    frame.to_parquet(folder / "recordings.parquet")
    return Made(
        opened(folder / "recordings.parquet"),
        lambda dataset, words: compare_table(dataset, LABELS, IDS, range(COUNT)),
    )


@listed(
    CASES,
    "refused",
    says=r"(?i)label|missing|None|NA",
    source="https://github.com/pandas-dev/pandas/issues/48712",
)
def class_named_none(folder: Path) -> Made:
    """README: `None` and `NA` are missing; a class of that name is refused, never dropped in silence."""
    labels = ["None", "crack"] * 4
    return sheet(folder, usual(folder, label=labels), labels=labels)


@listed(CASES, source="classes True and False, ok and True-like words")
def class_named_true(folder: Path) -> Made:
    labels = ["True", "False"] * 4
    return sheet(folder, usual(folder, label=labels), labels=labels)


@listed(
    CASES,
    source="labels as 3.0 and 4.0 after a detour over Excel or pandas; one class with 3 and 4",
)
def label_numbers_as_floats(folder: Path) -> Made:
    labels = ["3.0", "4", "3", "4.0"] * 2
    return sheet(folder, usual(folder, label=labels), labels=["3", "4"] * 4)


@listed(
    CASES, "right or refused", says=r"(?i)1,5|label", source="label numbers with a decimal comma"
)
def labels_with_decimal_comma(folder: Path) -> Made:
    labels = ["1,5", "2,5"] * 4
    return sheet(folder, usual(folder, label=labels), separator=";", labels=labels)


@listed(CASES, "refused", says=r"(?i)r3|duplicate|twice|unique", source="rows copied twice")
def duplicated_rows(folder: Path) -> Made:
    base = {key: [*column, column[3]] for key, column in usual(folder).items()}
    return sheet(folder, base)


@listed(CASES, "refused", says=r"(?i)label", source="a label was forgotten")
def missing_label(folder: Path) -> Made:
    return sheet(folder, usual(folder, label=[*LABELS[:5], "", *LABELS[6:]]))


@listed(CASES, "refused", says=r"(?i)class", source="one class alone")
def one_class(folder: Path) -> Made:
    return sheet(folder, usual(folder, label=["good"] * 8))


@listed(
    CASES,
    "refused",
    says=r"(?i)class|label",
    source="the label column holds a name for each recording: all differ",
)
def every_label_differs(folder: Path) -> Made:
    return sheet(folder, usual(folder, label=[f"weld {n}" for n in range(COUNT)]))


@listed(CASES, "right or refused", says=r"a\|b|label", source="several labels in a cell: a|b")
def several_labels(folder: Path) -> Made:
    labels = ["a|b", "b"] * 4
    return sheet(folder, usual(folder, label=labels), labels=labels)


@listed(
    CASES,
    "refused",
    says="look alike.*alphabet",
    source="labels that look the same: Latin and Cyrillic o",
)
def labels_that_look_alike(folder: Path) -> Made:
    return sheet(folder, usual(folder, label=["good", "g\u043eod"] * 4))


@listed(CASES, "right or refused", says=r"(?i)good.*Good|differ", source="Good, good and GOOD")
def labels_in_upper_and_lower_case(folder: Path) -> Made:
    labels = ["good", "bad", "Good", "BAD"] * 2
    return sheet(folder, usual(folder, label=labels), labels=["good", "bad"] * 4)


@listed(
    CASES,
    "right or refused",
    says="look alike",
    source="a no-break space behind a label, pasted from a web page",
)
def label_with_no_break_space(folder: Path) -> Made:
    labels = ["good\xa0", "bad", "good", "bad"] * 2
    return sheet(folder, usual(folder, label=labels), labels=LABELS)

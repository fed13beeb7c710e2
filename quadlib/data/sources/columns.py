"""What people call the columns of a table, and what they write where nothing is."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from quadlib.data.logs.cells import MISSING

STANDARD = ("sample_id", "label", "group", "split")
OTHER_NAMES = {
    "sample_id": ("id", "sampleid", "sample", "recording", "recording_id", "sample_name"),
    "label": ("labels", "class", "class_name", "class_label", "target", "y"),
    "group": ("groups",),
    "split": ("splits", "subset", "partition"),
}
SESSIONS = (
    "session",
    "session_id",
    "subject",
    "subject_id",
    "patient",
    "patient_id",
    "day",
    "batch",
)
SPLIT_NAMES = {
    "train": ("train", "training", "learn"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "holdout", "hold-out", "held-out"),
}
UNSEEN = (
    " \t\r\n\f\v\u00a0\u202f\u2007\u200b\u200c\u200d\u2060\ufeff"  # blanks, and marks of no width
)
WHOLE = r"[+-]?\d+(?:\.0+)?"


def canonical(name: str) -> str:
    """A column's name as it is compared: lower case, underscores for all that is no letter."""
    return re.sub(r"[\W_]+", "_", name.strip().casefold()).strip("_")


def rename_standard(names: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Old name -> sample_id, label, group or split; what may be either; and a note on each."""
    renamed: dict[str, str] = {}
    problems, notes = [], []
    for wanted, others in OTHER_NAMES.items():
        if wanted in names:
            continue
        alike = [name for name in names if canonical(name) == wanted]
        near = alike or [name for name in names if canonical(name) in others]
        if len(near) == 1:
            renamed[near[0]] = wanted
            notes.append(f"column {near[0]} is read as {wanted}")
        elif near:
            problems.append(
                f"no column {wanted}, and {' and '.join(near)} may be meant; rename one of them to "
                f"{wanted}"
            )
    return renamed, problems, notes


def session_columns(names: Sequence[str]) -> list[str]:
    """Columns that are called like a session, where a table has no group."""
    return [name for name in names if canonical(name) in SESSIONS]


def blanks_around(name: str, values: pd.Series) -> list[str]:
    """A note where cells of a column begin or end with blanks, or with marks that nobody sees."""
    count = int((values.str.strip(UNSEEN) != values).sum()) if name != "split" else 0
    return [f"{name}: {count} values have blanks around them, kept as written"] if count else []


def without_missing_words(values: pd.Series) -> pd.Series:
    """Text without blanks around what stands for nothing: nan, None, N/A, #N/A, null, a dash."""
    # Lower case is read as such without Python; casefold is the same for words of ASCII.
    return values.mask(values.str.strip().str.lower().isin(MISSING), "")


def one_text_a_number(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """1 and 1.0 are one name where all values are whole numbers; and a note where both stood."""
    filled = values[values != ""]
    if filled.empty or not filled.str.fullmatch(WHOLE).all():
        return values, []
    short = values.str.replace(r"\.0+$", "", regex=True)
    return short, [] if short.equals(values) else ["1 and 1.0 are one name"]


def split_names(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """train, val and test for the names that people give them, and a note on what was renamed."""
    meant = {other: name for name, others in SPLIT_NAMES.items() for other in others}
    renamed = {
        value: meant[canonical_value]
        for value in values.unique()
        if (canonical_value := value.strip().casefold()) in meant
        and meant[canonical_value] != value
    }
    notes = [f"split {old!r} is read as {new}" for old, new in renamed.items()]
    return values.replace(renamed) if renamed else values, notes

"""What people call the columns of a table, and what they write where nothing is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from quadlib.data.logs.cells import MISSING
from quadlib.data.samples import some

STANDARD = ("sample_id", "label", "group", "split")
OTHER_NAMES = {
    "sample_id": ("id", "sampleid", "sample", "recording", "recording_id", "sample_name"),
    "label": ("labels", "class", "class_name", "class_label", "target", "y"),
    "group": ("groups",),
    "split": ("splits", "subset", "partition"),
}
# What a session is called, alone or in a longer name: patient_id, Charge Nr., src_file.
SESSIONS = frozenset(
    (
        *("session", "subject", "patient", "participant", "person", "speaker", "user", "animal"),
        *("day", "date", "batch", "lot", "series", "run", "trial", "site", "experiment", "source"),
        *("video", "clip", "file", "filename", "specimen", "plate", "wafer", "machine", "sequence"),
        *("song", "track", "probe", "messung", "src", "proband", "charge", "serie", "sitzung"),
        *("versuch", "tag", "datum"),
    )
)
SPLIT_NAMES = {
    "train": ("train", "training", "learn"),
    "val": ("val", "valid", "validation", "dev", "development"),
    "test": ("test", "testing", "holdout", "hold-out", "held-out"),
}
UNSEEN = (
    " \t\r\n\f\v\u00a0\u202f\u2007\u200b\u200c\u200d\u2060\ufeff"  # blanks, and marks of no width
)
FRACTION = r"[+-]?\d*[.,]\d+(?:[eE][+-]?\d+)?"
ENDING = r"\.[A-Za-z]\w{1,4}"  # of a file's name
FEWEST_SOURCES = 8  # below, the names before the numbers may well be those of the classes
MOST_CLASSES = 50  # of a column that may hold them
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


def missing_columns(frame: pd.DataFrame, written: Mapping[str, str]) -> list[str]:
    """A problem for each of sample_id and label that a table lacks, with the columns that may be
    it; `written`: the names that were changed, as they stand in the file.
    """
    found = [written.get(name, name) for name in frame.columns]
    else_do = {
        "sample_id": "number the rows in a column of that name",
        "label": "the class of every row is needed",
    }
    problems = []
    for name in [name for name in else_do if name not in frame.columns]:
        near = may_be(frame, name)
        way = f"{else_do[name]}; found {some(found, 20)}"
        if near:
            way = f"rename the one that holds it (perhaps {' or '.join(near)})"
        if near and name == "sample_id" and _names_files(frame[near[0]]):
            way = f"add one of that name, for example a copy of {near[0]}, which names the files"
        problems.append(f"no column {name}; {way}")
    return problems


def may_be(frame: pd.DataFrame, wanted: str) -> list[str]:
    """Up to three columns whose values could be names of the rows, for "sample_id", or of classes,
    for "label".
    """
    most = min(MOST_CLASSES, len(frame) / 2)
    counts = {
        name: frame[name].nunique()
        for name in frame.columns
        if name not in STANDARD and _are_names(frame[name])
    }
    near = [
        str(name)
        for name, count in counts.items()
        if (count == len(frame) if wanted == "sample_id" else 1 < count <= most)
    ]
    return near[:3]


def _names_files(values: pd.Series) -> bool:
    """Whether texts end as names of files do."""
    texts = values.astype(str)
    return bool(texts.str.fullmatch(f".+{ENDING}").mean() > 0.5)


def _are_names(values: pd.Series) -> bool:
    """Whether a column holds texts or whole numbers, as names of rows and of classes are."""
    if not pd.api.types.is_string_dtype(values):
        return pd.api.types.is_integer_dtype(values)
    return not bool(values.str.fullmatch(FRACTION).any())


def session_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that are called like a session and have values that several rows share."""
    return [
        str(name)
        for name in frame.columns
        if SESSIONS.intersection(canonical(str(name)).split("_"))
        and _are_names(frame[name])
        and 1 < frame[name].nunique() < len(frame)
    ]


def alone(frame: pd.DataFrame) -> str:
    """What a table without sessions means, and which of its columns may name them."""
    near = session_columns(frame)
    means = "every recording counts as a session of its own"
    if near:
        return f'{means}; if {near[0]} is the session, set group="{near[0]}"'
    hints = (_numbered_parts(str(name), frame[name]) for name in frame)
    return means + next(filter(None, hints), "")


def _numbered_parts(name: str, values: pd.Series) -> str:
    """That a column's texts may be numbered parts of fewer things, as song.3.wav is of song."""
    if not pd.api.types.is_string_dtype(values):
        return ""
    stems = values.astype(str).str.replace(f"{ENDING}$", "", regex=True)
    stems = stems.str.replace(r"[\W_]*\d+$", "", regex=True)
    counts = stems.value_counts()
    numbered = values.nunique() == len(values) and stems.ne(values).all()
    if not numbered or len(counts) < FEWEST_SOURCES or (counts > 1).mean() < 0.5:
        return ""
    return (
        f"; {name} numbers the parts of {len(counts)} things ({some(list(counts.index), 3)}): "
        "where parts of one are like each other, write those names into a column group"
    )


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

"""What in a table of features is no measurement, or is counted twice: notes, since none of it is
certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from quadlib.data.logs.gaps import stand_in
from quadlib.data.samples import SPLITS, SampleTable, some

FEWEST_ROWS, FEWEST_OF_A_CLASS = 20, 3  # below, a coincidence is likely
MINORITY = 0.5  # share of the columns up to which they stand among features
NAMES_THE_CLASS = 0.95  # share of recordings; what a classifier gives need not be right
FLAGS_TELL = 0.97  # share of the others
MOST_FLAGS = 12  # more of them tell any class from the others by chance
FEWEST_OUTPUTS = 3  # of two columns one is larger, and tells two classes apart, too easily
TELLING_VALUES = 4  # of a recording: fewer numbers coincide by nature
NO_CLASS = frozenset(["-1", "unknown", "unlabeled", "unlabelled", "undefined", "not labeled"])


def suspects(table: SampleTable, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Notes on features that are the label or a row's number, on arrays that a classifier may have
    given, on recordings of two splits that are equal, and on a class that may mean none.

    Args:
        table: with its splits.
        arrays: name -> (n, ...) of the modalities that came as arrays, in the table's order.
    """
    for name in [name for name in table.class_names if name.casefold() in NO_CLASS]:
        count = int((table.frame["label"] == name).sum())
        yield (
            f"label {name!r} of {count} recordings is trained on as a class like the others; where "
            f'it means that nobody labelled them, set leave_out="{name}"'
        )
    for name in table.modalities:
        if name in arrays and arrays[name].ndim == 2:
            rows = np.flatnonzero(table.present[:, list(table.modalities).index(name)])
            yield from _columns(name, arrays[name][rows], table.codes[rows])
    if table.modalities and all(name in arrays for name in table.modalities):
        yield from _copies(table, arrays)


def _columns(name: str, values: np.ndarray, codes: np.ndarray) -> Iterator[str]:
    """Of a modality's features (n, d) and the classes (n,) of their rows."""
    classes, codes, counts = np.unique(codes, return_inverse=True, return_counts=True)
    yield from _stand_ins(name, values)
    if len(values) < FEWEST_ROWS or len(classes) < 2 or counts.min() < FEWEST_OF_A_CLASS:
        return
    low = np.stack([values[codes == code].min(axis=0) for code in range(len(classes))])
    high = np.stack([values[codes == code].max(axis=0) for code in range(len(classes))])
    columns = np.flatnonzero((low == high).all(axis=0) & (np.ptp(low, axis=0) > 0))
    told = len(np.unique(low[:, columns], axis=0)) == len(classes)
    if len(columns) and len(columns) <= MINORITY * values.shape[1] and told:
        yield (
            f"{name}: {_columns_named(columns)} one value in each class and is the label itself, "
            "so scores say nothing; take it out of the features"
        )
    if len(parts := _flags_of_the_label(values, codes, len(classes))):
        yield (
            f"{name}: columns {some(parts.tolist())} (the first is 0) hold 0 and 1 and together "
            "say which recordings are of one class, as the other columns of a coded label do, so "
            "scores say nothing; take them out of the features"
        )
    numbers = np.flatnonzero((values == np.floor(values)).all(axis=0))
    counted = numbers[[_counts(values[:, column]) for column in numbers]]
    if len(counted):
        yield (
            f"{name}: {_columns_named(counted)} another whole number in each recording, one after "
            "the other, and is their number in a list; take it out of the features"
        )
    if values.shape[1] == len(classes) >= FEWEST_OUTPUTS:
        largest = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(largest, (codes, values.argmax(axis=1)), 1)
        apart = len(set(largest.argmax(axis=1))) == len(classes)
        if apart and (share := largest.max(axis=1).sum() / len(values)) >= NAMES_THE_CLASS:
            yield (
                f"{name}: its largest number names the class of {share:.0%} of the recordings, as "
                f'what a classifier gives does; where it is that, set information="{name}"'
            )


def _flags_of_the_label(values: np.ndarray, codes: np.ndarray, n_classes: int) -> np.ndarray:
    """The columns of zeros and ones, two to MOST_FLAGS, that are 1 in no recording of some class,
    and of which one is 1 in nearly all others; empty where there are none.
    """
    flags = np.flatnonzero(np.isin(values, (0, 1)).all(axis=0) & (np.ptp(values, axis=0) > 0))
    for code in range(n_classes):
        own = codes == code
        apart = flags[~values[own][:, flags].any(axis=0)]
        said = values[~own][:, apart].any(axis=1) if len(apart) else np.zeros(1, bool)
        if 1 < len(apart) <= MOST_FLAGS and said.mean() >= FLAGS_TELL:
            return apart
    return flags[:0]


def _stand_ins(name: str, values: np.ndarray) -> Iterator[str]:
    """Rows of zeros, and a number far from all others of its column that stands for none."""
    if values.shape[1] > 1 and (count := int((values == 0).all(axis=1).sum())):
        yield (
            f"{name}: {count} of {len(values)} recordings are zeros alone; where nothing was "
            "measured, save NaN in their place"
        )
    found: dict[float, int] = {}
    for column in values.T:
        if (number := stand_in(column)) is not None:
            found[number] = found.get(number, 0) + int((column == number).sum())
    for number, count in found.items():
        yield (
            f"{name}: {number:g} stands {count} times, far from all other values of its columns; "
            "where it means that nothing was measured, save NaN in its place"
        )


def _counts(values: np.ndarray) -> bool:
    """Whether these are whole numbers without a gap, each once."""
    return bool(np.ptp(values) == len(values) - 1) and len(np.unique(values)) == len(values)


def _columns_named(columns: np.ndarray) -> str:
    if len(columns) == 1:
        return f"column {columns[0]} (the first is 0) has"
    return f"each of columns {some(columns)} (the first is 0) has"


def _copies(table: SampleTable, arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Recordings of which another split has an equal one."""
    flat = [np.ascontiguousarray(arrays[name]).reshape(len(table), -1) for name in table.modalities]
    if sum(part.shape[1] for part in flat) < TELLING_VALUES:
        return
    contents = np.array(
        [hash(b"".join(part[row].tobytes() for part in flat)) for row in range(len(table))]
    )
    empty = np.all([(part == part[:, :1]).all(axis=1) for part in flat], axis=0)
    ids = table.frame["sample_id"].to_numpy()
    for first, second in combinations(SPLITS, 2):
        ours, theirs = table.rows(first), table.rows(second)
        copied = theirs[np.isin(contents[theirs], contents[ours]) & ~empty[theirs]]
        if len(copied):
            twin = ours[np.flatnonzero(contents[ours] == contents[copied[0]])[0]]
            yield (
                f"{len(copied)} of {len(theirs)} recordings of {second} hold the same values as "
                f"one of {first} ({ids[copied[0]]} as {ids[twin]}), so what is learned by heart "
                "counts as known; take one of each pair out"
            )

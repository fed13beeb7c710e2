"""What a loop's variables say is trained on, beside what they say evaluates."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.observed.fact import fact_of
from quadlib.diagnosis.observe.arrays import MOST_BYTES, as_numpy
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.subject import Unavailable

WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
Named = tuple[str, np.ndarray]
BEYOND = 0.1  # share of an array's rows that lie behind the last one that is used


@dataclass(frozen=True)
class Array:
    """An array of the loop's variables. role: "trained", "evaluated", or "" where its name says
    neither. stem: the words of its name, with a star for those that give the role.
    """

    name: str
    role: str
    stem: tuple[str, ...]
    values: np.ndarray

    def has_word(self, words: tuple[str, ...]) -> bool:
        return not set(words).isdisjoint(self.stem)


@dataclass(frozen=True)
class Parts:
    """One array of what is trained on, and those of the same name of what evaluates: `x_train`
    beside `x_val` and `x_test`, or `x[train]` beside `x[test]`. gallery: no name says that these
    evaluate, and they may be rows of train on purpose, that the others are compared with.
    """

    trained: Array
    evaluated: tuple[Array, ...]
    gallery: bool = False

    @property
    def named(self) -> Iterator[tuple[Named, Named]]:
        """(name, values) of what is trained on, beside those of each that evaluates."""
        own = self.trained.name, self.trained.values
        return ((own, (other.name, other.values)) for other in self.evaluated)


def _n_arrays(record: Record) -> int:
    return len(record.named_arrays)  # more of them turn up as the loop goes on


@fact_of(_n_arrays)
def arrays(record: Record) -> list[Array]:
    """Those whose name speaks of one part, or of none."""
    found: dict[tuple[str, int], Array] = {}
    for name, value in record.named_arrays:
        found.setdefault((name, id(value)), _array(name, as_numpy(value)))
        if type(value).__name__ == "DataFrame":
            for column in map(str, value.columns):
                if not set(words_of(column)).isdisjoint(conventions.GROUP_WORDS):
                    path = f"{name}.{column}"
                    found[path, id(value)] = _array(path, np.asarray(value[column]))
    known = [array for array in found.values() if array.role != "both"]
    return known + list(_left_by_masks(record, known))


def _left_by_masks(record: Record, known: list[Array]) -> Iterator[Array]:
    """The rows that a mask leaves, x[~test], where no array of its own names them."""
    other = {"trained": "evaluated", "evaluated": "trained"}
    named = {(array.role, array.stem) for array in known}
    for name, value in record.named_arrays:
        values = as_numpy(value)
        role, stem = (array := _array(name, values)).role, array.stem
        alone = role in other and (other[role], stem) not in named
        if alone and values.dtype == bool and values.ndim == 1:
            yield Array(f"~{name}", other[role], stem, np.flatnonzero(~values))


@fact_of(_n_arrays)
def parts(record: Record) -> list[Parts]:
    """Raises Unavailable where no two names are those of train and of a test."""
    found = list(_by_name(arrays(record)))
    found += [
        Parts(_taken(array, rows.trained), tuple(_taken(array, other) for other in rows.evaluated))
        for rows in _row_numbers(found)
        for array in _indexed(rows, arrays(record))
    ]
    if not found:
        raise Unavailable("no variables are named as what is trained on and what evaluates")
    return found


def tables(record: Record) -> list[Parts]:
    """Those of samples, (n, ...); raises Unavailable where there are none, as the others do."""
    found = list(_of_one_kind(parts(record), lambda array: array.values.ndim >= 2))
    if not found:
        raise Unavailable("no variables hold the samples of train and of test")
    return found


def groups(record: Record) -> list[Parts]:
    """Those that say whose each sample is, (n,)."""
    found = list(
        _of_one_kind(
            parts(record),
            lambda array: array.values.ndim == 1 and array.has_word(conventions.GROUP_WORDS),
        )
    )
    if not found:
        raise Unavailable("no variables say whose the samples of train and of test are")
    return found


def row_numbers(record: Record) -> list[Parts]:
    """Those of the rows of an array at hand, (n,) distinct whole numbers."""
    every = arrays(record)
    found = [rows for rows in _row_numbers(parts(record)) if any(_indexed(rows, every))]
    if not found:
        raise Unavailable("no variables hold the row numbers of train and test")
    return found


def _array(name: str, values: np.ndarray) -> Array:
    """Of a mask, the rows that it leaves."""
    role = role_of(name)
    stem = tuple(
        "*" if word in (*conventions.TRAINED_WORDS, *conventions.EVALUATED_WORDS) else word
        for word in words_of(name)
    )
    if values.ndim == 1 and values.dtype == bool and role:
        values = np.flatnonzero(values)
    return Array(name, role, stem, values)


def role_of(name: str) -> str:
    """What a name says its variable is for: "trained", "evaluated", "both", or "" for neither."""
    known = {"trained": conventions.TRAINED_WORDS, "evaluated": conventions.EVALUATED_WORDS}
    roles = [role for role, own in known.items() if not set(own).isdisjoint(words_of(name))]
    return "both" if len(roles) > 1 else "".join(roles)


def words_of(name: str) -> list[str]:
    """The words of a name in lower case: x and train of x_train, xTrain, XTrain and xtrain."""
    return [part for word in WORDS.findall(name) for part in _parts_of(word.lower())]


def _parts_of(word: str) -> tuple[str, ...]:
    roles = (*conventions.TRAINED_WORDS, *conventions.EVALUATED_WORDS)
    if word[0] in "xyz" and word[1:] in roles:
        return word[0], word[1:]
    if word[-1] in "xyz" and word[:-1] in roles:
        return word[:-1], word[-1]
    return (word,)


def _by_name(every: list[Array]) -> Iterator[Parts]:
    """Arrays that are views of one memory are no pair; the same ones under other names are one."""
    seen = set()
    for own in (array for array in every if array.role == "trained"):
        others = {
            _place(other.values): other
            for other in every
            if other.role == "evaluated" and other.stem == own.stem
        }
        others.pop(_place(own.values), None)
        key = (_place(own.values), *others)
        if others and key not in seen:
            seen.add(key)
            yield Parts(own, tuple(others.values()))


def _place(values: np.ndarray) -> tuple[int, tuple[int, ...]]:
    return values.__array_interface__["data"][0], values.shape


def _of_one_kind(found: list[Parts], fits: Callable[[Array], bool]) -> Iterator[Parts]:
    for part in found:
        own = part.trained
        others = tuple(
            other
            for other in part.evaluated
            if fits(other)
            and len(other.values)
            and other.values.shape[1:] == own.values.shape[1:]
            and other.values.dtype.kind == own.values.dtype.kind
        )
        if fits(own) and len(own.values) and others:
            yield Parts(own, others)


def _row_numbers(found: list[Parts]) -> Iterator[Parts]:
    lengths = [len(p.trained.values) for p in found if not _could_be_rows(p.trained)]
    for part in _of_one_kind(found, _could_be_rows):
        every = [array.values for array in (part.trained, *part.evaluated)]
        orders_of_their_own = all(rows.max() < len(rows) for rows in every)
        # else they could be rows of an array of what is trained on alone
        longer_than_any = max(lengths, default=0) <= part.trained.values.max()
        if longer_than_any and not orders_of_their_own:
            yield part


def _could_be_rows(array: Array) -> bool:
    rows = array.values
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min(initial=0) < 0:
        return False
    return len(np.unique(rows)) == len(rows)


def _indexed(rows: Parts, every: list[Array]) -> Iterator[Array]:
    """The arrays of no part whose last row is among these rows, or near it."""
    top = max(int(array.values.max()) for array in (rows.trained, *rows.evaluated))
    seen = set()
    for array in every:
        length, place = len(array.values), _place(array.values)
        fits = top < length <= (top + 1) / (1 - BEYOND) and array.values.nbytes <= MOST_BYTES
        if not array.role and fits and place not in seen:
            seen.add(place)
            yield array


def _taken(array: Array, rows: Array) -> Array:
    name = f"{array.name}[{rows.name}]"
    return Array(name, rows.role, array.stem, array.values[rows.values])

"""Made feature tables of four views with sessions, each with one difficulty that real ones have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from quadlib.data.samples import Modality, SampleTable

VIEWS = ("a", "b", "c", "d")
WIDTHS = (17, 60, 43, 36)
CLASSES, SESSIONS, ROWS = 5, 90, 2000


def one_good(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """One view tells the classes, by no centre of theirs; three hold sessions and heavy tails.

    A class is two opposite sectors of a plane, which no linear rule tells apart: the view is slow
    to be understood, and the three others have long reached the plateau by then.
    """
    random, y, group = _drawn(seed, np.full(4, 0.25))
    arrays = {}
    for view, width in zip(VIEWS, WIDTHS, strict=True):
        hidden = random.standard_normal((ROWS, 10))
        hidden[:, 4:] += (1.2 if view == "a" else 4) * random.standard_normal((SESSIONS, 6))[group]
        if view == "a":
            angle = np.pi * ((y + 0.8 * random.random(ROWS)) / 4 + random.integers(0, 2, ROWS))
            hidden[:, :2] = 2.3 * np.column_stack([np.cos(angle), np.sin(angle)])
        arrays[view] = _mixed(random, hidden, width, tails=0.5)
    return table_of("one_good", y, _named(group), arrays)


def all_good(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """Every view tells the classes a little."""
    return _made("all_good", seed, class_shift=(0.8,) * 4, session_shift=(0.6,) * 4)


def session_shift(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """Sessions lie further apart than classes in every view."""
    return _made("session_shift", seed, class_shift=(0.9,) * 4, session_shift=(1.6,) * 4)


def half_missing(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """As all_good, but half of the recordings lack the view that tells most."""
    random = np.random.default_rng([seed, 1])
    table = _made("half_missing", seed, class_shift=(1.1, 0.6, 0.6, 0.6), session_shift=(0.6,) * 4)
    lacking = random.random(len(table)) < 0.5
    return table.with_columns(a=np.where(lacking, -1, np.arange(len(table))))


def many_sessions(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """1,551 recordings of 122 sessions in 7 classes of unequal size, a session mostly of one.

    A class takes three forms, and views tell them apart unequally well.
    """
    shares = np.array([0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05])
    random, y, group = _drawn(seed, shares, rows=1551, sessions=122, own=0.8)
    form = random.integers(0, 3, len(y))
    arrays = {}
    for view, width, of_class in zip(VIEWS, WIDTHS, (1.2, 1.0, 0.9, 0.9), strict=True):
        hidden = random.standard_normal((len(y), 12))
        hidden[:, :6] += 2 * of_class * random.standard_normal((7, 3, 6))[y, form]
        hidden[:, 6:] += 1.2 * random.standard_normal((122, 6))[group]
        arrays[view] = _mixed(random, hidden, width, tails=1.0)
    return table_of("many_sessions", y, _named(group), arrays)


def cycles(path: str | None = None, *, seed: int = 0) -> SampleTable:
    """2,205 cycles of a machine: one view tells the classes, each of two forms; three hold nothing
    but the session.
    """
    random, y, group = _drawn(seed, np.full(4, 0.25), rows=2205, sessions=100)
    form = random.integers(0, 2, len(y))
    arrays = {}
    for view, width in zip(VIEWS, WIDTHS, strict=True):
        hidden = random.standard_normal((len(y), 10))
        if view == "a":
            hidden[:, :5] += 2.5 * random.standard_normal((4, 2, 5))[y, form]
        hidden[:, 5:] += (1 if view == "a" else 2) * random.standard_normal((100, 5))[group]
        arrays[view] = _mixed(random, hidden, width, tails=0.7)
    return table_of("cycles", y, _named(group), arrays)


def _made(
    name: str, seed: int, class_shift: Sequence[float], session_shift: Sequence[float]
) -> SampleTable:
    """Class centre and session offset, in standard deviations of what else varies.

    A class differs in four directions of a view, a session in six others.
    """
    random, y, group = _drawn(seed, np.full(CLASSES, 1 / CLASSES))
    arrays = {}
    for view, width, of_class, of_session in zip(
        VIEWS, WIDTHS, class_shift, session_shift, strict=True
    ):
        hidden = random.standard_normal((ROWS, 10))
        hidden[:, :4] += 2 * of_class * random.standard_normal((CLASSES, 4))[y]
        hidden[:, 4:] += 2 * of_session * random.standard_normal((SESSIONS, 6))[group]
        arrays[view] = _mixed(random, hidden, width, tails=1.0)
    return table_of(name, y, _named(group), arrays)


def _drawn(
    seed: int, shares: np.ndarray, rows: int = ROWS, sessions: int = SESSIONS, own: float = 0.5
) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Codes and sessions (rows,), classes by their shares; the part `own` of a session is of one
    class, as recordings of one day are.
    """
    random = np.random.default_rng([seed, 0])
    group = np.sort(random.integers(0, sessions, rows))
    main = random.choice(len(shares), sessions, p=shares)
    y = np.where(random.random(rows) < own, main[group], random.choice(len(shares), rows, p=shares))
    return random, y, group


def _mixed(random: np.random.Generator, hidden: np.ndarray, width: int, tails: float) -> np.ndarray:
    """Hidden values (n, k) spread over the columns of a view, with noise of heavy tails."""
    columns = hidden @ random.standard_normal((hidden.shape[1], width)) / np.sqrt(hidden.shape[1])
    return (columns + tails * random.standard_t(3, columns.shape)).astype(np.float32)


def _named(group: np.ndarray) -> list[str]:
    return [f"s{number:02d}" for number in group]


def table_of(
    name: str, y: np.ndarray, group: Sequence[str], arrays: dict[str, np.ndarray]
) -> SampleTable:
    """Arrays (n, d) named after the views, with codes (n,) and sessions, as a table without
    splits.
    """
    ids = [f"{name}-{row:04d}" for row in range(len(y))]
    columns = {"sample_id": ids, "label": [str(code) for code in y], "group": group, "split": ""}
    columns |= {view: np.arange(len(y)) for view in arrays}
    views = {view: Modality("vector", values.shape[1:]) for view, values in arrays.items()}
    return SampleTable(pd.DataFrame(columns), views, arrays=arrays, name=name)

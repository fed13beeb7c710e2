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
    random, y, group = _drawn(seed, classes=4)
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


def _made(
    name: str, seed: int, class_shift: Sequence[float], session_shift: Sequence[float]
) -> SampleTable:
    """Class centre and session offset, in standard deviations of what else varies.

    A class differs in four directions of a view, a session in six others.
    """
    random, y, group = _drawn(seed, classes=CLASSES)
    arrays = {}
    for view, width, of_class, of_session in zip(
        VIEWS, WIDTHS, class_shift, session_shift, strict=True
    ):
        hidden = random.standard_normal((ROWS, 10))
        hidden[:, :4] += 2 * of_class * random.standard_normal((CLASSES, 4))[y]
        hidden[:, 4:] += 2 * of_session * random.standard_normal((SESSIONS, 6))[group]
        arrays[view] = _mixed(random, hidden, width, tails=1.0)
    return table_of(name, y, _named(group), arrays)


def _drawn(seed: int, classes: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Codes and sessions (n,); half of a session is of one class, as recordings of one day are."""
    random = np.random.default_rng([seed, 0])
    group = np.sort(random.integers(0, SESSIONS, ROWS))
    main = random.integers(0, classes, SESSIONS)
    y = np.where(random.random(ROWS) < 0.5, main[group], random.integers(0, classes, ROWS))
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

"""Which rows an evaluation brings together with which numbers.

While an evaluation lasts, Python tells of every function that is called or returned from. A
function that is handed the rows of a run and one number a row uses them as a pair; a function that
ends with two sets of rows and, for each row of one, the place of its own in the other, has paired
them. Nothing is looked at in training steps.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import _disable_current_modes

from quadlib.diagnosis.observe.frames import is_library, is_ours
from quadlib.diagnosis.observe.later import Later, Pairing, Run

MOST_EVENTS = 2_000_000
MOST_PAIRS = 1 << 22
MOST_COMPARISONS = 64
FEWEST_ROWS = 8
MOST_RUNS = 16
SAME_SUM = 1e-4  # relative difference of two checksums of one row: float32 sums
OWN = 6.0  # standard deviations from which two layouts of rows belong together
CHANCE = 3.0  # down from which they do not


class PairWatch:
    """Looks at functions between `start` and `stop`, and adds what they pair to `later`."""

    def __init__(self, later: Later) -> None:
        self.later = later
        self._runs: list[Run] = []
        self._events = 0
        self._comparisons = 0
        self._on = False

    def knows(self, run: Run) -> None:
        """A run has ended whose rows did not come in the dataset's order."""
        order = np.asarray(run.rows)
        permuted = len(order) and np.array_equal(np.sort(order), np.arange(len(order)))
        if permuted and not np.array_equal(order, np.arange(len(order))):
            self._runs = [*self._runs[1 - MOST_RUNS :], run]

    def start(self) -> None:
        if not self._on and sys.getprofile() is None and self._events < MOST_EVENTS:
            self._on = True
            sys.setprofile(self._look)

    def stop(self) -> None:
        if self._on:
            self._on = False
            sys.setprofile(None)
            self._runs.clear()

    def _look(self, frame: FrameType, event: str, argument: Any) -> None:
        self._events += 1
        if self._events > MOST_EVENTS:
            self.stop()
        elif event == "call" and self._runs:
            self._handed(frame)
        elif event == "return" and not is_library(frame):
            self._ended(frame)

    def _handed(self, frame: FrameType) -> None:
        code = frame.f_code
        count = code.co_argcount + code.co_kwonlyargcount
        if count < 2 or is_ours(frame):
            return
        values = [frame.f_locals.get(name) for name in code.co_varnames[:count]]
        tables = [value for value in values if _is_table(value)]
        if not tables:
            return
        with _disable_current_modes(), torch.no_grad():
            for run in list(self._runs):
                pairing = pairing_of(run, tables, values, code.co_name)
                if pairing is not None:
                    self._runs = [other for other in self._runs if other is not run]
                    self.later.pairings.append(pairing)

    def _ended(self, frame: FrameType) -> None:
        values = list(frame.f_locals.values())
        tables = [value for value in values if _is_table(value) and value.ndim == 2]
        if len(tables) < 2 or self._comparisons >= MOST_COMPARISONS:
            return
        sizes = {len(table) for table in tables}
        if not any(n > m and n % m == 0 for n in sizes for m in sizes):
            return
        self._comparisons += 1
        with _disable_current_modes(), torch.no_grad():
            pairing = layout_of(tables, values, frame.f_code.co_name)
        if pairing is not None:
            self.later.pairings.append(pairing)


def checksums(rows: Tensor | np.ndarray) -> np.ndarray:
    """(n, 2): two sums over each row, in which a place has its own weight; the second of the row at
    unit norm.
    """
    table = torch.as_tensor(rows).detach().cpu().double().flatten(1)
    weights = torch.arange(1, table.shape[1] + 1, dtype=torch.float64).cos()
    return torch.stack([table @ weights, normalize(table, dim=1) @ weights], 1).numpy()


def pairing_of(run: Run, tables: list[Any], values: list[Any], name: str) -> Pairing | None:
    """How a function pairs the rows of a run with numbers, None where it was not handed both; the
    rows are told by their values, in the order in which they came.
    """
    order = np.asarray(run.rows)
    if not any(_in_order(run, table) for table in tables if len(table) == len(order)):
        return None
    numbers = [array for value in values if (array := _numbers(value, len(order))) is not None]
    if any(np.array_equal(array, order) for array in numbers):
        return None  # it is told which row is which
    for path, parts in run.labels.items():
        labels = np.concatenate(parts)
        if len(labels) != len(order):
            continue
        sorted_labels = labels[np.argsort(order)]
        right = float((labels == sorted_labels).mean())
        for array in numbers:
            if np.array_equal(array, labels):
                return Pairing(name, len(order), 1.0, right, layout=path)
            if np.array_equal(array, sorted_labels):
                return Pairing(name, len(order), right, 1.0, layout=path)
    return None


def layout_of(tables: list[Any], values: list[Any], name: str) -> Pairing | None:
    """How a function pairs two sets of rows, of which one holds several rows for each of the
    other's; None where it names no pairs, or where the rows show none.
    """
    for left in tables:
        for right in tables:
            n, m = len(left), len(right)
            fits = left.shape[1] == right.shape[1] and m >= FEWEST_ROWS and n * m <= MOST_PAIRS
            if left is right or not fits or n % m or n == m:
                continue
            each = n // m
            truths = [
                array
                for value in values
                if (array := _numbers(value, n)) is not None
                and np.array_equal(np.bincount(array.clip(0), minlength=m), np.full(m, each))
            ]
            if not truths:
                continue
            place = np.arange(n)
            used = max(_likeness(left, right, array) for array in truths)
            layouts = {
                f"{each} rows of one after another": place // each,
                f"one row of each, {each} times over": place % m,
            }
            scores = {text: _likeness(left, right, array) for text, array in layouts.items()}
            best = max(scores, key=lambda text: scores[text])
            if used >= OWN or (used < CHANCE and scores[best] > 2 * OWN):
                return Pairing(name, n, used, scores[best], likeness=True, layout=best)
    return None


def _likeness(left: Any, right: Any, partner: np.ndarray) -> float:
    """By how many standard deviations the mean cosine of these pairs lies above that of all."""
    a, b = (
        normalize(torch.as_tensor(rows).detach().cpu().float(), dim=1) for rows in (left, right)
    )
    table = a @ b.T
    pairs = table[torch.arange(len(a)), torch.as_tensor(partner)]
    return float((pairs.mean() - table.mean()) / (table.std() + 1e-9) * len(a) ** 0.5)


def _in_order(run: Run, table: Any) -> bool:
    """Whether a table holds what one module gave for the run's rows, in the order of the run."""
    sums = checksums(table)
    for parts in run.outputs.values():
        expected = np.concatenate(parts)
        if len(expected) == len(sums) and any(
            np.allclose(sums[:, k], expected[:, k], rtol=SAME_SUM, atol=SAME_SUM * _size(sums, k))
            for k in (0, 1)
        ):
            return True
    return False


def _size(sums: np.ndarray, column: int) -> float:
    return float(np.abs(sums[:, column]).mean())


def _is_table(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim >= 2 and value.is_floating_point() and len(value) >= FEWEST_ROWS
    if isinstance(value, np.ndarray):
        return value.ndim >= 2 and value.dtype.kind == "f" and len(value) >= FEWEST_ROWS
    return False


def _numbers(value: Any, n: int) -> np.ndarray | None:
    """A vector of n whole numbers; None for anything else."""
    if isinstance(value, Tensor):
        whole = value.ndim == 1 and not value.is_floating_point() and len(value) == n
        return value.detach().cpu().numpy().astype(np.int64) if whole else None
    if isinstance(value, list):
        if len(value) != n or not all(type(item) is int for item in value):
            return None
        return np.asarray(value)
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "iu":
        return value.astype(np.int64) if len(value) == n else None
    return None

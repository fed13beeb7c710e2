"""Small requests decided exactly, by an integer program over the sets of classes that a batch may
hold.

Batches with the same set of classes are alike: all that matters is how many there are, and how
many samples of each class they hold together, since these can be dealt evenly among them. So the
program has one whole number a set, whatever the number of batches, and none of the symmetry that
makes a program over single batches slow.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from quadlib.sampler.demand import Demand

MOST_SETS = 600  # nine classes in any combination; beyond it a program may take many seconds
MOST_NODES = 2000
MOST_SECONDS = 1.0  # a program that takes longer is left undecided, which is said


@dataclass(frozen=True)
class Placement:
    """Where the classes go.

    Args:
        batch: batch of each place, (n_places,) int64.
        label: class of each place, ascending, (n_places,) int64.
        sizes: samples that each batch is to hold at most, (n_batches,) int64.
    """

    batch: np.ndarray
    label: np.ndarray
    sizes: np.ndarray


class _Rows:
    """The constraints of an integer program, gathered as entries of a sparse matrix."""

    def __init__(self) -> None:
        self.row: list[np.ndarray] = []
        self.column: list[np.ndarray] = []
        self.value: list[np.ndarray] = []
        self.low: list[np.ndarray] = []
        self.high: list[np.ndarray] = []
        self.n = 0

    def add(
        self,
        n_rows: int,
        low: np.ndarray | float,
        high: np.ndarray | float,
        *entries: tuple[np.ndarray, np.ndarray, np.ndarray | float],
    ) -> None:
        """n_rows constraints low <= sum of value * variable <= high; an entry is row, column and
        value.
        """
        for row, column, value in entries:
            self.row.append(self.n + row)
            self.column.append(column)
            self.value.append(np.broadcast_to(np.asarray(value, dtype=float), row.shape))
        self.low.append(np.broadcast_to(np.asarray(low, dtype=float), (n_rows,)))
        self.high.append(np.broadcast_to(np.asarray(high, dtype=float), (n_rows,)))
        self.n += n_rows


def decide(
    demand: Demand, *, ideal: bool, fewest_samples: int = 1
) -> Placement | Literal[False] | None:
    """A placement with which batches can meet the laws; False is a proof that there is none, None
    says that the program was too large or took too long.

    Args:
        demand: what the epoch draws.
        ideal: asks for more than the laws: sizes one apart, common classes in every batch and
            within one of their proportion, rare ones in as many batches as they can be.
        fewest_samples: the fewest samples in a batch.
    """
    options = _options(demand, ideal)
    if options is None:
        return None
    sets, sizes = options
    if not sets:
        return False
    n = len(sets)
    lengths = np.array([len(chosen) for chosen in sets], dtype=np.int64)
    of = np.repeat(np.arange(n), lengths)  # the set of each member
    label = np.concatenate([np.array(chosen, dtype=np.int64) for chosen in sets])
    extra = n + np.arange(len(label))  # variables: samples of a member above min_per_class
    least, most = np.full(len(label), demand.min_per_class), demand.most[label]
    if ideal:
        share = demand.draws[label] * sizes[of] / demand.n_draws
        common = demand.common[label]
        least = np.where(common, np.maximum(least, np.ceil(share - 1 - 1e-9)), least)
        most = np.where(common, np.minimum(most, np.floor(share + 1 + 1e-9)), most)
    minimum = np.bincount(of, weights=least, minlength=n)
    members, every = np.arange(len(label)), np.arange(n)
    zeros = np.zeros(n, dtype=np.int64)
    rows = _Rows()
    rows.add(1, demand.n_batches, demand.n_batches, (zeros, every, 1))
    rows.add(len(demand.draws), demand.draws, demand.draws, (label, of, least), (label, extra, 1))
    rows.add(len(label), -np.inf, 0, (members, extra, 1), (members, of, least - most))
    lowest = minimum - sizes if ideal else np.minimum(minimum - fewest_samples, 0)
    rows.add(n, 0, np.inf, (of, extra, 1), (every, every, lowest))
    rows.add(n, -np.inf, 0, (of, extra, 1), (every, every, minimum - sizes))
    if ideal:
        rows.add(
            len(demand.draws),
            np.where(demand.common, 0, demand.appearances),
            np.inf,
            (label, of, 1),
        )
        rows.add(1, demand.n_draws, demand.n_draws, (zeros, every, sizes))
    copies = _solve(rows, n, len(label), limited=not ideal)
    if not isinstance(copies, np.ndarray):
        return copies
    return _placed(copies, sets, sizes)


def _options(demand: Demand, ideal: bool) -> tuple[list[tuple[int, ...]], np.ndarray] | None:
    """The sets of classes that a batch may hold and the samples that go with each, at most; None
    where there are too many.
    """
    always = tuple(np.flatnonzero(demand.common).tolist()) if ideal else ()
    free = np.flatnonzero(~demand.common if ideal else demand.draws > 0).tolist()
    size, larger = divmod(demand.n_draws, demand.n_batches)
    sizes = ([size, size + 1] if larger else [size]) if ideal else [demand.batch_size]
    sets: list[tuple[int, ...]] = []
    with_sizes: list[int] = []
    for n in range(len(free) + 1):
        n_classes = n + len(always)
        if n_classes < demand.min_classes:
            continue
        fitting = [s for s in sizes if n_classes * demand.min_per_class <= s]
        if not fitting:
            break
        for chosen in combinations(free, n):
            if len(sets) > MOST_SETS:
                return None
            sets += [tuple(sorted(always + chosen))] * len(fitting)
            with_sizes += fitting
    return sets, np.array(with_sizes, dtype=np.int64)


def _solve(
    rows: _Rows, n_sets: int, n_members: int, *, limited: bool
) -> np.ndarray | Literal[False] | None:
    """How many batches have each set, (n_sets,) int64; False where none can, None where that was
    not decided.

    What depends on a clock may differ from process to process, so a limit of seconds is only set
    where leaving it undecided ends in an error.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    n_variables = n_sets + n_members
    matrix = csr_array(
        (
            np.concatenate(rows.value),
            (np.concatenate(rows.row), np.concatenate(rows.column)),
        ),
        shape=(rows.n, n_variables),
    )
    solved = milp(
        np.zeros(n_variables),
        integrality=np.arange(n_variables) < n_sets,
        bounds=Bounds(0, np.inf),
        constraints=LinearConstraint(matrix, np.concatenate(rows.low), np.concatenate(rows.high)),
        options={"node_limit": MOST_NODES} | ({"time_limit": MOST_SECONDS} if limited else {}),
    )
    if solved.status == 0:
        return np.asarray(np.rint(solved.x[:n_sets]), dtype=np.int64)
    return False if solved.status == 2 else None


def _placed(copies: np.ndarray, sets: list[tuple[int, ...]], sizes: np.ndarray) -> Placement:
    """The places of the classes in batches numbered set by set."""
    batch: list[int] = []
    label: list[int] = []
    for set_of_batch, number in zip(
        np.repeat(np.arange(len(sets)), copies), range(int(copies.sum())), strict=True
    ):
        chosen = sets[set_of_batch]
        batch += [number] * len(chosen)
        label += chosen
    order = np.argsort(label, kind="stable")
    return Placement(
        np.array(batch, dtype=np.int64)[order],
        np.array(label, dtype=np.int64)[order],
        np.repeat(sizes, copies),
    )

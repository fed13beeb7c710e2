"""The two kinds of batches behind StratifiedBatchSampler: how many there are, and what each epoch
puts into them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from quadlib.sampler.cells import Cells
from quadlib.sampler.demand import Demand, Request
from quadlib.sampler.feasibility import checked_layout
from quadlib.sampler.fill import best_fill
from quadlib.sampler.pk import PkRequest, pk_cells
from quadlib.sampler.reasons import rare_notes


class Recipe(Protocol):
    """What a kind of batches says of itself.

    Args:
        n_batches: batches of every epoch.
        uniform_size: samples in every batch of every epoch, or None where sizes differ.
        request: the settings that it follows.
    """

    n_batches: int
    uniform_size: int | None

    @property
    def request(self) -> Request | PkRequest:
        """The settings that it follows."""

    def epoch(self, epoch: int, rng: np.random.Generator) -> tuple[Demand, Cells]:
        """What an epoch draws, and the cells of its batches."""

    def notes(self) -> tuple[str, ...]:
        """What was done to rare classes, for the plan."""

    def identity(self) -> dict[str, Any]:
        """The settings that decide the batches, for the state."""


class Proportional:
    """Every class in every batch as near to its share as the laws allow."""

    def __init__(
        self, class_sizes: np.ndarray, class_names: tuple[str, ...], request: Request
    ) -> None:
        self.class_sizes, self.class_names, self.request = class_sizes, class_names, request
        self.layout = checked_layout(class_sizes, class_names, request)
        self.demand = request.demand(class_sizes)
        self.n_batches = self.demand.n_batches
        size, larger = divmod(self.demand.n_draws, self.n_batches)
        even = self.layout.faults[1] == 0 and not larger
        self.uniform_size = size if even else None

    def epoch(self, epoch: int, rng: np.random.Generator) -> tuple[Demand, Cells]:
        """Dealt anew where that comes out as well as the layout that was checked, else that."""
        if not self.layout.repeatable:
            return self.demand, self.layout.cells
        dealt = best_fill(
            self.demand,
            rng,
            tries=4,
            enough=self.layout.faults,
            exchange=self.request.balance == "natural",
            rooms=(self.layout.room,),
        )
        return self.demand, (dealt if dealt.faults <= self.layout.faults else self.layout).cells

    def notes(self) -> tuple[str, ...]:
        """What was done to rare classes."""
        return rare_notes(
            self.class_sizes, self.class_names, self.request.min_per_class, self.request.rare
        )

    def identity(self) -> dict[str, Any]:
        """The request but for the world size, which may change from run to run."""
        return {name: value for name, value in asdict(self.request).items() if name != "world_size"}


class Pk:
    """Exactly classes_per_batch classes with samples_per_class samples each."""

    def __init__(
        self, class_sizes: np.ndarray, class_names: tuple[str, ...], request: PkRequest
    ) -> None:
        self.class_sizes, self.class_names, self.request = class_sizes, class_names, request
        self.n_batches = request.demand(class_sizes, class_names).n_batches
        self.uniform_size: int | None = request.classes_per_batch * request.samples_per_class

    def epoch(self, epoch: int, rng: np.random.Generator) -> tuple[Demand, Cells]:
        """Blocks dealt anew."""
        demand = self.request.demand(self.class_sizes, self.class_names, epoch)
        return demand, pk_cells(demand, rng)

    def notes(self) -> tuple[str, ...]:
        """What was done to rare classes."""
        return rare_notes(
            self.class_sizes, self.class_names, self.request.samples_per_class, self.request.rare
        )

    def identity(self) -> dict[str, Any]:
        """The request."""
        return {"layout": "pk", **asdict(self.request)}

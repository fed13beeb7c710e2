"""StratifiedBatchSampler: batches in which every anchor has a positive and a negative, each sample
exactly once per epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from torch.utils.data import Sampler

from quadlib.sampler.draws import deal, draws_per_class, times_drawn
from quadlib.sampler.feasibility import (
    Request,
    SamplerError,
    check_values,
    checked_layout,
    rare_notes,
)
from quadlib.sampler.fill import Cells, best_fill
from quadlib.sampler.plan import BatchPlan, encode_labels

__all__ = ["SamplerError", "StratifiedBatchSampler"]


class StratifiedBatchSampler(Sampler[list[int]]):
    """Yields batches of sample indices such that every batch can teach: at least min_classes
    classes, each with at least min_per_class samples.

    With balance="natural": every sample exactly once per epoch, in ceil(N / batch_size) batches,
    none above batch_size and as equal in size as the other laws allow; each class's count in a
    batch is within one of proportional, except a class too rare for that, which appears in as many
    batches as min_per_class allows. With balance="equal" every class is drawn equally often, N
    draws an epoch, always distinct inside a batch.

    labels: one per sample, any dtype. rare: a class smaller than min_per_class raises ("error"),
    repeats its samples inside one batch ("oversample"), or is left out ("drop"); the plan says
    which. groups: one session per sample; an anchor then finds a positive from another session
    wherever class sizes allow it. The batches are a function of (seed, epoch) alone, from an own
    generator. Rank r of W yields batch[r::W] of each batch, which is sorted by class: every rank
    has mixed classes. Raises SamplerError, naming classes, numbers and the smallest change, where
    the laws cannot be met.
    """

    def __init__(
        self,
        labels: Any,
        batch_size: int = 32,
        *,
        min_classes: int = 2,
        min_per_class: int = 2,
        rare: Literal["error", "oversample", "drop"] = "error",
        balance: Literal["natural", "equal"] = "natural",
        groups: Any = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.codes, self.class_names = encode_labels(labels)
        self.groups = None if groups is None else encode_labels(groups)[0]
        self.request = Request(batch_size, min_classes, min_per_class, rare, balance, world_size)
        check_values(
            self.request,
            rank,
            seed,
            len(self.codes),
            None if self.groups is None else len(self.groups),
        )
        self.batch_size, self.seed, self.rank, self.world_size = (
            int(batch_size),
            int(seed),
            int(rank),
            int(world_size),
        )
        self._class_sizes = np.bincount(self.codes, minlength=len(self.class_names))
        self._layout = checked_layout(self._class_sizes, self.class_names, self.request)
        self._draws = draws_per_class(self._class_sizes, batch_size, min_per_class, rare, balance)
        self._n_batches = -(-int(self._draws.sum()) // batch_size)
        self._epoch, self._position, self._resume_at = 0, 0, 0
        self._cached: tuple[int, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches(self._epoch)
        self._position, self._resume_at = self._resume_at, 0
        for position in range(self._position, len(batches)):
            self._position = position + 1
            yield batches[position][self.rank :: self.world_size].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration yields; the same epoch keeps a position
        restored by load_state_dict.
        """
        if epoch != self._epoch:
            self._epoch, self._position, self._resume_at = int(epoch), 0, 0

    def state_dict(self, position: int | None = None) -> dict[str, Any]:
        """Where the epoch stands: the next iteration after load_state_dict yields the batches not
        yet yielded.

        position: batches consumed so far, where a loader with workers has fetched ahead of the
        training step.
        """
        reached = max(self._position, self._resume_at) if position is None else int(position)
        return {"epoch": self._epoch, "position": reached, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues exactly where the state was taken; any world size may resume what another
        wrote. Raises SamplerError on other data or settings.
        """
        wrong = [
            f"{name} was {state.get(name)!r}, here it is {value!r}"
            for name, value in self._identity().items()
            if state.get(name) != value
        ]
        if wrong:
            raise SamplerError(
                "the sampler state belongs to other batches: "
                + "; ".join(wrong)
                + ". Use the same data and settings, or start anew."
            )
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self._resume_at = self._position

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """What every batch of the epoch (default: the current one) holds, over all ranks
        together.
        """
        batches = self._batches(self._epoch if epoch is None else epoch)
        notes = rare_notes(self._class_sizes, self.class_names, self._draws, self.request)
        return BatchPlan(list(batches), self.codes, self.class_names, self.groups, notes)

    def _identity(self) -> dict[str, Any]:
        settings = {
            name: value for name, value in asdict(self.request).items() if name != "world_size"
        }
        return {
            "seed": self.seed,
            "n_samples": len(self.codes),
            "class_sizes": self._class_sizes.tolist(),
            **settings,
        }

    def _batches(self, epoch: int) -> list[np.ndarray]:
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, self._make(epoch))
        return self._cached[1]

    def _make(self, epoch: int) -> list[np.ndarray]:
        rng = np.random.default_rng([self.seed, epoch])
        layout = best_fill(
            self._draws,
            self._n_batches,
            self.batch_size,
            self.request.min_per_class,
            rng,
            tries=4,
            enough=self._layout.faults,
            exchange=self.request.balance == "natural",
            merged=self._layout.merged,
        )
        cells = (layout if layout.faults <= self._layout.faults else self._layout).cells
        # batches in random order, the cells of a class from the largest to the smallest, ties at
        # random
        place = rng.permutation(self._n_batches)
        order = np.lexsort((rng.random(len(cells.batch)), -cells.count, cells.label))
        cells = Cells(place[cells.batch[order]], cells.label[order], cells.count[order])
        times = times_drawn(self.codes, self._class_sizes, self._draws, self.seed, epoch)
        samples, slots = deal(self.codes, self.groups, times, cells, rng)
        sizes = cells.sizes(self._n_batches)
        # stable: inside a batch the classes stay sorted
        by_batch = np.argsort(slots.astype(np.int32), kind="stable")
        return np.split(samples[by_batch], np.cumsum(sizes)[:-1])

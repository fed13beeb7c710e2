"""What is asked of the batches: the settings, and from them how often each class is drawn into how
many batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from quadlib.sampler.shares import draws_per_class


class SamplerError(ValueError):
    """The batches asked for cannot be made; the message lists every reason, and the smallest
    changes that would do.
    """


@dataclass(frozen=True)
class Demand:
    """An epoch in numbers: draws of each class, and the batches that share them.

    Args:
        draws: samples drawn of each class, (n_classes,) int64.
        most: the most of each class that one batch may hold, (n_classes,) int64: its distinct
            samples, or min_per_class where a rare class repeats them.
        n_batches: batches of the epoch.
        batch_size: the most samples in a batch.
        min_classes: the fewest classes in a batch.
        min_per_class: the fewest samples of a class that is in a batch.
    """

    draws: np.ndarray
    most: np.ndarray
    n_batches: int
    batch_size: int
    min_classes: int
    min_per_class: int

    @cached_property
    def n_draws(self) -> int:
        """Samples drawn in the epoch, repeated ones each time."""
        return int(self.draws.sum())

    @cached_property
    def common(self) -> np.ndarray:
        """Which classes suffice for min_per_class in every batch, (n_classes,) bool."""
        return np.asarray(self.draws >= self.min_per_class * max(self.n_batches, 1))

    @cached_property
    def appearances(self) -> np.ndarray:
        """In how many batches each class can be, (n_classes,) int64."""
        return np.asarray(np.minimum(self.n_batches, self.draws // self.min_per_class))

    @cached_property
    def fewest_blocks(self) -> np.ndarray:
        """In how many batches each class must be, beside min_classes - 1 others, (n_classes,)
        int64.
        """
        room = self.batch_size - (self.min_classes - 1) * self.min_per_class
        return np.asarray(-(-self.draws // np.clip(self.most, 1, max(room, 1))))


@dataclass(frozen=True)
class Request:
    """The settings that decide what a batch must hold; see StratifiedBatchSampler.

    Example:
        >>> import numpy as np
        >>> demand = Request(batch_size=32).demand(np.array([48] * 12))
        >>> demand.n_batches, demand.n_draws
        (18, 576)
    """

    batch_size: int = 32
    min_classes: int = 2
    min_per_class: int = 2
    rare: Literal["error", "oversample", "drop"] = "error"
    balance: Literal["natural", "equal"] = "natural"
    world_size: int = 1

    def demand(self, class_sizes: np.ndarray) -> Demand:
        """How often each class is drawn, and into how many batches.

        Args:
            class_sizes: samples of each class, (n_classes,) whole numbers.

        Returns:
            The Demand; whether batches can meet it is another question (`checked_layout`).
        """
        sizes = np.asarray(class_sizes, dtype=np.int64)
        draws = draws_per_class(sizes, self.batch_size, self.min_per_class, self.rare, self.balance)
        repeated = (draws > 0) & (sizes < self.min_per_class)
        return Demand(
            draws,
            np.where(repeated, self.min_per_class, sizes),
            -(-int(draws.sum()) // self.batch_size),
            self.batch_size,
            self.min_classes,
            self.min_per_class,
        )

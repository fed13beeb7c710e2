"""The batches of a split: the stratified sampler over its recordings, in rows of the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from quadlib.config import BatchesSettings, TrainSettings
from quadlib.data.samples import SampleTable
from quadlib.sampler import StratifiedBatchSampler
from quadlib.sampler.plan import BatchPlan


class SplitBatches:
    """A torch batch sampler over one split: `sampler` deals positions within the split, this yields
    rows of the table.

    Batch order is a pure function of (seed, epoch). Where settings.allow names QL-S01, a split of
    one class is dealt in batches of it. Raises the sampler's own error when the split cannot be
    dealt.
    """

    def __init__(
        self, table: SampleTable, settings: TrainSettings | BatchesSettings, split: str = "train"
    ) -> None:
        self.rows = table.rows(split)
        codes = table.codes[self.rows]
        alone = len(self.rows) > 0 and bool((codes == codes[0]).all())
        allowed = isinstance(settings, TrainSettings) and "QL-S01" in settings.allow
        self.class_names = table.class_names
        self.sampler = StratifiedBatchSampler(
            codes,
            settings.batch_size,
            min_classes=1 if alone and allowed else settings.min_classes,
            min_per_class=settings.min_per_class,
            rare=settings.rare,
            balance=settings.balance,
            seed=settings.seed,
            groups=pd.factorize(table.frame["group"])[0][self.rows]
            if settings.spread_sessions
            else None,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        for positions in self.sampler:
            yield self.rows[np.asarray(positions)].tolist()

    def set_epoch(self, epoch: int) -> None:
        self.sampler.set_epoch(epoch)

    def plan(self, epoch: int | None = None) -> BatchPlan:
        """What every batch of an epoch holds, positions counted within the split."""
        return self.sampler.plan(epoch)

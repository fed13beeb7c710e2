"""Train and val as one split: what a refit learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from quadlib.data.batches import SplitBatches
from quadlib.data.dataset import QuadDataset
from quadlib.data.normalise import Normaliser
from quadlib.data.samples import SampleTable

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer


def whole(table: SampleTable) -> SampleTable:
    """The table with its val recordings in train; those of test stay where they are."""
    return table.with_columns(split=table.frame["split"].replace("val", "train").to_numpy())


def take_whole(trainer: Trainer) -> None:
    """Gives the trainer all recordings but those of test, with batches and scale of their own."""
    before = trainer.dataset
    store = replace(before.store, table=whole(before.table))
    table = store.table
    scale = Normaliser.fit(
        store.arrays,
        store.present,
        table.modalities,
        table.rows("train"),
        soft=trainer.settings.vector_scale == "soft",
    )
    trainer.dataset = QuadDataset(store, scale, augment=before.augment, seed=before.seed)
    trainer.batches = SplitBatches(table, trainer.settings)
    trainer.count_steps()

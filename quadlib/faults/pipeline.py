"""A pipeline of our own objects, made part by part, so that a fault can change one part before the
next is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.config import TrainSettings
from quadlib.data.dataset import Batch, QuadDataset
from quadlib.data.normalise import Normaliser
from quadlib.data.samples import SampleTable
from quadlib.data.store.store import MediaStore
from quadlib.diagnosis import Subject
from quadlib.runs import Run
from quadlib.training.device import global_generators_kept
from quadlib.training.optimiser import build_optimiser
from quadlib.training.trainer import Trainer, Validator, Watcher
from quadlib.training.watcher import subject_of


class Pipeline:
    """table -> store -> dataset -> trainer, each made when first asked for; whoever changes a part
    does so before the next is asked for.

    `parts` replace what `subject_of` would give: a train_step, an evaluate, a history. `random`
    belongs to the fault.
    """

    def __init__(
        self,
        table: SampleTable,
        settings: TrainSettings,
        *,
        run: Run | None = None,
        validator: Validator | None = None,
        watcher: Sequence[Watcher] = (),
    ) -> None:
        # a fault that collapses a run is to be seen, not recovered from
        self.settings = settings.model_copy(update={"on_collapse": "continue"})
        self._table = table
        self.run = run or Run(Path("this-pipeline"))
        self.validator, self.watcher = validator, watcher
        self.parts: dict[str, Any] = {}
        self.random = np.random.default_rng([settings.seed, 0xFA17])

    @property
    def table(self) -> SampleTable:
        return self._table

    @table.setter
    def table(self, table: SampleTable) -> None:
        if "store" in vars(self):
            raise RuntimeError(
                "the store was made from the table already; change the table before anything else"
            )
        self._table = table

    def set(self, **settings: Any) -> None:
        """Changes settings, before a trainer is made from them."""
        if "trainer" in vars(self):
            raise RuntimeError(
                "the trainer was made with the settings already; change them before anything else"
            )
        self.settings = self.settings.model_copy(update=settings)

    @cached_property
    def store(self) -> MediaStore:
        return MediaStore.open(self.table, self.settings)

    def put(self, name: str, array: np.ndarray) -> None:
        """Replaces the stored array of a modality, and the table's own where it came as one."""
        store, table = self.store, self.store.table
        if name in table.arrays:
            rows = {
                name: np.where(
                    table.present[:, list(table.modalities).index(name)], np.arange(len(table)), -1
                )
            }
            table = replace(
                table, arrays={**table.arrays, name: array}, frame=table.frame.assign(**rows)
            )
        self.store = MediaStore(table, {**store.arrays, name: array}, store.damage)

    @cached_property
    def dataset(self) -> QuadDataset:
        normaliser = Normaliser.fit(
            self.store.arrays,
            self.store.present,
            self.store.table.modalities,
            self.store.table.rows("train"),
        )
        return QuadDataset(
            self.store, normaliser, augment=self.settings.augment, seed=self.settings.seed
        )

    @cached_property
    def trainer(self) -> Any:
        """The trainer; a fault may put foreign parts, such as a sampler, in the place of its
        own.
        """
        return Trainer(
            self.dataset,
            self.settings,
            self.run,
            validator=self.validator,
            watcher=self.watcher,
        )

    def rebuild_optimiser(self) -> None:
        """A new optimiser over what is trainable now."""
        self.use_optimiser(
            build_optimiser(self.trainer.model, self.trainer.objective, self.settings)
        )

    def use_optimiser(self, optimiser: torch.optim.Optimizer) -> None:
        """Puts an optimiser in the place of the trainer's own, its rates being the peak rates."""
        self.trainer.optimiser = optimiser
        self.trainer.peak_rates = [group["lr"] for group in optimiser.param_groups]

    def subject(self) -> Subject:
        """The pipeline as it is now, for the doctor."""
        return subject_of(self.trainer, **self.parts)

    def train(self, epochs: int = 1) -> None:
        """Trains some epochs in memory: weights and history move on, nothing is written, and nobody
        looks on.
        """
        watchers, self.trainer.watchers = self.trainer.watchers, []
        with global_generators_kept():
            for _ in range(epochs):
                self.trainer.epoch += 1
                record, _clock = self.trainer._train_epoch()
                self.trainer.history.append({**record, "best": True})
        self.trainer.watchers = watchers

    @property
    def modality(self) -> str:
        """The modality that faults of one modality befall: one that holds numbers over time, or
        else the first.
        """
        kinds = self.table.modalities
        return next((name for name in kinds if kinds[name].kind == "series"), next(iter(kinds)))


class ChangedDataset(QuadDataset):
    """A dataset whose batches are changed before they are handed out: what a faulty transform
    does.
    """

    def __init__(self, dataset: QuadDataset, change: Callable[[Batch], Batch]) -> None:
        super().__init__(
            dataset.store, dataset.normaliser, augment=dataset.augment, seed=dataset.seed
        )
        self.change = change

    def _batch(self, rows: np.ndarray, augmented: bool) -> Batch:
        return self.change(super()._batch(rows, augmented))


class PlainBatches:
    """Batches as torch's own samplers cut them: rows in order or shuffled anew each epoch."""

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
    ) -> None:
        self.rows, self.batch_size, self.shuffle, self.drop_last, self.seed, self.epoch = (
            rows,
            batch_size,
            shuffle,
            drop_last,
            seed,
            0,
        )

    def __len__(self) -> int:
        return (
            len(self.rows) // self.batch_size
            if self.drop_last
            else -(-len(self.rows) // self.batch_size)
        )

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = (
            np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
            if self.shuffle
            else self.rows
        )
        for number in range(len(self)):
            yield order[number * self.batch_size : (number + 1) * self.batch_size].tolist()


class PlainSupCon(nn.Module):
    """SupCon as many repositories write it: the rows are taken as they come, in the dtype they come
    in.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = ((labels[:, None] == labels) & ~itself).float()
        similar = (embeddings @ embeddings.T / self.temperature).masked_fill(itself, -torch.inf)
        log_probability = (similar - similar.logsumexp(dim=1, keepdim=True)).masked_fill(
            itself, 0.0
        )
        used = positive.sum(dim=1) > 0
        return -((log_probability * positive).sum(dim=1)[used] / positive.sum(dim=1)[used]).mean()

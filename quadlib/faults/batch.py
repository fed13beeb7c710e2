"""Faults of the batches: given a good split, what is drawn from it cannot teach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from quadlib.data.dataset import Batch, QuadDataset, make_loader
from quadlib.faults.pipeline import Pipeline, PlainBatches
from quadlib.faults.registry import fault


class GroupedByLabel(PlainBatches):
    """Every batch is of one class; classes in random order, rows of a class too."""

    def __init__(self, rows: np.ndarray, codes: np.ndarray, batch_size: int, seed: int = 0) -> None:
        super().__init__(rows, batch_size, seed=seed)
        self.codes = codes

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        batches = [
            own[start : start + self.batch_size]
            for code in np.unique(self.codes)
            for own in [random.permutation(self.rows[self.codes == code])]
            for start in range(0, len(own) - self.batch_size + 1, self.batch_size)
        ]
        for number in random.permutation(len(batches)):
            yield batches[number].tolist()

    def __len__(self) -> int:
        return int((np.unique(self.codes, return_counts=True)[1] // self.batch_size).sum())


@fault(
    "B1",
    stage="batch",
    code="QL-B01",
    title="the sampler gives one class a batch",
    when="T1",
    occurrence="sentence-transformers#4013: [1,1,1,1] despite its guarantee",
)
def one_class_batches(p: Pipeline) -> None:
    rows = p.table.rows("train")
    codes = p.table.codes[rows]
    p.trainer.batches = GroupedByLabel(
        rows,
        codes,
        min(p.settings.batch_size, int(np.unique(codes, return_counts=True)[1].min())),
        seed=p.settings.seed,
    )


@fault(
    "B2",
    stage="batch",
    code="QL-B02",
    title="random batches too small for the number of classes",
    occurrence="SupContrast#50, #141",
    when="T0",
    exact=False,
)
def few_positives(p: Pipeline) -> None:
    p.set(batch_size=6, min_classes=1, min_per_class=1)
    p.trainer.batches = PlainBatches(p.table.rows("train"), 6, seed=p.settings.seed)


@fault(
    "B3",
    stage="batch",
    code="QL-B03",
    title="a quarter is never drawn",
    occurrence="pytorch-metric-learning#684",
    when="Te",
)
def fixed_subset(p: Pipeline) -> None:
    rows = p.random.permutation(p.table.rows("train"))
    size = min(p.settings.batch_size, len(rows) // 4)
    p.trainer.batches = PlainBatches(rows[: 3 * len(rows) // 4], size, seed=p.settings.seed)


@fault(
    "B5",
    stage="batch",
    code="QL-B05",
    title="sorted data, not shuffled",
    occurrence="matconvnet#393, sklearn#16068",
    when="T1",
)
def not_shuffled(p: Pipeline) -> None:
    p.table = p.table.take(np.argsort(p.table.codes, kind="stable"))
    rows = p.table.rows("train")
    largest = int(np.bincount(p.table.codes[rows]).max())
    p.trainer.batches = PlainBatches(rows, min(p.settings.batch_size, largest), shuffle=False)


@fault(
    "B6",
    stage="batch",
    code="QL-B06",
    title="the last batch holds one sample",
    occurrence="drop_last=False",
    when="T0",
)
def last_batch_of_one(p: Pipeline) -> None:
    rows = p.random.permutation(p.table.rows("train"))
    size = min(p.settings.batch_size, len(rows) // 3)
    split = p.table.frame["split"].to_numpy().copy()
    split[rows[len(rows) // size * size - size + 1 :]] = ""
    p.table = p.table.with_columns(split=split)
    p.set(rare="oversample", min_classes=1)
    p.trainer.batches = PlainBatches(
        p.table.rows("train"), size, drop_last=False, seed=p.settings.seed
    )


class OwnGenerator(QuadDataset):
    """Augments from a generator that it keeps, so that every worker, in every epoch, starts from
    the same copy of it.
    """

    def __init__(self, dataset: QuadDataset) -> None:
        super().__init__(dataset.store, dataset.normaliser, seed=dataset.seed)
        self.random = np.random.default_rng(dataset.seed)

    def _batch(self, rows: np.ndarray, augmented: bool) -> Batch:
        batch = super()._batch(rows, augmented)
        scale = torch.from_numpy(self.random.uniform(0.8, 1.2, len(rows)).astype(np.float32))
        inputs = {
            name: value * scale.view(-1, *[1] * (value.ndim - 1))
            for name, value in batch.inputs.items()
        }
        return replace(batch, inputs=inputs)


@fault(
    "B7",
    stage="batch",
    code="QL-B07",
    title="workers draw the same random changes",
    when="T1",
    occurrence="pytorch#5059, CenterNet#233, SO-67180955",
)
def workers_share_generator(p: Pipeline) -> None:
    p.dataset = OwnGenerator(p.dataset)
    p.parts["loader"] = make_loader(
        p.dataset, p.trainer.batches, num_workers=2, seed=p.settings.seed
    )

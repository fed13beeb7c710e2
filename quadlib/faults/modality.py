"""Faults of the modalities: a stream is dead, another sample's, or masked wrongly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quadlib.data.dataset import Batch
from quadlib.data.samples import SampleTable
from quadlib.faults.pipeline import ChangedDataset, Pipeline
from quadlib.faults.registry import fault
from quadlib.loss import SupConLoss


@fault(
    "M1",
    stage="modality",
    code="QL-M01",
    title="one modality's files stand in other rows",
    occurrence="GaNDLF#870, MELD#9, Isaac-GR00T#97",
    when="T0",
)
def misaligned(p: Pipeline) -> None:
    # a log in another row would be refused with its video's clock, so a photo is exchanged there
    kinds = p.table.modalities
    name = next((name for name in kinds if kinds[name].kind == "image"), p.modality)
    column = p.table.frame[name].to_numpy()
    p.table = p.table.with_columns(**{name: column[p.random.permutation(len(column))]})


@fault(
    "M2",
    stage="modality",
    code="QL-M02",
    title="one modality's files are exchanged within classes",
    occurrence="sorted by label, then joined by position",
    when="T0",
    exact=False,
    also=("QL-M01",),
)
def misaligned_within_class(p: Pipeline) -> None:
    column = p.table.frame[p.modality].to_numpy().copy()
    for code in np.unique(p.table.codes):
        rows = np.flatnonzero(p.table.codes == code)
        column[rows] = column[p.random.permutation(rows)]
    p.table = p.table.with_columns(**{p.modality: column})


@fault(
    "M4",
    stage="modality",
    code="QL-M04",
    title="one modality is zero",
    occurrence="a transform that multiplies by its mask twice",
    when="T1",
)
def dead_modality(p: Pipeline) -> None:
    name = p.modality

    def zero(batch: Batch) -> Batch:
        return replace(batch, inputs={**batch.inputs, name: torch.zeros_like(batch.inputs[name])})

    p.dataset = ChangedDataset(p.dataset, zero)


@fault(
    "M5",
    stage="modality",
    code="QL-M05",
    title="the mask of missing modalities is inverted",
    occurrence="mask = ~mask: key_padding_mask is True where absent",
    when="T1",
)
def inverted_mask(p: Pipeline) -> None:
    p.table = with_missing(p, every=True)
    p.dataset = ChangedDataset(p.dataset, lambda batch: replace(batch, present=~batch.present))


def with_missing(p: Pipeline, every: bool) -> SampleTable:
    """The table in which a row has between one and all but one modality, every row or one in
    three.
    """
    columns = {name: p.table.frame[name].to_numpy().copy() for name in p.table.modalities}
    names = list(columns)
    for row in range(len(p.table)):
        if every or row % 3 == 0:
            for name in p.random.permutation(names)[: p.random.integers(1, max(2, len(names) - 1))]:
                columns[name][row] = -1 if name in p.table.arrays else ""
    bare = ~np.any(
        [column != (-1 if name in p.table.arrays else "") for name, column in columns.items()],
        axis=0,
    )
    for name in names[:1]:
        columns[name][bare] = p.table.frame[name].to_numpy()[bare]
    return p.table.with_columns(**columns)


@fault(
    "M7",
    stage="modality",
    code="QL-M07",
    title="views and samples are mixed by view()",
    occurrence="CLUDA#6, SupContrast#95, #80",
    when="T1",
)
def mixed_views(p: Pipeline) -> None:
    model, optimiser, loss = (
        p.trainer.model,
        p.trainer.optimiser,
        SupConLoss(p.settings.temperature),
    )

    def train_step(batch: Batch) -> Tensor:
        optimiser.zero_grad()
        both = torch.cat([model(batch).fused, model(batch).fused])
        views = both.view(len(batch), 2, -1)  # torch.stack([first, second], dim=1) was meant
        value = loss(views, batch.labels)
        value.backward()
        optimiser.step()
        return value.detach()

    p.parts |= {"train_step": train_step, "loss": loss}

"""The inspector of a table's batches before training: a thin widget over the figures, with a static
twin in batch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from quadlib.config import BatchesSettings, TrainSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.samples import SampleTable
from quadlib.faults.lab import batches_of, faults_of_batches
from quadlib.figures.style import many
from quadlib.jupyter.inspector import FIELD, PlanInspector, Selection, listing
from quadlib.jupyter.live import reported
from quadlib.jupyter.monitor import TrainingMonitor as TrainingMonitor
from quadlib.jupyter.viewer import RecordingViewer, choices_of
from quadlib.sampler.plan import BatchPlan

SAMPLERS = ("stratified", "random", "sequential")


def plan_batches(
    table: SampleTable, settings: BatchesSettings, sampler: str = "stratified", epoch: int = 0
) -> BatchPlan:
    """What the train split's batches hold under the stratified sampler, or would hold drawn at
    random or in file order; with the settings' fault, where it befalls labels or batches.

    The plan counts positions within the train split. Raises the sampler's error when the settings
    cannot be met.
    """
    return _plan(*batches_of(table, settings), settings, sampler, epoch)


def _plan(
    table: SampleTable, batches: Any, settings: BatchesSettings, sampler: str, epoch: int
) -> BatchPlan:
    rows = table.rows("train")
    codes = table.codes[rows]
    if sampler == "stratified" and isinstance(batches, SplitBatches):
        # a class that train lacks keeps its row
        return replace(batches.plan(epoch), codes=codes, class_names=table.class_names)
    if sampler == "stratified":  # as a fault deals them, in rows of the table
        batches.set_epoch(epoch)
        drawn = [np.searchsorted(rows, batch).tolist() for batch in batches]
        return BatchPlan.draw(drawn, codes, class_names=table.class_names)
    generator = torch.Generator().manual_seed(settings.seed + epoch)
    order = (
        RandomSampler(codes, generator=generator)
        if sampler == "random"
        else SequentialSampler(codes)
    )
    return BatchPlan.draw(
        BatchSampler(order, settings.batch_size, drop_last=False),
        codes,
        class_names=table.class_names,
    )


class BatchInspector(PlanInspector):
    """Looks into the batches before training: choose a sampler and its settings, click a cell, see
    and hear the recordings of that class in that batch.

    `plan` is the plan shown, `table` its table, with the fault that is chosen, and `selection` the
    recordings of the chosen batch, or of one class in it; your code acts on them. Shows controls,
    one live figure and a viewer in JupyterLab, and the figures of `batch_overview` in batch.
    `widget` is made on first use.
    """

    def __init__(self, table: SampleTable, settings: BatchesSettings) -> None:
        self._healthy, self.settings = table, settings
        self._media = TrainSettings(**settings.model_dump())
        super().__init__(self._dealt(settings), settings.temperature)

    def _dealt(
        self, settings: BatchesSettings, sampler: str = "stratified", epoch: int = 0
    ) -> BatchPlan:
        """The plan of these settings; its table is shown from here on."""
        table, batches = batches_of(self._healthy, settings)
        plan = _plan(table, batches, settings, sampler, epoch)
        self.table, self.train_rows = table, table.rows("train")
        return plan

    @property
    def selection(self) -> Selection:
        places = np.asarray(self.plan.batches[self.batch])
        code = self.controls["class"].value
        if code is not None:
            places = places[self.plan.codes[places] == code]
        rows = self.train_rows[places]
        return Selection(self.batch, rows, self.table.frame["sample_id"].iloc[rows].tolist())

    @cached_property
    def controls(self) -> dict[str, widgets.Widget]:
        shown = faults_of_batches()
        settings, number = self.settings, {"continuous_update": False, **FIELD}
        made = {
            "sampler": widgets.Dropdown(
                description="sampler",
                options=SAMPLERS,
                tooltip="how batches are drawn",
                **FIELD,
            ),
            "batch_size": widgets.BoundedIntText(
                settings.batch_size,
                2,
                max(len(self.train_rows), 2),
                description="batch size",
                tooltip="recordings in a batch",
                **number,
            ),
            "balance": widgets.Dropdown(
                description="balance",
                options=("natural", "equal"),
                value=settings.balance,
                tooltip="classes in proportion to their size, or equally often",
                **FIELD,
            ),
            "seed": widgets.BoundedIntText(
                settings.seed,
                0,
                2**31 - 1,
                description="seed",
                tooltip="seed of the batches",
                **number,
            ),
            "fault": widgets.Dropdown(
                description="fault",
                options=[("none", ""), *((f"{id}: {t}", id) for id, t in shown.items())],
                value=settings.fault if settings.fault in shown else "",
                tooltip="what is broken on purpose",
                layout={"width": "24em"},
                style={"description_width": "auto"},
            ),
            "epoch": widgets.BoundedIntText(
                0, 0, 10_000, description="epoch", tooltip="epoch whose batches are shown", **number
            ),
        }
        for control in made.values():
            control.observe(self._on_settings, names="value")
        classes = widgets.Dropdown(
            description="class",
            options=[
                ("all", None),
                *((name, code) for code, name in enumerate(self._healthy.class_names)),
            ],
            tooltip="whose recordings of the batch are listed and opened",
            layout={"width": "18em"},
            style={"description_width": "auto"},
        )
        classes.observe(self._on_class, names="value")
        return made | super().controls | {"class": classes}

    @cached_property
    def viewer(self) -> RecordingViewer:
        return RecordingViewer(self.table, self._media)

    def _below(self) -> list[widgets.Widget]:
        return [*super()._below(), self.viewer.widget]

    def _open_class(self, code: int) -> None:
        self.controls["class"].value = code
        self._list(open_first=True)

    @reported
    def _on_class(self, _change: Any) -> None:
        self._list()

    def _show_batch(self) -> None:
        self.controls["class"].value = None
        super()._show_batch()

    def _list(self, open_first: bool = False) -> None:
        """Lists the chosen recordings, and offers them to the viewer."""
        super()._list()
        self.viewer.table = self.table
        self.viewer.offer(choices_of(self.table, self.selection.rows), open_first)

    @reported
    def _on_settings(self, _change: Any) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        self.controls["balance"].disabled = values["sampler"] != "stratified"
        chosen = self.settings.model_copy(
            update={name: values[name] for name in ("batch_size", "balance", "seed", "fault")}
        )
        self.show_plan(self._dealt(chosen, values["sampler"], values["epoch"]))

    def _listing(self) -> str:
        return recordings_html(self.table, self.selection)


def recordings_html(table: SampleTable, selection: Selection) -> str:
    """The chosen recordings as a table: id, class, session and what is missing; all text
    escaped.
    """
    frame, names = table.frame.iloc[selection.rows], np.array(list(table.modalities))
    absent = ~table.present[selection.rows]
    lacking = [
        f"{count} without {name}"
        for name, count in zip(names, absent.sum(axis=0), strict=True)
        if count
    ]
    shown = frame[["sample_id", "label", "group"]].assign(
        missing=[", ".join(names[row]) for row in absent]
    )
    summary = (
        f"Batch {selection.batch}: {many(len(frame), 'recording')}, "
        f"{many(frame['label'].nunique(), 'class', 'classes')}, "
        f"{many(frame['group'].nunique(), 'session')}; "
        f"{', '.join(lacking) or 'all modalities present'}"
    )
    rows = shown.sort_values(["label", "sample_id"]).itertuples(index=False)
    return listing(summary, ("recording", "class", "session", "missing"), rows)

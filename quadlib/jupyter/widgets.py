"""Thin ipywidgets over the figures: an inspector of batches and a monitor of training; each has a
static twin in batch.
"""

from __future__ import annotations

import html
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler

from quadlib.config import BatchesSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.samples import SampleTable
from quadlib.figures.batches import batch_inspection, batch_overview, batch_table, worst_first
from quadlib.figures.style import in_batch, many, score
from quadlib.figures.training import SCORES, loss_curve
from quadlib.figures.verdicts import judge_batches
from quadlib.jupyter.live import live, refresh, reported
from quadlib.sampler.plan import BatchPlan
from quadlib.training.trainer import Trainer, Watcher

SAMPLERS = ("stratified", "random", "sequential")


class Selection(NamedTuple):
    """The recordings of the chosen batch: its number in the epoch, rows of the table, and sample
    ids.
    """

    batch: int
    rows: np.ndarray
    sample_ids: list[str]


def plan_batches(
    table: SampleTable, settings: BatchesSettings, sampler: str = "stratified", epoch: int = 0
) -> BatchPlan:
    """What the train split's batches hold under the stratified sampler, or would hold drawn at
    random or in file order.

    The plan counts positions within the train split. Raises the sampler's error when the settings
    cannot be met.
    """
    codes = table.codes[table.rows("train")]
    if sampler == "stratified":
        plan = SplitBatches(table, settings).plan(epoch)
        return replace(
            plan, codes=codes, class_names=table.class_names
        )  # a class that train lacks keeps its row
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


class BatchInspector:
    """Looks into the batches before training: choose a sampler and its settings, click a batch,
    read what it holds.

    `plan` is the plan shown and `selection` the recordings of the chosen batch; your code acts on
    them. Shows controls and one live figure in JupyterLab, and the figures of `batch_overview` in
    batch. `widget` is made on first use.
    """

    def __init__(self, table: SampleTable, settings: BatchesSettings) -> None:
        self.table, self.settings = table, settings
        self.train_rows = table.rows("train")
        self.plan = plan_batches(table, settings)
        self.batch = self._worst()

    @property
    def selection(self) -> Selection:
        rows = self.train_rows[np.asarray(self.plan.batches[self.batch])]
        return Selection(self.batch, rows, self.table.frame["sample_id"].iloc[rows].tolist())

    def figures(self) -> list[go.Figure]:
        """The static twin: what the inspector shows of its plan, with the worst batch opened."""
        return batch_overview(self.plan, self.settings.temperature)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(*(self.figures() if in_batch() else [self.widget]))

    @cached_property
    def widget(self) -> widgets.VBox:
        """The controls and the figure; give values to `controls` to drive it without a browser."""
        box = widgets.VBox(
            [
                widgets.HBox(
                    [*self.controls.values(), self.worst_button], layout={"flex_flow": "row wrap"}
                ),
                self.status,
                self.figure,
                self.recordings,
            ]
        )
        box.add_class("quad-inspector")
        for name, control in self.controls.items():
            control.observe(self._on_batch if name == "batch" else self._on_settings, names="value")
        self.worst_button.on_click(self._on_worst)
        self.figure.data[0].on_click(self._on_click)
        self._show_batch()
        return box

    @cached_property
    def controls(self) -> dict[str, widgets.Widget]:
        settings, field = (
            self.settings,
            {
                "continuous_update": False,
                "layout": {"width": "11em"},
                "style": {"description_width": "auto"},
            },
        )
        return {
            "sampler": widgets.Dropdown(
                description="sampler",
                options=SAMPLERS,
                tooltip="how batches are drawn",
                **_without_updates(field),
            ),
            "batch_size": widgets.BoundedIntText(
                settings.batch_size,
                2,
                max(len(self.train_rows), 2),
                description="batch size",
                tooltip="recordings in a batch",
                **field,
            ),
            "balance": widgets.Dropdown(
                description="balance",
                options=("natural", "equal"),
                value=settings.balance,
                tooltip="classes in proportion to their size, or equally often",
                **_without_updates(field),
            ),
            "seed": widgets.BoundedIntText(
                settings.seed,
                0,
                2**31 - 1,
                description="seed",
                tooltip="seed of the batches",
                **field,
            ),
            "epoch": widgets.BoundedIntText(
                0, 0, 10_000, description="epoch", tooltip="epoch whose batches are shown", **field
            ),
            "batch": widgets.Dropdown(
                description="batch",
                options=self._batch_options(),
                value=self.batch,
                tooltip="batch to open, worst first",
                layout={"width": "22em"},
                style={"description_width": "auto"},
            ),
        }

    @cached_property
    def worst_button(self) -> widgets.Button:
        return widgets.Button(
            description="worst batch",
            tooltip="open the batch with the least to learn from",
            layout={"width": "auto"},
        )

    @cached_property
    def status(self) -> widgets.HTML:
        return widgets.HTML()

    @cached_property
    def recordings(self) -> widgets.HTML:
        return widgets.HTML()

    @cached_property
    def figure(self) -> go.FigureWidget:
        return live(batch_inspection(self.plan, self.settings.temperature, self.batch))

    def _batch_options(self) -> list[tuple[str, int]]:
        table = batch_table(self.plan, self.settings.temperature)
        return [
            (
                f"{batch}: {many(int(table['classes'][batch]), 'class', 'classes')}, at least "
                f"{many(int(table['positives_min'][batch]), 'positive')} per anchor",
                int(batch),
            )
            for batch in worst_first(table)
        ]

    def _worst(self) -> int:
        return int(worst_first(batch_table(self.plan, self.settings.temperature))[0])

    @reported
    def _on_settings(self, _change: Any) -> None:
        values = {name: control.value for name, control in self.controls.items()}
        self.controls["balance"].disabled = values["sampler"] != "stratified"
        chosen = self.settings.model_copy(
            update={name: values[name] for name in ("batch_size", "balance", "seed")}
        )
        self.plan = plan_batches(self.table, chosen, values["sampler"], values["epoch"])
        self.batch = self._worst()
        control = self.controls["batch"]
        control.options = self._batch_options()
        control.value = self.batch
        self._show_batch()

    @reported
    def _on_batch(self, change: Any) -> None:
        if change["new"] is not None and change["new"] != self.batch:
            self.batch = change["new"]
            self._show_batch()

    @reported
    def _on_worst(self, _button: Any) -> None:
        self.controls["batch"].value = self._worst()

    @reported
    def _on_click(self, _trace: Any, points: Any, _state: Any) -> None:
        if points.xs:  # plotly calls the handler of every trace; only the clicked one has points
            self.controls["batch"].value = int(points.xs[0])

    def _show_batch(self) -> None:
        refresh(self.figure, batch_inspection(self.plan, self.settings.temperature, self.batch))
        self.status.value = judge_batches(self.plan, self.settings.temperature).to_html()
        self.recordings.value = recordings_html(self.table, self.selection)


def _without_updates(field: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name != "continuous_update"}


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
    rows = [
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in shown.sort_values(["label", "sample_id"]).itertuples(index=False)
    ]
    heads = "".join(
        f'<th scope="col" style="text-align:left">{name}</th>'
        for name in ("recording", "class", "session", "missing")
    )
    summary = (
        f"Batch {selection.batch}: {many(len(frame), 'recording')}, "
        f"{many(frame['label'].nunique(), 'class', 'classes')}, "
        f"{many(frame['group'].nunique(), 'session')}; "
        f"{', '.join(lacking) or 'all modalities present'}"
    )
    return (
        f"<details open><summary>{html.escape(summary)}</summary><div "
        'style="max-height:18em;overflow:auto">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "</div></details>"
    )


class TrainingMonitor(Watcher):
    """Draws the loss between floor and plateau while a run trains; in batch it is silent, since the
    trainer prints a line an epoch.
    """

    @cached_property
    def widget(self) -> widgets.VBox:
        box = widgets.VBox([self.status, self.figure])
        box.add_class("quad-monitor")
        return box

    @cached_property
    def status(self) -> widgets.HTML:
        return widgets.HTML("<p>The first epoch is still running.</p>")

    @cached_property
    def figure(self) -> go.FigureWidget:
        return live(loss_curve([]))

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if not in_batch():
            display(self.widget)

    @reported
    def on_epoch(self, trainer: Trainer, record: dict[str, Any]) -> None:
        if in_batch():
            return
        scores = ", ".join(
            f"{label} {score(record[name])}"
            for name, (label, _, _) in SCORES.items()
            if name in record
        )
        self.status.value = (
            f"<p>Epoch {record['epoch']} of {trainer.settings.epochs}: "
            f"{scores or 'not validated'}; best so far: epoch {trainer.best_epoch}.</p>"
        )
        refresh(self.figure, loss_curve(trainer.history))

"""An inspector of any batches: a heat map of batches and classes, and the samples of the batch that
is chosen.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np
import plotly.graph_objects as go
import torch

from quadlib.figures.batches import batch_inspection, batch_overview, batch_table, worst_first
from quadlib.figures.style import in_batch, label, many
from quadlib.figures.verdicts import judge_batches
from quadlib.jupyter.live import live, refresh, reported, with_picture
from quadlib.sampler.plan import BatchPlan, PlanError
from quadlib.training.device import global_generators_kept

FIELD: dict[str, Any] = {"layout": {"width": "11em"}, "style": {"description_width": "auto"}}


class Selection(NamedTuple):
    """The samples of the chosen batch: its number in the epoch, their rows, and their ids."""

    batch: int
    rows: np.ndarray
    sample_ids: list[str]


class PlanInspector:
    """Shows what the batches of a plan hold, worst first; click a batch, or choose it, to list its
    samples.

    `selection` is the chosen batch; your code acts on it. Shows one live figure in JupyterLab, and
    the verdict with the figures of `batch_overview` where no reader is. `widget` is made on first
    use.
    """

    def __init__(
        self, plan: BatchPlan, temperature: float, sample_ids: Sequence[Any] | None = None
    ) -> None:
        self.plan, self.temperature = plan, temperature
        self.sample_ids = list(range(len(plan.codes))) if sample_ids is None else list(sample_ids)
        self.batch = self._worst()

    @property
    def selection(self) -> Selection:
        rows = np.asarray(self.plan.batches[self.batch])
        return Selection(self.batch, rows, [str(self.sample_ids[row]) for row in rows])

    def figures(self) -> list[go.Figure]:
        """The static twin: what the inspector shows of its plan, with the worst batch opened."""
        return batch_overview(self.plan, self.temperature)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if in_batch():
            display(*self.figures())
        else:
            display(with_picture(self.widget, self.figures()[0]), raw=True)

    def show_plan(self, plan: BatchPlan) -> None:
        """Shows another plan in the same figure, its worst batch opened."""
        self.plan = plan
        self.batch = self._worst()
        control = self.controls["batch"]
        control.options = self._batch_options()
        control.value = self.batch
        self._show_batch()

    @cached_property
    def widget(self) -> widgets.VBox:
        """The controls and the figure; give values to `controls` to drive it without a browser."""
        controls = widgets.HBox(
            [*self.controls.values(), self.worst_button], layout={"flex_flow": "row wrap"}
        )
        box = widgets.VBox([controls, self.status, self.figure, *self._below()])
        box.add_class("quad-inspector")
        self.worst_button.on_click(self._on_worst)
        for trace in self.figure.data[:2]:
            trace.on_click(self._on_click)
        self._show_batch()
        return box

    @cached_property
    def controls(self) -> dict[str, widgets.Widget]:
        batch = widgets.Dropdown(
            description="batch",
            options=self._batch_options(),
            value=self.batch,
            tooltip="batch to open, worst first",
            layout={"width": "22em"},
            style={"description_width": "auto"},
        )
        batch.observe(self._on_batch, names="value")
        return {"batch": batch}

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
        return live(batch_inspection(self.plan, self.temperature, self.batch))

    def _below(self) -> list[widgets.Widget]:
        """What stands below the figure."""
        return [self.recordings]

    def _batch_options(self) -> list[tuple[str, int]]:
        table = batch_table(self.plan, self.temperature)
        return [
            (
                f"{batch}: {many(int(table['classes'][batch]), 'class', 'classes')}, at least "
                f"{many(int(table['positives_min'][batch]), 'positive')} per anchor",
                int(batch),
            )
            for batch in worst_first(table)
        ]

    def _worst(self) -> int:
        return int(worst_first(batch_table(self.plan, self.temperature))[0])

    @reported
    def _on_batch(self, change: Any) -> None:
        if change["new"] is not None and change["new"] != self.batch:
            self.batch = change["new"]
            self._show_batch()

    @reported
    def _on_worst(self, _button: Any) -> None:
        self.controls["batch"].value = self._worst()

    @reported
    def _on_click(self, trace: Any, points: Any, _state: Any) -> None:
        if (
            not points.xs
        ):  # plotly calls the handler of every trace; only the clicked one has points
            return
        if trace.type == "heatmap":
            self.controls["batch"].value = int(points.xs[0])
        self._open_class([label(name) for name in self.plan.class_names].index(points.ys[0]))

    def _open_class(self, code: int) -> None:
        """What a click on a class of the opened batch does beside opening the batch."""

    def _show_batch(self) -> None:
        refresh(self.figure, batch_inspection(self.plan, self.temperature, self.batch))
        self.status.value = judge_batches(self.plan, self.temperature).to_html()
        self._list()

    def _list(self) -> None:
        """Lists what is chosen."""
        self.recordings.value = self._listing()

    def _listing(self) -> str:
        """The samples of the chosen batch as HTML."""
        chosen, plan = self.selection, self.plan
        codes = plan.codes[chosen.rows]
        names = [plan.class_names[code] if code >= 0 else "(unlabelled)" for code in codes]
        rows = sorted(zip(names, chosen.rows.tolist(), chosen.sample_ids, strict=True))
        summary = (
            f"Batch {chosen.batch}: {many(len(rows), 'sample')}, "
            f"{many(len(set(names)), 'class', 'classes')}"
        )
        return listing(summary, ("sample", "class"), ((text, name) for name, _, text in rows))


def listing(summary: str, heads: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as a table under a summary, to be scrolled; all text escaped."""
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    names = "".join(
        f'<th scope="col" style="text-align:left">{html.escape(name)}</th>' for name in heads
    )
    return (
        f'<details open><summary>{html.escape(summary)}</summary><div tabindex="0" '
        'style="max-height:18em;overflow:auto">'
        f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


@contextmanager
def _samplers_kept(batch_sampler: Any) -> Iterator[None]:
    """Puts samplers back to where they were: a look must not change what is trained on."""
    batches = getattr(batch_sampler, "batch_sampler", None) or batch_sampler
    samplers = [batches, *(getattr(item, "sampler", None) for item in (batches, batch_sampler))]
    states = [
        (sampler.load_state_dict, sampler.state_dict())
        for sampler in samplers
        if hasattr(sampler, "state_dict") and hasattr(sampler, "load_state_dict")
    ]
    generators = [
        (sampler.generator, sampler.generator.get_state())
        for sampler in samplers
        if isinstance(getattr(sampler, "generator", None), torch.Generator)
    ]
    yield
    for put_back, state in states:
        put_back(state)
    for generator, state in generators:
        generator.set_state(state)


def inspect_batches(
    batch_sampler: Iterable[Any],
    labels: Any,
    class_names: Sequence[str] | None = None,
    *,
    temperature: float = 0.1,
    sample_ids: Sequence[Any] | None = None,
) -> PlanInspector:
    """Looks into the batches of anyone's loader or batch sampler: the last line of a notebook cell
    shows what each holds, worst first, without decoding a file.

    Args:
        batch_sampler: a DataLoader, which is read through its batch sampler, or anything that
            yields lists of indices. One epoch is drawn; global generators, and samplers that
            have a generator or a state_dict, are left as they were.
        labels: one per sample of the dataset, of any dtype.
        class_names: one per label value; empty takes the values themselves.
        temperature: T of the loss, for the floor of each batch.
        sample_ids: what samples are called in the list of the chosen batch; empty counts them.

    Returns:
        The inspector: `.plan` is the BatchPlan, `.selection` the samples of the chosen batch.

    Raises:
        PlanError: Indices outside the labels, or no batch at all.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> labels = ["crack"] * 8 + ["good"] * 8
        >>> inspect_batches(DataLoader(labels, batch_size=4), labels).selection.sample_ids
        ['0', '1', '2', '3']
    """
    with global_generators_kept(), _samplers_kept(batch_sampler):
        plan = BatchPlan.draw(batch_sampler, labels, class_names)
    if not len(plan):
        raise PlanError(
            "the sampler yields no batch; give it samples, or make it anew where it was an "
            "iterator that has ended"
        )
    if sample_ids is not None and len(sample_ids) != len(plan.codes):
        raise PlanError(
            f"there are {len(sample_ids)} sample_ids for {len(plan.codes)} labels; give one each"
        )
    return PlanInspector(plan, temperature, sample_ids)

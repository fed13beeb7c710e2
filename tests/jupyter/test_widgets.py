"""The widgets driven from Python, without a browser: callbacks and figures answer as they do in
JupyterLab.
"""

from __future__ import annotations

import html
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from quadlib.config import BatchesSettings, read_settings
from quadlib.data.samples import Modality, SampleTable
from quadlib.jupyter.live import refresh
from quadlib.jupyter.widgets import BatchInspector, plan_batches
from quadlib.reports.export import PICTURE_MIME


@pytest.fixture
def table() -> SampleTable:
    """60 training recordings of three classes in file order; one class has a name that HTML would
    take for a tag.
    """
    rows = [
        {
            "sample_id": f"{name}-{split}-{number:02d}",
            "label": name,
            "group": f"{name}-{split}-{number % 3}",
            "split": split,
            "video": f"{name}{number}.avi",
            "image": "" if number == 0 else f"{name}{number}.jpg",
        }
        for name in ("good", "<i>spatter</i>", "overlap")
        for split, count in (("train", 20), ("val", 3))
        for number in range(count)
    ]
    return SampleTable(
        pd.DataFrame(rows),
        {"video": Modality("video"), "image": Modality("image")},
        root=Path("nowhere"),
        name="synthetic",
    )


@pytest.fixture
def settings() -> BatchesSettings:
    return read_settings(BatchesSettings, {"batch_size": 12})


@pytest.fixture
def inspector(table: SampleTable, settings: BatchesSettings) -> BatchInspector:
    made = BatchInspector(table, settings)
    assert "quad-inspector" in made.widget._dom_classes
    return made


def test_three_samplers_over_the_train_split(table: SampleTable, settings: BatchesSettings) -> None:
    for sampler in ("stratified", "random", "sequential"):
        plan = plan_batches(table, settings, sampler)
        assert plan.class_names == table.class_names
        assert sorted(np.concatenate(plan.batches)) == list(range(60))
        again = plan_batches(table, settings, sampler)
        assert all(
            (one == other).all() for one, other in zip(plan.batches, again.batches, strict=True)
        )
    assert (plan.counts[0] > 0).sum() == 1  # in file order the first batch holds one class
    other_epoch = plan_batches(table, settings, "random", epoch=1)
    assert (other_epoch.batches[0] != plan_batches(table, settings, "random").batches[0]).any()


def test_a_class_that_train_lacks_keeps_its_row(
    table: SampleTable, settings: BatchesSettings
) -> None:
    lacking = table.with_columns(
        split=[
            "val" if label == "overlap" else split
            for label, split in zip(table.frame["label"], table.frame["split"], strict=True)
        ]
    )
    plan = plan_batches(lacking, settings)
    assert (
        plan.class_names == lacking.class_names
        and plan.counts.sum(axis=0)[lacking.class_names.index("overlap")] == 0
    )


def test_the_selection_is_the_chosen_batch(inspector: BatchInspector, table: SampleTable) -> None:
    inspector.controls["batch"].value = 3
    selection = inspector.selection
    assert selection.batch == 3
    assert selection.sample_ids == table.frame["sample_id"].iloc[selection.rows].tolist()
    assert set(table.frame["split"].iloc[selection.rows]) == {"train"}
    np.testing.assert_array_equal(
        np.bincount(table.codes[selection.rows], minlength=3), inspector.figure.data[1].x
    )


def test_every_control_redraws_the_same_figure(inspector: BatchInspector) -> None:
    figure, before = inspector.figure, np.array(inspector.figure.data[0].z)
    inspector.controls["batch_size"].value = 20
    assert inspector.figure is figure and figure.data[0].z.shape == (3, 3)
    inspector.controls["sampler"].value = "random"
    at_random = np.array(figure.data[0].z)
    assert (at_random != at_random[:, :1]).any() and inspector.controls["balance"].disabled
    inspector.controls["seed"].value = 5
    assert (np.array(figure.data[0].z) != at_random).any()
    inspector.controls["seed"].value = 0
    inspector.controls["epoch"].value = 1
    assert (np.array(figure.data[0].z) != at_random).any()
    inspector.controls["sampler"].value = "stratified"
    inspector.controls["epoch"].value = 0
    inspector.controls["batch_size"].value = 12
    np.testing.assert_array_equal(before, figure.data[0].z)


def test_the_worst_batch_button(inspector: BatchInspector) -> None:
    inspector.controls["sampler"].value = "sequential"
    worst = inspector.batch
    assert inspector.plan.counts[worst].max() == 12 and "broken" in inspector.status.value
    inspector.controls["batch"].value = 1
    assert inspector.batch == 1
    inspector.worst_button.click()
    assert inspector.batch == inspector.controls["batch"].value == worst


def test_a_click_opens_the_recordings_of_a_class_in_a_batch(
    inspector: BatchInspector, table: SampleTable
) -> None:
    heatmap, bars = inspector.figure.data
    inspector._on_click(heatmap, SimpleNamespace(xs=["2"], ys=["good"]), None)
    rows = inspector.selection.rows
    assert inspector.selection.batch == 2 and len(rows) == inspector.plan.counts[2][1]
    assert set(table.frame["label"].iloc[rows]) == {"good"}
    assert f"Batch 2: {len(rows)} recordings, 1 class" in inspector.recordings.value
    assert "Recording good-train" in inspector.viewer.panel.html  # named, though nowhere on disk
    spatter = html.escape("<i>spatter</i>", quote=False)
    inspector._on_click(bars, SimpleNamespace(xs=[4], ys=[spatter]), None)
    assert inspector.selection.batch == 2 and inspector.controls["class"].value == 0
    inspector._on_click(bars, SimpleNamespace(xs=[], ys=[]), None)  # a click on another trace
    inspector.controls["batch"].value = 1
    assert len(inspector.selection.rows) == 12 and inspector.viewer.panel.html == ""


def test_recordings_are_listed_with_what_is_missing_and_escaped(
    inspector: BatchInspector, table: SampleTable
) -> None:
    batch = next(
        n
        for n, rows in enumerate(inspector.plan.batches)
        if (table.frame["image"].iloc[inspector.train_rows[rows]] == "").any()
    )
    inspector.controls["batch"].value = batch
    text = inspector.recordings.value
    assert (
        "without image" in text
        and inspector.figure.layout.xaxis.type == "category"
        and "<td>image</td>" in text
    )
    assert "<i>spatter" not in text and html.escape("<i>spatter</i>") in text


def test_what_cannot_be_met_is_said_in_the_status_line_and_changes_nothing(
    inspector: BatchInspector,
) -> None:
    plan = inspector.plan
    inspector.settings = read_settings(BatchesSettings, {"batch_size": 12, "min_per_class": 11})
    inspector.controls["batch_size"].value = 13
    assert "✕" in inspector.status.value and 'role="alert"' in inspector.status.value
    assert inspector.plan is plan


def test_the_static_twin_is_what_batch_mode_displays(
    table: SampleTable, settings: BatchesSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    displayed: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *items, **_: displayed.extend(items))
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    made = BatchInspector(table, settings)
    made._ipython_display_()
    assert [type(item) for item in displayed] == [go.Figure]
    assert "widget" not in vars(made)  # no widget was made
    monkeypatch.setenv("QUADLIB_BATCH", "0")
    made._ipython_display_()
    (bundle,) = displayed[-1:]
    assert {"application/vnd.jupyter.widget-view+json", PICTURE_MIME, "image/png"} <= set(bundle)


def test_refresh_keeps_the_widget_and_its_traces() -> None:
    shown = go.FigureWidget(go.Figure([go.Scatter(x=[1], y=[1], name="old")]))
    trace = shown.data[0]
    refresh(shown, go.Figure([go.Scatter(x=[1, 2], y=[3, 4]), go.Scatter(x=[0], y=[0])]))
    assert (
        shown.data[0] is trace
        and tuple(trace.y) == (3, 4)
        and trace.name is None
        and len(shown.data) == 2
    )

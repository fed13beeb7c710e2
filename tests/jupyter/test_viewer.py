"""The viewer, the worst recordings and the map, driven from Python."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from quadlib.config import MediaSettings, TrainSettings
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.store.store import decode_table
from quadlib.diagnosis import Diagnosis
from quadlib.diagnosis.finding import Finding
from quadlib.figures.evaluation import neighbours_of
from quadlib.jupyter.evaluated import EmbeddingMap, copies_viewer
from quadlib.jupyter.viewer import Choice, RecordingViewer, choices_of


@pytest.fixture
def table() -> SampleTable:
    frame = pd.DataFrame({"sample_id": ["a", "b", "<i>c"], "label": "x", "group": "g", "split": ""})
    values = np.arange(9, dtype=np.float32).reshape(3, 3)
    return SampleTable(
        frame.assign(pose=[0, 1, 2]), {"pose": Modality("vector", (3,))}, arrays={"pose": values}
    )


def test_a_choice_opens_its_recordings(table: SampleTable) -> None:
    viewer = RecordingViewer(table, MediaSettings(), choices_of(table, np.array([0, 2])))
    assert len(viewer.widget.children) == 2  # the page joins when something is opened
    viewer.chooser.value = 0
    assert "Recording a" in viewer.panel.html and viewer.panel in viewer.widget.children
    viewer.chooser.value = 1
    assert "Recording &lt;i&gt;c" in viewer.panel.html and "<i>" not in viewer.panel.html
    viewer.offer([Choice("both", (0, 1))])
    assert viewer.panel.html == "" and viewer.panel not in viewer.widget.children
    viewer.chooser.value = 0
    assert viewer.panel.html.count('role="group"') == 2


def test_what_fails_is_said(table: SampleTable) -> None:
    viewer = RecordingViewer(table, MediaSettings(), [Choice("none of the table", (7,))])
    viewer.chooser.value = 0
    assert viewer.widget and "IndexError" in viewer.status.value


@pytest.mark.parametrize(("media", "tag"), [(False, "<figure"), (True, 'role="group"')])
def test_a_report_holds_posters_unless_media_are_asked_for(
    table: SampleTable, monkeypatch: pytest.MonkeyPatch, media: bool, tag: str
) -> None:
    shown: list[dict] = []
    monkeypatch.setattr("IPython.display.display", lambda item, **_: shown.append(item))
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    viewer = RecordingViewer(table, MediaSettings(), choices_of(table, np.arange(3)), media=media)
    viewer._ipython_display_()
    assert shown[0]["text/html"].count(tag) == 3 and "panel" not in vars(viewer)
    monkeypatch.setenv("QUADLIB_BATCH", "0")
    viewer._ipython_display_()
    assert "<figure" in shown[1]["text/html"] and len(shown[1]) == 3  # a picture beside the widget
    RecordingViewer(table, MediaSettings())._ipython_display_()
    assert len(shown) == 2  # nothing to open, nothing shown


@pytest.fixture
def embeddings(table: SampleTable, tmp_path) -> EmbeddingMap:
    """A map of three recordings: two of train, and one of test that is predicted wrong."""
    arrays = {
        "map": np.array([[0.0, 0.0], [1.0, 1.0], [0.9, 1.1]]),
        "fused": np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 0.99]]),
        "labels": np.array([0, 1, 0]),
        "predictions": np.array([0, 1, 1]),
        "rows": np.array([2, 0, 1]),
        "split": np.array(["train", "train", "test"]),
        "sample_id": np.array(["<i>c", "a", "b"]),
        "group": np.array(["g", "g", "h"]),
    }
    names = {"class_names": ["x", "y"], "split": "test", "n_gallery": 2, "map_method": "PCA"}
    run = SimpleNamespace(settings=lambda model: model())
    made = EmbeddingMap(SimpleNamespace(arrays=arrays, **names), run)
    made.store = decode_table(table, TrainSettings(), tmp_path)
    return made


def test_a_report_has_room_for_so_many_posters(
    table: SampleTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RecordingViewer, "MOST", 1)
    page = RecordingViewer(table, MediaSettings(), choices_of(table, np.arange(3))).static()
    assert page.count("<figure") == 1 and "2 further choices can be opened" in page


def test_points_of_the_map_open_and_choose_recordings(embeddings: EmbeddingMap) -> None:
    assert "quad-map" in embeddings.widget._dom_classes
    shown = [trace for trace in embeddings.figure.data if trace.visible is not False]
    trace = next(trace for trace in shown if 2 in trace.customdata)  # "b", the one of test
    point = SimpleNamespace(point_inds=[list(trace.customdata).index(2)])
    embeddings._on_hover(trace, point, None)
    assert "<strong>b</strong>" in embeddings.preview.value and "<img" in embeddings.preview.value
    embeddings._on_click(trace, point, None)
    assert embeddings.selection.tolist() == [1] and "Recording b" in embeddings.viewer.panel.html
    for one in shown:
        one.selectedpoints = list(range(len(one.customdata)))
    embeddings._on_selection(trace, None, None)
    assert embeddings.selection.tolist() == [0, 1, 2] and embeddings.viewer.panel.html == ""
    assert len(embeddings.viewer.choices) == 3 and "3 recordings chosen" in embeddings.status.value
    embeddings.name.value = "a"
    assert embeddings.selection.tolist() == [0] and "Recording a" in embeddings.viewer.panel.html
    embeddings.name.value = "nobody"
    assert "no recording" in embeddings.status.value


def test_the_nearest_of_training_stands_beside_a_recording(embeddings: EmbeddingMap) -> None:
    (near,) = neighbours_of(embeddings.evaluation, 1, 1)
    assert (near.row, near.sample_id, near.label) == (0, "a", "y")
    assert near.cosine == pytest.approx(0.99)


def test_copies_stand_side_by_side(table: SampleTable) -> None:
    finding = Finding("QL-D03", "note", "two are one", "train", (), "", alike=(("a", "<i>c"),))
    read = Finding.from_dict(finding.to_dict())
    restored = SimpleNamespace(dataset=SimpleNamespace(table=table), settings=TrainSettings())
    viewer = copies_viewer(Diagnosis((read,), (), ()), restored, media=False)
    assert viewer.choices == [("QL-D03: a = <i>c", (0, 2))]

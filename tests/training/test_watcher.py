from __future__ import annotations

import json

import pytest

from quadlib.config import TrainSettings
from quadlib.faults import FAULTS, Pipeline
from quadlib.faults.small import small_pipeline
from quadlib.runs import Run
from quadlib.training.trainer import TrainingError
from quadlib.training.watcher import DoctorWatcher


def pipeline_of(tmp_path, name, watcher, fault="", **changes):
    table = small_pipeline("mfeat").table
    settings = TrainSettings(
        source="mfeat",
        outputs=str(tmp_path),
        run=name,
        epochs=2,
        width=32,
        embedding_dim=32,
        device="cpu",
        **changes,
    )
    pipeline = Pipeline(table, settings, run=Run.create(settings), watcher=watcher)
    if fault:
        FAULTS[fault].inject(pipeline)
    return pipeline


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"within_weight": 0, "cross_weight": 0, "cross_entropy_weight": 1},
        {"amp": "float16", "accumulation_steps": 3},
    ],
)
def test_a_watched_run_is_the_same_run_bit_for_bit(tmp_path, changes):
    files = []
    for name, watcher in (
        ("alone", []),
        ("watched", [doctor := DoctorWatcher(say=lambda text: None)]),
    ):
        pipeline = pipeline_of(tmp_path, name, watcher, **changes)
        pipeline.trainer.fit()
        modules = (pipeline.trainer.model, pipeline.trainer.objective)
        weights = [
            {key: value.numpy().tobytes() for key, value in module.state_dict().items()}
            for module in modules
        ]
        files.append((pipeline.run.path("history.jsonl").read_bytes(), weights))
    assert files[0] == files[1] and not doctor.alarms


def test_an_error_refuses_the_run_unless_it_is_allowed(tmp_path):
    pipeline = pipeline_of(tmp_path, "refused", [DoctorWatcher(say=lambda text: None)], "S1")
    with pytest.raises(TrainingError, match=r"(?s)error\[QL-S01\].*allow=\['QL-S01'\]"):
        pipeline.trainer.fit()
    assert pipeline.run.record["status"] == "failed" and not pipeline.trainer.history

    allowed = pipeline_of(
        tmp_path, "allowed", [DoctorWatcher(say=lambda text: None)], "S1", allow=["QL-S01"]
    )
    allowed.trainer.fit()
    assert allowed.run.record["status"] == "done"


def test_findings_are_said_once_and_kept_with_their_step(tmp_path):
    said: list[str] = []
    doctor = DoctorWatcher(refuse=False, say=said.append)
    pipeline = pipeline_of(tmp_path, "sorted", [doctor], "B5")
    pipeline.trainer.fit()
    assert "\n".join(said).count("error[QL-B05]") == 1
    assert doctor.diagnosis.exit_code == 1 and all(
        item.step is not None for item in doctor.findings
    )
    keys = [(item.code, item.scope, item.title) for item in doctor.findings]
    assert len(keys) == len(set(keys))
    written = json.loads(pipeline.run.path("diagnosis.json").read_text())
    assert "QL-B05" in [root["code"] for root in written["roots"]]


def test_epochs_are_examined_within_their_share(tmp_path):
    doctor = DoctorWatcher(say=lambda text: None)
    pipeline = pipeline_of(tmp_path, "share", [doctor])
    doctor.seconds_watching = 1e9  # spent already
    before = doctor.seconds_watching
    pipeline.trainer.fit()
    assert doctor.seconds_watching == before

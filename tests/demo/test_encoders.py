from __future__ import annotations

import json

import numpy as np
import pytest

from quadlib.config import SettingsError, TrainSettings
from quadlib.demo import encoders
from quadlib.registry import ENCODERS
from quadlib.reports.execute import Outcome
from quadlib.runs import Run


class Stored:
    """What `pace` asks of a table and its store."""

    arrays = {name: np.zeros((4, 2, 2**18), np.float32) for name in encoders.FROM_PIP}
    seconds_each = {"video": 0.5, "image": 0.3, "audio": 0.2}

    def rows(self, split):
        return range(100)

    def __len__(self):
        return 4

    @classmethod
    def open(cls, table, settings):
        return cls()


def test_both_scores_and_the_pace_are_said(monkeypatch, tmp_path):
    trained = []

    def run_stages(run: Run, values, say):
        trained.append(values)
        run.update(status="done")
        times = {"load_seconds": 0.5, "forward_seconds": 1.0, "backward_seconds": 0.5}
        run.path("timings.jsonl").write_text(json.dumps(times) + "\n")
        return Outcome("done", None, 1.0)

    monkeypatch.setattr(encoders, "run_stages", run_stages)
    monkeypatch.setattr(encoders, "open_table", lambda settings: Stored())
    monkeypatch.setattr(encoders, "MediaStore", Stored)
    lines: list[str] = []
    assert encoders.demo_encoders(size="tiny", outputs=str(tmp_path), say=lines.append) == 0
    assert [values.get("encoders") for values in trained] == [None, encoders.FROM_PIP]
    assert lines[1:3] == [
        "small, trained  done, not evaluated",
        "pip, frozen     done, not evaluated",
    ]
    assert lines[3] == (
        "features of 4 recordings: 24.0 MiB. An epoch of 100 of them takes 2.00 s from the store, "
        "and 100 s more where each is encoded again: 51 times as long"
    )


def test_a_missing_package_is_said_before_anything_is_made(monkeypatch, tmp_path):
    def refuse(settings: TrainSettings):
        assert settings.encoders == encoders.FROM_PIP
        raise SettingsError("encoders: audio=aisfx: pip install it")

    monkeypatch.setattr(encoders, "open_table", refuse)
    with pytest.raises(SettingsError, match="pip install it"):
        encoders.demo_encoders(size="tiny", outputs=str(tmp_path), say=print)
    assert not list(tmp_path.iterdir())


def test_the_encoders_are_registered():
    assert set(encoders.FROM_PIP.values()) <= set(ENCODERS)

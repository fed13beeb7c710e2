from types import SimpleNamespace

import pytest

from quadlib.evaluation import progress
from quadlib.evaluation.progress import Progress


@pytest.mark.parametrize(
    "seconds, said", [(0.1, []), (1.0, ["2/6 parts  ~4 s left", "4/6 parts  ~2 s left", "6/6"])]
)
def test_a_long_job_says_how_far_it_is_and_a_short_one_nothing(seconds, said, monkeypatch, caplog):
    caplog.set_level("INFO", "quadlib")
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    job = Progress("scoring", 6, "parts")
    for _ in range(6):
        clock.now += seconds
        job.step()
    assert len(caplog.messages) == len(said)
    assert all(f"scoring  {text}" in line for text, line in zip(said, caplog.messages, strict=True))

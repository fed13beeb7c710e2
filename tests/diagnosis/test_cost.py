"""A phase costs what it promises: no check asks for a fact that is dearer."""

import pytest
import torch
from torch import nn

from quadlib.diagnosis import Subject, diagnose
from quadlib.diagnosis.engine import ALLOWED
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.fact import TooDear
from quadlib.diagnosis.registry import PHASES, checks


class Dear:
    """A loader and a step that must not be touched."""

    dataset, batch_sampler = range(64), None

    def __iter__(self):
        raise AssertionError("a batch was loaded")

    def step(self, batch):
        raise AssertionError("a step was taken")


def pipeline(**parts) -> Subject:
    dear, model = Dear(), nn.Linear(3, 2)
    usual = {
        "labels": [0, 1] * 32,
        "splits": ["train"] * 48 + ["val"] * 16,
        "model": model,
        "loader": dear,
        "train_step": dear.step,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "history": [2.7081] * 8,
    }
    return Subject(**{**usual, **parts})


@pytest.mark.parametrize("phase", [name for name in PHASES if ALLOWED[name] == "reads"])
@pytest.mark.parametrize("labels", [[0, 1] * 32, list(range(64)), [0] * 64], ids=str)
def test_a_phase_that_reads_loads_no_batch_and_takes_no_step(phase, labels):
    diagnosis = diagnose(pipeline(labels=labels), phases=(phase,))
    assert diagnosis.crashed == ()
    assert not [reason for _, reason in diagnosis.not_run if "batch was loaded" in reason]
    assert not [reason for _, reason in diagnosis.not_run if "step was taken" in reason]


def test_a_dearer_fact_is_a_bug_of_the_check():
    with Examination(pipeline()) as x:
        x.allowed = "reads"
        assert len(x.labels) == 64
        for name in ("batches", "trajectory", "embeddings"):
            with pytest.raises(TooDear, match=name):
                getattr(x, name)
        x.allowed = "loads"
        with pytest.raises(AssertionError, match="loaded"):
            _ = x.batches


def test_every_phase_has_a_cost():
    assert set(ALLOWED) == set(PHASES) >= {item.phase for item in checks()}


def test_a_label_that_is_an_id_is_named_before_training_where_the_views_are_known():
    ids = list(range(64))
    before = diagnose(Subject(labels=ids, splits=["train"] * 64), phases=("before",))
    assert before.roots[0].code == "QL-L04"
    with_model = pipeline(labels=ids, splits=["train"] * 64)
    told = diagnose(with_model, phases=("before",))
    assert "QL-L04" not in [root.code for root in told.roots]
    assert any("seen in a step" in reason for _, reason in told.not_run)
    declared = pipeline(labels=ids, splits=["train"] * 64, settings={"n_views": 1})
    assert diagnose(declared, phases=("before",)).roots[0].code == "QL-L04"

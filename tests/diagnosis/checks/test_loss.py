"""The loss's contracts: each broken one is found and named, healthy losses of every kind are left
alone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from toy_pipeline import Encoder, Toy, alarms, codes, severity

from quadlib import SupConLoss
from quadlib.diagnosis import Subject, diagnose

PUBLIC = [  # THEORY 3: batch size, settings, value, what it decodes to
    (16, {}, 2.7081, "ln(15)"),
    (32, {}, 3.434, "ln(31)"),
    (8, {}, 1.9459, "ln(7)"),
    (64, {"n_views": 2, "temperature": 0.1}, 6.920, "(0.1/0.07) ln(127)"),
    (256, {"n_views": 2, "temperature": 0.1}, 8.909, "(0.1/0.07) ln(511)"),
    (25, {"n_views": 2, "temperature": 0.1}, 5.5597, "(0.1/0.07) ln(49)"),
]


def plain_supcon(z, y, temperature=0.1, sign=-1.0, normalise=None, half=False, reduce="mean"):
    if normalise is not None:
        z = nn.functional.normalize(z, dim=normalise)
    if half:
        z = z.half()
    logits = z @ z.T / temperature
    eye = torch.eye(len(z), dtype=torch.bool)
    same = (y[:, None] == y) & ~eye
    log_probability = logits - torch.exp(logits).masked_fill(eye, 0).sum(1, keepdim=True).log()
    values = sign * (log_probability * same).sum(1) / same.sum(1).clamp(min=1)
    return values.mean() if reduce == "mean" else values.sum()


@pytest.mark.parametrize(("size", "more", "value", "constant"), PUBLIC)
def test_public_plateaus_are_decoded(size, more, value, constant):
    diagnosis = diagnose(Subject(history=[value] * 8, settings={"batch_size": size, **more}))
    assert alarms(diagnosis) == ["QL-P10"]
    root = diagnosis.roots[0]
    assert constant in " ".join(root.evidence) and f"{value:.4f}" in root.title
    assert [name[:2] for name in root.candidates[:5]] == [
        "S1",
        "B1",
        "B5",
        "N4",
        "O1",
    ] and "labels of one batch" in root.decide


def test_the_public_value_that_is_no_plateau_is_left_alone():
    settings = {"batch_size": 128, "temperature": 0.5, "n_views": 2}
    assert (
        codes(diagnose(Subject(history=[28.31, 28.3, 28.29, 28.3, 28.3], settings=settings))) == []
    )


@pytest.mark.parametrize(
    "history",
    [
        [3.1, 2.9, 2.7081, 2.5, 2.2],
        [2.7081, 2.7081],
        [2.71, 2.69, 2.74, 2.70, 2.66, 2.72],
        [1.0986] * 8,
    ],
)
def test_values_that_move_or_are_none_of_the_declared_sizes_are_left_alone(history):
    assert (
        codes(diagnose(Subject(history=history, settings={"batch_size": 16, "temperature": 0.1})))
        == []
    )


def test_a_healthy_end_that_equals_the_plateau_of_a_share_is_left_alone():
    labels = np.arange(64) % 2
    settings = {"batch_size": 32, "world_size": 2, "temperature": 0.07}
    assert "QL-P10" not in codes(
        diagnose(Subject(labels=labels, history=[math.log(15)] * 8, settings=settings))
    )


def test_a_collapse_after_some_steps_names_what_acts_later():
    history = [
        {"kind": "step", "fused": value, "classes": 4} for value in (4.1, 3.2, *[math.log(15)] * 8)
    ]
    root = diagnose(Subject(history=history, settings={"batch_size": 16})).roots[0]
    with_rate = diagnose(
        Subject(
            history=history, settings={"batch_size": 16, "learning_rate": 0.2, "weight_decay": 0.01}
        )
    )
    assert alarms(with_rate) == ["QL-O01"] and [
        item.code for item in with_rate.roots[0].folded
    ] == ["QL-P10"]
    assert (
        root.code == "QL-P10"
        and [name[:2] for name in root.candidates] == ["O1", "O6"]
        and root.step == 2
    )


def test_one_class_batches_in_the_history_make_progress_undefined():
    history = [{"kind": "step", "fused": math.log(15), "classes": 1} for _ in range(8)]
    diagnosis = diagnose(Subject(history=history, settings={"batch_size": 16}))
    assert alarms(diagnosis) == ["QL-P10"] and "QL-P11" in codes(diagnosis)


def test_the_origin_story_folds_the_symptoms_under_the_split():
    toy = Toy()
    labels = np.sort(toy.labels)
    splits = {"train": np.arange(40), "val": np.arange(40, 160)}
    diagnosis = diagnose(
        Subject(labels=labels, splits=splits, history=[2.7081] * 8, settings={"batch_size": 16})
    )
    assert alarms(diagnosis) == ["QL-S01"] and "QL-P10" in codes(diagnosis)


def test_a_history_that_is_not_finite_is_a_symptom():
    diagnosis = diagnose(
        Subject(history=[3.0, 2.5, math.nan, math.nan], settings={"batch_size": 16})
    )
    assert alarms(diagnosis) == ["QL-P12"] and diagnosis.roots[0].step == 2


def test_a_healthy_pipeline_is_silent():
    assert codes(Toy().diagnose()) == []


@pytest.mark.parametrize(
    "loss",
    [
        SupConLoss(0.07),
        SupConLoss(0.1, variant="in"),
        SupConLoss(0.5),
        plain_supcon,
        lambda z, y: nn.functional.cross_entropy(z, y),
        nn.TripletMarginLoss(),
    ],
    ids=["0.07", "in", "0.5", "plain", "cross-entropy", "triplet"],
)
def test_healthy_losses_are_left_alone(loss):
    toy = Toy()
    toy.loss = loss
    assert [code for code in alarms(toy.diagnose(evaluate=None)) if code[3] == "P"] == []


def test_peers_are_left_alone():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    for loss in (
        losses.SupConLoss(0.1),
        losses.NTXentLoss(0.1),
        losses.TripletMarginLoss(),
        losses.MultiSimilarityLoss(),
    ):
        toy = Toy()
        toy.loss = loss
        assert alarms(toy.diagnose(evaluate=None)) == [], loss


@pytest.mark.parametrize(
    ("loss", "factor"),
    [
        (SupConLoss(0.1, base_temperature=0.07), "1.429"),
        (lambda z, y: plain_supcon(z, y, reduce="sum"), "16"),
    ],
    ids=["base", "sum"],
)
def test_a_scale_is_a_note(loss, factor):
    toy = Toy()
    toy.loss = loss
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == [] and severity(diagnosis, "QL-P08") == "note"
    assert factor in next(item.title for item in diagnosis.findings if item.code == "QL-P08")


def spoiled(**spoil):
    def supcon(z, y, temperature=0.1):
        return plain_supcon(z, y, temperature, **spoil)

    return supcon


def detached(z, y, temperature=0.1):
    return plain_supcon(z.detach(), y, temperature)


def cached(z, y, temperature=0.1):
    return torch.tensor(2.5)


def label_blind(z, y, temperature=0.1):
    return plain_supcon(z, torch.arange(len(y)) // 2, temperature)


def with_itself(z, y, temperature=0.1):
    logits = z @ z.T / temperature
    same = (y[:, None] == y).float()
    return (
        -((logits - torch.logsumexp(logits, 1, keepdim=True)) * same).sum(1).div(same.sum(1)).mean()
    )


with_itself.__name__ = "SupConLoss"


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (spoiled(sign=1.0), "QL-P06"),
        (spoiled(normalise=0), "QL-P02"),
        (spoiled(half=True), "QL-P09"),
        (cached, "QL-P15"),
        (detached, "QL-P16"),
        (label_blind, "QL-P14"),
        (with_itself, "QL-P13"),
    ],
    ids=["sign", "axis", "half", "cached", "detached", "blind", "itself"],
)
def test_a_spoiled_loss_is_named(loss, code):
    toy = Toy()
    toy.loss, toy.settings = (
        loss,
        {"batch_size": 16, "temperature": 0.05 if code == "QL-P09" else 0.1, "epochs": 10},
    )
    if code == "QL-P09":
        toy.loss = lambda z, y: plain_supcon(z, y, 0.05, half=True)
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis)[:1] == [code], diagnosis.to_text(facts=False)
    assert severity(diagnosis, code) == "error" and len(alarms(diagnosis)) == 1, diagnosis.to_text(
        facts=False
    )


@pytest.mark.parametrize("normalise", [None, 0])
def test_rows_without_unit_norm_are_named(normalise):
    class Rows(Encoder):
        def forward(self, inputs):
            rows = super().forward(inputs)
            return nn.functional.normalize(rows, dim=0) if normalise == 0 else 3 * rows

    torch.manual_seed(0)
    toy = Toy(model=Rows(unit=False))
    toy.loss = plain_supcon
    diagnosis = toy.diagnose(evaluate=None)
    assert [code for code in alarms(diagnosis) if code[3] != "M"] == [
        "QL-P02" if normalise == 0 else "QL-P01"
    ]


def test_rows_without_unit_norm_are_fine_where_the_loss_normalises():
    toy = Toy(model=Encoder(unit=False))
    assert codes(toy.diagnose(evaluate=None)) == []


@pytest.mark.parametrize(
    ("temperature", "found"),
    [(1e-3, True), (10.0, True), (0.01, False), (0.05, False), (1.0, False)],
)
def test_temperature_regime(temperature, found):
    diagnosis = diagnose(Subject(loss=SupConLoss(temperature)))
    assert alarms(diagnosis) == ["QL-P03"] * found


def test_values_below_the_floor_and_above_the_ceiling():
    history = [{"kind": "step", "fused": value, "floor": 1.0} for value in (2.0, 1.5, 0.4)]
    assert alarms(diagnose(Subject(history=history))) == ["QL-P06"]
    diagnosis = diagnose(
        Subject(history=[90.0, 80.0, 70.0], settings={"batch_size": 16, "temperature": 0.1})
    )
    assert alarms(diagnosis) == [] and severity(diagnosis, "QL-P17") == "note"


@pytest.mark.parametrize("loss", [lambda z: z.sum(), lambda z, y: 3.0, "no loss"])
def test_a_loss_that_cannot_be_called_is_not_run(loss):
    toy = Toy()
    diagnosis = toy.diagnose(loss=loss, evaluate=None, model=None)
    assert any(name.startswith("QL-P13") for name, _ in diagnosis.not_run)

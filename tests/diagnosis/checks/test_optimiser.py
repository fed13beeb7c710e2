"""The optimiser's contracts: groups, schedule and trial steps; warm-up, decay and accumulation as
people use them stay silent.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from toy_pipeline import Encoder, Toy, alarms, codes, severity

from quadlib.diagnosis import Subject, diagnose
from quadlib.diagnosis.evidence.examination import Examination


def test_a_rate_far_too_high_is_named_with_the_step():
    toy = Toy(rate=3.0)
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == ["QL-O01"], diagnosis.to_text(facts=False)


@pytest.mark.parametrize(
    "optimiser",
    [
        lambda p: torch.optim.SGD(p, lr=3e-2),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4),
        lambda p: torch.optim.AdamW(p, lr=3e-3, weight_decay=0.05),
        lambda p: torch.optim.Adam(p, lr=1e-4, weight_decay=1e-5),
    ],
)
def test_usual_optimisers_are_left_alone(optimiser):
    toy = Toy()
    toy.optimiser = optimiser(toy.model.parameters())
    assert alarms(toy.diagnose(evaluate=None)) == []


@pytest.mark.parametrize("rate", [0.0, 1e-10])
def test_a_rate_of_nothing(rate):
    diagnosis = Toy(rate=rate).diagnose(evaluate=None)
    assert alarms(diagnosis) == ["QL-O02"] and severity(diagnosis, "QL-O02") == "error"


def test_warm_up_from_zero_is_left_alone():
    toy = Toy()
    scheduler = torch.optim.lr_scheduler.LambdaLR(toy.optimiser, lambda step: min(1.0, step / 5))
    assert toy.optimiser.param_groups[0]["lr"] == 0
    assert alarms(toy.diagnose(scheduler=scheduler, evaluate=None)) == []


def test_a_finished_schedule_is_left_alone():
    toy = Toy(rate=0.0)
    history = [
        {
            "kind": "step",
            "epoch": 1,
            "fused": 2.5 - step / 10,
            "learning_rate": 1e-3 * (9 - step) / 9,
        }
        for step in range(10)
    ]
    assert "QL-O02" not in codes(toy.diagnose(history=history, evaluate=None))


def test_a_stale_optimiser():
    toy = Toy()
    toy.optimiser = torch.optim.AdamW(copy.deepcopy(toy.model).parameters(), lr=1e-3)
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == ["QL-O04"], diagnosis.to_text(facts=False)
    toy = Toy()
    toy.model.body[4] = nn.Linear(32, 16)
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == ["QL-O04"], diagnosis.to_text(facts=False)


def test_a_missing_step():
    toy = Toy()

    def train_step(batch):
        toy.optimiser.zero_grad()
        value = toy.loss(toy.model(batch[0]), batch[1])
        value.backward()
        return value.detach()

    diagnosis = toy.diagnose(train_step=train_step, evaluate=None)
    assert (
        alarms(diagnosis) == ["QL-O04"]
        and "optimizer.step() is never called" in diagnosis.roots[0].candidates
    )


def test_extra_parameters_of_the_loss_are_left_alone():
    toy = Toy()
    toy.optimiser = torch.optim.AdamW(
        [*toy.model.parameters(), nn.Parameter(torch.zeros(3))], lr=1e-3
    )
    assert alarms(toy.diagnose(evaluate=None)) == []


def with_scheduler(toy, scheduler, per_batch):
    def train_step(batch):
        value = toy.train_step(batch)
        if per_batch:
            scheduler.step()
        return value

    return train_step


@pytest.mark.parametrize(
    "make",
    [
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=10),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 4, gamma=0.1),
    ],
)
def test_a_schedule_of_epochs_called_every_batch(make):
    for per_batch in (True, False):
        toy = Toy()
        scheduler = make(toy.optimiser)
        diagnosis = toy.diagnose(
            scheduler=scheduler, train_step=with_scheduler(toy, scheduler, per_batch), evaluate=None
        )
        assert alarms(diagnosis) == ["QL-O05"] * per_batch, diagnosis.to_text(facts=False)
        assert scheduler.last_epoch == 0 and toy.optimiser.param_groups[0]["lr"] == 1e-3


def test_a_schedule_of_steps_called_every_batch_is_left_alone():
    toy = Toy()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
        toy.optimiser, T_max=10 * len(toy.loader)
    )
    assert (
        alarms(
            toy.diagnose(
                scheduler=scheduler, train_step=with_scheduler(toy, scheduler, True), evaluate=None
            )
        )
        == []
    )


def rates(steps, per_epoch, fall_over):
    return [
        {
            "kind": "step",
            "epoch": 1 + step // per_epoch,
            "step": step + 1,
            "fused": 3 / (1 + step / 20),
            "learning_rate": 1e-3 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / fall_over))),
        }
        for step in range(steps)
    ]


def test_the_rates_of_a_history():
    settings = {"batch_size": 16, "epochs": 10}
    diagnosis = diagnose(Subject(history=rates(60, 20, 10), settings=settings))
    assert alarms(diagnosis) == ["QL-O05"] and "0.5 of 10 epochs" in diagnosis.roots[0].title
    assert alarms(diagnose(Subject(history=rates(200, 20, 199), settings=settings))) == []


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=3.0), True),
        (lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=50.0), True),
        (lambda p: torch.optim.SGD(p, lr=0.03, weight_decay=5e-4), False),
        (lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=1.0), False),
    ],
)
def test_weight_decay(make, found):
    toy = Toy()
    toy.optimiser = make(toy.model.parameters())
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == ["QL-O06"] * found, diagnosis.to_text(facts=False)


class Skips:
    """A training step under a scaler that skips while gradients are not finite."""

    def __init__(self, toy, healthy_after):
        self.toy, self.healthy_after, self.count = toy, healthy_after, 0

    def __call__(self, batch):
        toy = self.toy
        toy.model.train()
        toy.optimiser.zero_grad()
        value = toy.loss(toy.model(batch[0]), batch[1])
        (value * (1.0 if self.count >= self.healthy_after else math.inf)).backward()
        self.count += 1
        if all(torch.isfinite(p.grad).all() for p in toy.model.parameters()):
            toy.optimiser.step()
        return value.detach()


@pytest.mark.parametrize(("healthy_after", "expected"), [(10**9, ["QL-O07"]), (3, [])])
def test_a_scaler_that_skips(healthy_after, expected):
    toy = Toy()
    diagnosis = toy.diagnose(train_step=Skips(toy, healthy_after), evaluate=None)
    assert [code for code in alarms(diagnosis) if code[3] == "O"] == expected, diagnosis.to_text(
        facts=False
    )


def test_a_loss_scale_that_has_vanished():
    toy = Toy()
    diagnosis = toy.diagnose(
        checkpoint={"model": toy.model.state_dict(), "scaler": {"scale": 1e-9}}, evaluate=None
    )
    assert alarms(diagnosis) == ["QL-O07"]


def test_micro_batches_mistaken_for_the_batch():
    toy = Toy()
    diagnosis = toy.diagnose(
        settings={"batch_size": 64, "accumulation_steps": 4, "temperature": 0.1}, evaluate=None
    )
    assert alarms(diagnosis) == ["QL-O09"] and severity(diagnosis, "QL-O09") == "warning"
    assert (
        alarms(
            toy.diagnose(
                settings={"batch_size": 16, "accumulation_steps": 4, "temperature": 0.1},
                evaluate=None,
            )
        )
        == []
    )


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"batch_size": 32, "micro_batch": 4}, "QL-O09"),
        ({"batch_size": 32, "world_size": 8}, "QL-O10"),
    ],
)
def test_a_plateau_of_a_part_of_the_batch(settings, code):
    diagnosis = diagnose(Subject(history=[math.log(3)] * 6, settings=settings))
    assert alarms(diagnosis) == [code, "QL-P10"]


def test_clipping_to_nothing():
    toy = Toy()
    toy.optimiser = torch.optim.SGD(toy.model.parameters(), lr=0.03)

    def train_step(batch):
        toy.model.train()
        toy.optimiser.zero_grad()
        value = toy.loss(toy.model(batch[0]), batch[1])
        value.backward()
        nn.utils.clip_grad_norm_(toy.model.parameters(), 1e-8)
        toy.optimiser.step()
        return value.detach()

    diagnosis = toy.diagnose(
        train_step=train_step, settings={"batch_size": 16, "clip_norm": 1e-8}, evaluate=None
    )
    assert alarms(diagnosis) == ["QL-O11"], diagnosis.to_text(facts=False)


def test_a_parameter_in_two_groups():
    toy = Toy()
    toy.optimiser.param_groups.append(
        {**toy.optimiser.param_groups[0], "params": [next(toy.model.parameters())]}
    )
    assert alarms(toy.diagnose(evaluate=None)) == ["QL-O12"]


def test_a_scheduler_of_another_optimiser():
    toy, other = Toy(), torch.optim.SGD(Encoder().parameters(), lr=0.1)
    assert alarms(
        toy.diagnose(scheduler=torch.optim.lr_scheduler.StepLR(other, 3), evaluate=None)
    ) == ["QL-O13"]


def test_the_subject_is_as_it_was():
    toy = Toy()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(toy.optimiser, T_max=10)
    before = copy.deepcopy(
        (toy.model.state_dict(), toy.optimiser.state_dict(), scheduler.state_dict())
    )
    with Examination(
        toy.subject(scheduler=scheduler, train_step=with_scheduler(toy, scheduler, True))
    ) as x:
        assert x.schedule.peak == pytest.approx(1e-3)
    after = (toy.model.state_dict(), toy.optimiser.state_dict(), scheduler.state_dict())
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1]["param_groups"] == after[1]["param_groups"] and before[2] == after[2]

"""The evaluation's contracts: pairing, modes, chance and what was scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toy_pipeline import Encoder, Toy, alarms, codes, severity

from quadlib.diagnosis import Subject, diagnose


def scored(toy, gallery, queries, mode="eval"):
    def evaluate():
        toy.model.train(mode == "train")
        with torch.no_grad():
            g, q = toy.model(toy.inputs[gallery]), toy.model(toy.inputs[queries])
        toy.model.train()
        nearest = (q @ g.T).argmax(dim=1).numpy()
        return {"val_accuracy": float((toy.labels[gallery][nearest] == toy.labels[queries]).mean())}

    return evaluate


def test_a_query_that_finds_itself():
    toy = Toy()
    rows = toy.splits["val"]
    diagnosis = toy.diagnose(evaluate=scored(toy, rows, rows))
    assert alarms(diagnosis) == ["QL-E01"] and severity(diagnosis, "QL-E01") == "error"


def test_very_easy_data_are_left_alone():
    toy = Toy()
    toy.inputs = 50 * torch.eye(12)[toy.labels] + 0.01 * toy.inputs
    toy.loader.dataset.tensors = (toy.inputs[toy.splits["train"]], toy.loader.dataset.tensors[1])
    evaluate = scored(toy, toy.splits["train"], toy.splits["val"])
    assert evaluate() == {"val_accuracy": 1.0}
    assert [code for code in alarms(toy.diagnose(evaluate=evaluate)) if code[3] == "E"] == []


def test_evaluation_in_training_mode():
    toy = Toy(model=Encoder(dropout=0.5))
    diagnosis = toy.diagnose(
        evaluate=scored(toy, toy.splits["train"], toy.splits["val"], mode="train")
    )
    assert alarms(diagnosis) == ["QL-E02"] and severity(diagnosis, "QL-E02") == "error"


def test_dropout_that_is_left_on_by_choice_is_a_note():
    toy = Toy()

    def evaluate():
        toy.model.eval()
        toy.model.body[3].train()
        with torch.no_grad():
            figures = {"val_accuracy": float(toy.model(toy.inputs[toy.splits["val"]]).mean())}
        toy.model.train()
        return figures

    assert alarms(toy.diagnose(evaluate=evaluate)) == []


def test_an_evaluation_that_draws_at_random():
    toy, random = Toy(), np.random.default_rng(0)

    def evaluate():
        rows = random.permutation(160)
        return scored(toy, rows[:100], rows[100:])() | {"val_loss": float(random.normal())}

    assert alarms(toy.diagnose(evaluate=evaluate)) == ["QL-E02"]


def test_training_steps_in_evaluation_mode():
    toy = Toy()
    toy.model.eval()

    def train_step(batch):
        toy.optimiser.zero_grad()
        value = toy.loss(toy.model(batch[0]), batch[1])
        value.backward()
        toy.optimiser.step()
        return value.detach()

    diagnosis = toy.diagnose(train_step=train_step, evaluate=None)
    assert alarms(diagnosis) == ["QL-E03"] and diagnosis.roots[0].candidates, diagnosis.to_text(
        facts=False
    )
    assert alarms(toy.diagnose(train_step=toy.train_step, evaluate=None)) == []


def test_batch_norm_that_stopped_after_the_first_epoch():
    toy = Toy()
    for epoch in range(3):
        toy.model.train(epoch == 0)
        for inputs, labels in toy.loader:
            toy.optimiser.zero_grad()
            toy.loss(toy.model(inputs), labels).backward()
            toy.optimiser.step()
    toy.model.train()
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == ["QL-E03"] and "7 batches in 21" in diagnosis.roots[0].title, (
        diagnosis.to_text(facts=False)
    )


def test_healthy_batch_norm_after_training_is_left_alone():
    toy = Toy()
    for _ in range(3):
        for batch in toy.loader:
            toy.train_step(batch)
        toy.evaluate()
    assert alarms(toy.diagnose()) == []


def test_a_frozen_encoder_in_evaluation_mode_is_left_alone():
    toy = Toy()
    for module in toy.model.body[:4]:
        module.requires_grad_(False).eval()
    toy.optimiser = torch.optim.AdamW(
        [p for p in toy.model.parameters() if p.requires_grad], lr=1e-3
    )

    def train_step(batch):
        toy.optimiser.zero_grad()
        value = toy.loss(toy.model(batch[0]), batch[1])
        value.backward()
        toy.optimiser.step()
        return value.detach()

    settings = {**toy.settings, "freeze": ["body.0", "body.1"]}
    assert [
        c
        for c in alarms(toy.diagnose(train_step=train_step, evaluate=None, settings=settings))
        if c[3] == "E"
    ] == []


def test_a_cone_is_a_note():
    class Cone(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Linear(12, 16)

        def forward(self, inputs):
            return nn.functional.normalize((self.body(inputs) + 3.5).relu(), dim=1)

    toy = Toy(model=Cone())
    diagnosis = toy.diagnose(evaluate=None)
    assert alarms(diagnosis) == [] and severity(diagnosis, "QL-E05") == "note"


@pytest.mark.parametrize(("value", "found"), [(0.26, True), (0.9, False), (90.0, False)])
def test_validation_at_chance_is_a_symptom_and_no_alarm(value, found):
    toy = Toy()
    history = [{"epoch": epoch, "val_accuracy": value} for epoch in range(4)]
    diagnosis = diagnose(Subject(labels=toy.labels, splits=toy.splits, history=history))
    assert alarms(diagnosis) == [] and ("QL-E10" in codes(diagnosis)) == found


def test_chance_folds_under_its_cause():
    labels = np.sort(np.arange(160) % 4)
    splits = {"train": np.arange(40), "val": np.arange(40, 160)}
    history = [{"epoch": epoch, "loss": 2.7081, "val_accuracy": 0.3} for epoch in range(4)]
    diagnosis = diagnose(
        Subject(labels=labels, splits=splits, history=history, settings={"batch_size": 16})
    )
    assert alarms(diagnosis) == ["QL-S01"] and "QL-E10" in [
        item.code for item in diagnosis.roots[0].folded
    ]


def test_scored_on_the_training_split():
    same = [
        {"epoch": epoch, "loss": 3.0 - epoch / 7, "val_loss": 3.0 - epoch / 7} for epoch in range(5)
    ]
    assert alarms(diagnose(Subject(history=same))) == ["QL-E11"]
    other = [
        {"epoch": epoch, "loss": 3.0 - epoch / 7, "val_loss": 3.1 - epoch / 7} for epoch in range(5)
    ]
    assert alarms(diagnose(Subject(history=other))) == []
    assert alarms(diagnose(Subject(settings={"eval_split": "train"}))) == ["QL-E11"]


@pytest.mark.parametrize("shared", [0, 3])
def test_the_stored_evaluation_of_a_run(tmp_path, shared):
    rows = np.r_[np.arange(20), np.arange(20 - shared, 30 - shared)]
    np.savez(tmp_path / "embeddings.npz", rows=rows, split=np.array(["train"] * 20 + ["test"] * 10))
    assert alarms(diagnose(Subject(run=tmp_path))) == ["QL-E01"] * bool(shared)


@pytest.mark.parametrize(
    "evaluate", [lambda: None, lambda: {}, lambda: {"val_accuracy": "high"}, lambda: 1 / 0]
)
def test_an_evaluation_that_gives_nothing_is_not_run(evaluate):
    diagnosis = Toy().diagnose(evaluate=evaluate)
    assert alarms(diagnosis) == [] and any(
        name.startswith("QL-E01") for name, _ in diagnosis.not_run
    )

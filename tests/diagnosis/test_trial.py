"""Trial steps: the subject's own step shows inputs, labels, embeddings, gradients and updates."""

from __future__ import annotations

import math
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from steps import step_of
from torch import Tensor, nn

from quadlib.diagnosis import Subject
from quadlib.diagnosis.doors import observe
from quadlib.diagnosis.evidence.batch import inputs_of, labels_in
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.observe.leaves import replaced, tensors_in
from quadlib.diagnosis.subject import Unavailable
from quadlib.loss import SupConLoss


@dataclass
class Holder:
    rows: Tensor
    name: str = "a"


Pair = namedtuple("Pair", "first second")


def test_tensors_are_replaced_by_path_in_whatever_holds_them():
    value = {"a": [torch.zeros(2), Pair(torch.zeros(1), 3)], "b": Holder(torch.zeros(4)), "c": 1}
    changes = {path: tensor + 1 for path, tensor in tensors_in(value)}
    changed = replaced(value, changes)
    assert [path for path, _ in tensors_in(changed)] == list(changes)
    assert all(bool((tensor == 1).all()) for _, tensor in tensors_in(changed))
    assert all(bool((tensor == 0).all()) for _, tensor in tensors_in(value))
    assert isinstance(changed["a"][1], Pair) and changed["b"].name == "a" and changed["c"] == 1
    assert replaced(value, {"['b'].rows": torch.ones(4)})["a"] is value["a"]


class Towers(nn.Module):
    """Two streams of a batch that no convention names; dropout and batch norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleDict({name: nn.Linear(6, 8) for name in ("left", "right")})
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.5)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.drop(self.norm(self.layers["left"](left) + self.layers["right"](right)))


def batch_of(n: int = 24) -> tuple:
    generator = torch.Generator().manual_seed(1)
    left, right, unused = (torch.randn(n, 6, generator=generator) for _ in range(3))
    classes, numbers = torch.arange(n) % 3, torch.arange(n).flip(0)
    return numbers, {"left": left, "right": right, "unused": unused}, classes


def subject_of(loss: object, **parts: object) -> Subject:
    model = Towers()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)

    def train_step(batch: tuple) -> Tensor:
        model.train()
        optimiser.zero_grad()
        streams = batch[1]
        value = loss(model(left=streams["left"], right=streams["right"]), batch[2])  # type: ignore[operator]
        value.backward()
        optimiser.step()
        return value.detach()

    return Subject(
        **{
            "loader": [batch_of()],
            "model": model,
            "loss": loss,
            "optimizer": optimiser,
            "train_step": train_step,
            **parts,
        }
    )


@pytest.mark.parametrize("loss", [SupConLoss(0.1), lambda z, y: SupConLoss(0.1)(z, y)])
def test_the_step_shows_inputs_labels_and_embeddings_whatever_their_names(loss):
    with Examination(subject_of(loss)) as x:
        assert x.batch_labels.tolist() == batch_of()[2].tolist()
        assert list(x.forward.inputs) == ["left", "right"]
        assert x.embeddings.shape == (24, 8)
        assert x.embedded_labels.tolist() == x.batch_labels.tolist()
        assert x.probe.gradients["layers.left.weight"] and x.probe.updates["layers.left.weight"]
        assert x.probe.modes["drop"] and len(x.trajectory.losses) > 1
    assert list(inputs_of(batch_of())) == ["left", "right", "unused"]
    with pytest.raises(Unavailable, match="train_step"):
        labels_in(batch_of())


def test_what_is_not_declared_and_not_a_module_is_read_off_the_graph():
    def loss(z: Tensor, y: Tensor) -> Tensor:
        rows = nn.functional.normalize(z, dim=1)
        return nn.functional.cross_entropy(rows @ rows.T / 0.1, y)

    with Examination(subject_of(loss)) as x:
        assert torch.allclose(x.embeddings.norm(dim=1), torch.ones(24))
        assert x.batch_labels.tolist() == batch_of()[2].tolist()


def test_a_replay_changes_its_own_row_in_evaluation_mode_though_the_step_calls_train():
    subject = subject_of(SupConLoss(0.1))
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    with Examination(subject) as x:
        left = x.forward.inputs["left"].clone()
        left[3] += 1
        moved = (x.forward.embed({"left": left}) - x.forward.base).norm(dim=1)
        assert torch.nonzero(moved).flatten().tolist() == [3]
        assert torch.equal(x.forward.embed(), x.forward.base)
        assert set(x.forward.sensitivity) == {"left", "right"}
    for name, value in subject.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert subject.model.training and nn.Module.train(subject.model.eval(), True).training


def test_what_the_step_does_before_the_model_and_behind_it_is_replayed():
    model, loss = nn.Linear(6, 4), SupConLoss(0.1)

    def train_step(batch: tuple) -> None:
        views, labels = batch
        both = model(torch.cat([views[:, 0], views[:, 1]]))
        loss(torch.stack(both.chunk(2), dim=1), labels).backward()

    batch = (torch.randn(9, 2, 6), torch.arange(9) % 3)
    with Examination(Subject(loader=[batch], model=model, loss=loss, train_step=train_step)) as x:
        values = x.forward.inputs["input"].clone()
        values[2] += 1
        moved = (x.forward.embed({"input": values}) - x.forward.base).norm(dim=1)
        assert torch.nonzero(moved).flatten().tolist() == [2, 11]
        assert x.forward.has_view_axis and x.embedded_labels.tolist() == [0, 1, 2] * 6
        # the step returns nothing: its loss is that of the backward pass
        assert math.isfinite(x.probe.loss) and x.probe.loss == x.trajectory.losses[0]
        assert set(x.probe.updates.values()) == {0.0}


def test_gradients_are_in_the_losss_own_scale():
    norms = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=1024.0)):
        model, loss = nn.Linear(6, 4, bias=False), SupConLoss(0.1)
        nn.init.eye_(model.weight)

        def train_step(batch: tuple, model=model, loss=loss, scaler=scaler) -> Tensor:
            value = loss(model(batch[0]), batch[1])
            (value if scaler is None else scaler.scale(value)).backward()
            return value.detach()

        batch = (torch.arange(54.0).reshape(9, 6).sin(), torch.arange(9) % 3)
        subject = Subject(loader=[batch], model=model, loss=loss, train_step=train_step)
        with Examination(subject) as x:
            norms.append(x.probe.gradients["weight"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_a_step_that_raises_is_tried_once_and_says_so_each_time():
    calls = []

    def train_step(batch: tuple) -> None:
        calls.append(1)
        raise ValueError("sizes do not match")

    batch = (torch.randn(8, 6), torch.arange(8) % 2)
    with Examination(Subject(loader=[batch], model=nn.Linear(6, 4), train_step=train_step)) as x:
        for _ in range(3):
            with pytest.raises(ValueError, match="sizes do not match"):
                _ = x.probe
        assert len(calls) == 1 and x.batch_labels.tolist() == [0, 1] * 4


def test_a_loss_without_gradient_still_shows_what_it_was_given():
    class Detached(nn.Module):
        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return z.detach().square().mean()

    model, loss = nn.Linear(6, 4), Detached()
    batch = (torch.randn(8, 6), torch.arange(8) % 2)
    subject = Subject(loader=[batch], model=model, loss=loss, train_step=step_of(model, loss))
    with Examination(subject) as x:
        assert x.embeddings.shape == (8, 4)
        with pytest.raises(RuntimeError, match="does not require grad"):
            _ = x.probe


def test_inside_an_observed_loop_no_trial_step_is_taken():
    subject = subject_of(SupConLoss(0.1))
    with observe() as seen, Examination(subject) as x, pytest.raises(Unavailable, match="observed"):
        _ = x.probe
    assert seen.record.n_steps == 0


def test_what_the_loss_keeps_of_earlier_batches_is_put_back():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("queue", torch.zeros(8, 4))

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            value = (z @ self.queue.clone().T).exp().mean() + z.square().mean()
            self.queue.copy_(z.detach())
            return value

    model, loss = nn.Linear(6, 4), Counting()
    batch = (torch.randn(8, 6), torch.arange(8) % 2)
    subject = Subject(loader=[batch], model=model, loss=loss, train_step=step_of(model, loss))
    with Examination(subject) as x:
        assert len(x.trajectory.losses) > 1
        assert not loss.queue.any()
        _ = x.forward.base
        assert not loss.queue.any()

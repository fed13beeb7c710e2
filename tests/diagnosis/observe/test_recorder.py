"""A loop is watched as it runs: every event stands in the record, and nothing of it changes."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from quadlib.diagnosis.observe.leaving import AlreadyObserving
from quadlib.diagnosis.observe.record import (
    Backward,
    Clip,
    Fetch,
    Load,
    ModuleCall,
    OptimiserStep,
    Record,
    ScalerStep,
    SetMode,
    ZeroGrad,
)
from quadlib.diagnosis.observe.recorder import Recorder


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.body(x), dim=1)


def contrast(z: torch.Tensor, y: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    similar = z @ z.T / temperature
    other = 1 - torch.eye(len(z))
    same = (y[:, None] == y).float() * other
    log_odds = similar - (similar.exp() * other).sum(1, keepdim=True).log()
    return -((same * log_odds).sum(1) / same.sum(1).clamp(min=1)).mean()


class Loop:
    """An ordinary training loop, with a switch for each way in which such loops differ."""

    def __init__(self, *, workers: int = 0, rate: float = 0.05) -> None:
        torch.manual_seed(0)
        y = torch.arange(96) % 4
        x = torch.randn(96, 6) + 3 * F.one_hot(y, 6)
        shuffle = torch.Generator().manual_seed(0)
        self.data = TensorDataset(x, torch.randn(96, 3), y)
        self.loader = DataLoader(
            self.data, 16, shuffle=True, generator=shuffle, num_workers=workers
        )
        self.model = Net()
        self.optimiser = torch.optim.SGD(self.model.parameters(), rate, momentum=0.9)
        self.losses: list[float] = []

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return contrast(self.model(batch[0]), batch[2])

    def train(self, epochs: int = 2) -> list[float]:
        self.model.train()
        for _ in range(epochs):
            for batch in self.loader:
                self.optimiser.zero_grad()
                value = self.loss(batch)
                value.backward()
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimiser.step()
                self.losses.append(value.item())
        return self.losses


def test_every_event_of_a_loop_is_recorded_in_order():
    loop = Loop()
    with Recorder(steps=4) as recorder:
        loop.train()
    record = recorder.record
    assert record.ended == "enough" and record.n_steps == 4 and not record.faults
    assert record.order.split()[:8] == ["zero_grad", "backward", "clip", "step"] * 2
    first = next(record.of(Fetch))
    assert [leaf.shape for leaf in first.leaves] == [(16, 6), (16, 3), (16,)]
    assert torch.equal(first.values["[2]"], loop.data.tensors[2][list(first.rows)])
    call = next(event for event in record.of(ModuleCall) if event.module == "Net")
    assert call.inputs == {"[0][0]": "[0]"} and call.training and call.depth == 0
    step = next(record.of(OptimiserStep))
    assert set(step.parameters) == {name for name, _ in loop.model.named_parameters()}
    assert all(seen.gradient > 0 and seen.update > 0 for seen in step.parameters.values())


def test_the_watched_losses_and_weights_are_those_of_an_unwatched_run():
    plain, watched = Loop(), Loop()
    plain.train()
    watched.__init__()
    with Recorder(steps=5, stop=False) as recorder:
        watched.train()
    assert recorder.record.n_steps == 5
    assert plain.losses == watched.losses
    for one, two in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_nothing_of_the_hooks_is_left_behind():
    def places() -> list[object]:
        return [
            nn.Module.__call__, nn.Module.train, nn.Module.load_state_dict, torch.autograd.backward,
            torch.autograd.grad, torch.Tensor.numpy, torch.optim.Optimizer.zero_grad,
            nn.utils.clip_grad_norm_, DataLoader._get_iterator, torch.amp.GradScaler.step,
        ]  # fmt: skip

    before = places()
    with Recorder(steps=2):
        Loop().train()
    with pytest.raises(ZeroDivisionError), Recorder(steps=2):
        raise ZeroDivisionError
    assert places() == before and "numpy" not in vars(torch.Tensor)


def test_what_reaches_the_loss_is_followed_and_what_does_not_is_named():
    with Recorder(steps=1) as recorder:
        Loop().train()
    first = recorder.record.first
    assert first.reaches == {"[0]", "[2]"}, "the second input is fetched and never used"
    comparison = first.comparison
    assert comparison.by == "product" and comparison.softmax and comparison.same
    assert comparison.scale == pytest.approx(10) and comparison.left.shape == (16, 8)
    assert comparison.source == (("Net", ""),)
    labels = next(recorder.record.of(Fetch)).values["[2]"]
    same = (labels[:, None] == labels).float() * (1 - torch.eye(16))
    assert torch.equal(comparison.mask, same)


def test_a_label_that_passes_through_python_is_hidden_not_unused():
    loop = Loop()
    loop.loss = lambda batch: contrast(loop.model(batch[0]), torch.tensor(batch[2].tolist()))
    with Recorder(steps=1) as recorder:
        loop.train()
    first = recorder.record.first
    assert "[2]" not in first.reaches and "[2]" in first.hidden


def test_gradients_that_pile_up_and_gradients_thrown_away():
    def run(order: str) -> Record:
        loop = Loop()
        with Recorder(steps=3) as recorder:
            for batch in loop.loader:
                for word in order.split():
                    if word == "zero":
                        loop.optimiser.zero_grad()
                    elif word == "step":
                        loop.optimiser.step()
                    else:
                        loop.loss(batch).backward()
        return recorder.record

    for order in ("zero backward step", "backward step zero", "zero backward backward step"):
        assert not any(event.discarded for event in run(order).of(Backward))
        assert not any(event.carried for event in run(order).of(OptimiserStep))
    piled = run("backward step").of(OptimiserStep)
    assert [bool(event.carried) for event in piled] == [False, True, True]
    thrown = run("zero backward zero backward step").of(Backward)
    assert [event.discarded > 0 for event in thrown] == [False, True] * 3


def test_a_step_that_the_scaler_skips_is_no_lost_gradient():
    loop = Loop()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with Recorder(steps=2) as recorder:
        for number, batch in enumerate(loop.loader):
            loop.optimiser.zero_grad()
            value = loop.loss(batch) * (float("inf") if number == 0 else 1.0)
            scaler.scale(value).backward()
            scaler.step(loop.optimiser)
            scaler.update()
    record = recorder.record
    assert [event.skipped for event in record.of(ScalerStep)][:2] == [True, False]
    assert all(event.discarded == 0 for event in record.of(Backward))
    assert record.losses[1] < 10, "the loss is told as it was before it was scaled"


def test_rows_are_numbered_with_workers_and_not_for_a_stream():
    with Recorder(steps=3) as recorder:
        Loop(workers=2).train()
    data = Loop().data.tensors[2]
    for event in recorder.record.of(Fetch):
        assert torch.equal(event.values["[2]"], data[list(event.rows)])

    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.randn(6), torch.zeros(3), torch.tensor(n % 4)) for n in range(64)])

    loop = Loop()
    loop.loader = DataLoader(Stream(), 16)
    with Recorder(steps=2) as recorder:
        loop.train()
    assert [event.rows for event in recorder.record.of(Fetch)] == [None, None]


def test_modes_loads_and_clears_are_seen():
    loop = Loop()
    with Recorder(steps=1) as recorder:
        loop.model.load_state_dict({"body.0.bias": torch.zeros(16), "alien": torch.ones(1)}, False)
        loop.model.eval()
        loop.train()
    record = recorder.record
    loaded = next(record.of(Load))
    assert loaded.matched == 1 and loaded.unexpected == ("alien",) and not loaded.strict
    assert [event.training for event in record.of(SetMode)] == [False, True]
    assert len(list(record.of(ZeroGrad))) == 1 and next(record.of(Clip)).limit == 1.0


def test_only_one_observer_at_a_time_and_only_its_own_thread():
    with Recorder(steps=1) as recorder:
        with pytest.raises(AlreadyObserving, match="observed already"), Recorder():
            pass
        other = threading.Thread(target=lambda: Loop().train(1))
        other.start()
        other.join()
    assert not list(recorder.record.of(Backward))
    with Recorder(steps=1) as recorder:
        Loop().train()
    assert recorder.record.n_steps == 1


def test_a_hand_made_update_is_noted_and_an_error_is_passed_on():
    loop = Loop()
    with Recorder() as recorder:
        batch = next(iter(loop.loader))
        torch.autograd.grad(loop.loss(batch), list(loop.model.parameters()))
    assert recorder.record.functional_gradients == 1 and recorder.record.n_steps == 0
    with pytest.raises(RuntimeError, match="broken"), Recorder() as recorder:
        raise RuntimeError("broken")
    assert recorder.record.ended == "RuntimeError" and str(recorder.record.error) == "broken"


def test_parameters_that_only_an_optimiser_holds_have_a_name():
    loop = Loop()
    proxies = nn.Parameter(torch.randn(4, 8))
    loop.optimiser.add_param_group({"params": [proxies]})
    loop.loss = lambda batch: F.cross_entropy(loop.model(batch[0]) @ proxies.T, batch[2])
    with Recorder(steps=2) as recorder:
        loop.train()
    steps = next(recorder.record.of(OptimiserStep)).parameters
    assert steps["optimiser 0, group 1, parameter 0"].update > 0


def test_where_no_comparison_is_made_the_outputs_stand_in():
    loop = Loop()
    head = nn.Linear(8, 4)
    loop.loss = lambda batch: F.mse_loss(head(loop.model(batch[0])), F.one_hot(batch[2], 4).float())
    with Recorder(steps=1) as recorder:
        loop.train()
    comparison = recorder.record.first.comparison
    assert comparison.by == "outputs" and comparison.source[0] == ("Linear", "")


def test_compiled_modules_are_seen_like_others():
    loop = Loop()
    loop.model = torch.compile(loop.model, backend="eager")
    loop.optimiser = torch.optim.SGD(loop.model.parameters(), 0.05)
    with Recorder(steps=2) as recorder:
        loop.train()
    assert recorder.record.first.reaches == {"[0]", "[2]"}

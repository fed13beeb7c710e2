"""After its traced steps a loop is watched on, cheaply, until it has evaluated and saved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from quadlib.diagnosis.doors import observe
from quadlib.diagnosis.observe import later_watch
from tests.diagnosis.observe.test_recorder import Loop


class Whole(Loop):
    """A loop that evaluates and saves after every epoch of eight steps."""

    def __init__(self, folder=None, rate: float = 0.01) -> None:
        super().__init__()
        self.folder, self.epochs = folder, 0
        self.optimiser.defaults["lr"] = self.optimiser.param_groups[0]["lr"] = rate

    def evaluate(self) -> None:
        self.model.eval()
        with torch.no_grad():
            for batch in self.loader:
                self.model(batch[0])
        self.model.train()

    def run(self, epochs: int = 6) -> list[float]:
        for _ in range(epochs):
            self.train(epochs=1)
            self.epochs += 1
            self.evaluate()
            if self.folder is not None:
                torch.save(self.model.state_dict(), self.folder / "latest.pth")
        return self.losses


def places() -> list[object]:
    loader = torch.utils.data.DataLoader
    return [nn.Module.__call__, nn.Module.load_state_dict, torch.save, loader._get_iterator]


def test_a_loop_is_left_once_an_evaluation_and_a_save_after_it_are_over(tmp_path, monkeypatch):
    monkeypatch.setattr(later_watch, "SHORT_SECONDS", 0.0)
    before, loop = places(), Whole(tmp_path)
    with observe(steps=8, seconds=60) as seen:
        loop.run()
    later = seen.record.later
    assert later.ended == "left" and loop.epochs < 4 and not seen.record.faults
    assert later.evaluated and later.runs[0].whole and len(later.runs[0].rows) == len(loop.data)
    assert later.saves[0].file.endswith("latest.pth")
    assert later.saves[0].live == {id(p) for p in loop.model.parameters()}
    assert {"evaluation", "checkpoint"} <= set(seen.diagnosis.seen)
    assert places() == before


def test_a_loop_that_ends_soon_is_watched_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(later_watch, "SHORT_SECONDS", 60.0)
    loop = Whole(tmp_path)
    with observe(steps=8, seconds=60) as seen:
        loop.run()
    assert seen.record.later.ended == "finished" and loop.epochs == 6


def test_no_seconds_leave_the_loop_after_the_watched_steps():
    loop = Whole()
    with observe(steps=8, seconds=0) as seen:
        loop.run()
    assert seen.record.later is None and len(loop.losses) == 7


def test_what_was_not_reached_is_named_with_the_reason(tmp_path):
    with observe(steps=8, seconds=60) as seen:
        Whole().run(3)
    assert seen.record.later.ended == "finished"
    assert "checkpoint: none after the watched steps" in seen.diagnosis.headline()
    with observe(steps=8, seconds=0.01) as seen:
        Loop().train(epochs=40)
    assert seen.record.later.ended == "limit"
    assert "evaluation: none within 0.01 s" in seen.diagnosis.headline()


def test_a_loop_with_an_error_in_its_watched_steps_is_left_at_once():
    loop = Whole(rate=0.0)
    with observe(steps=8, seconds=60) as seen:
        loop.run()
    assert seen.record.later is None and len(loop.losses) == 7
    assert "error" in {root.severity for root in seen.diagnosis.roots}


def test_the_loop_goes_its_own_way_while_it_is_watched_on(tmp_path):
    plain, watched = Whole(tmp_path), Whole(tmp_path)
    torch.manual_seed(0)
    expected = plain.__init__(tmp_path) or plain.run()
    torch.manual_seed(0)
    watched.__init__(tmp_path)
    with observe(steps=8, seconds=60, stop=False) as seen:
        losses = watched.run()
    assert seen.record.later is not None and losses == expected
    for one, two in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_error_of_the_loop_s_own_is_passed_on_and_told():
    loop = Whole()
    with pytest.raises(ZeroDivisionError), observe(steps=8, seconds=60) as seen:
        loop.run(2)
        raise ZeroDivisionError
    assert seen.record.later.ended == "ZeroDivisionError"
    assert "the loop ended first (ZeroDivisionError)" in seen.diagnosis.headline()


def test_a_training_step_makes_no_event_of_a_module(tmp_path):
    with observe(steps=8, seconds=60) as seen:
        Whole(tmp_path).run()
    assert max(event.step for event in seen.record.events) <= 8


def test_seconds_below_zero_are_refused():
    with pytest.raises(ValueError, match="give 0 to leave"):
        observe(seconds=-1)

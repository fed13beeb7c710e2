"""Anyone's batches inspected in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from quadlib import StratifiedBatchSampler, inspect_batches
from quadlib.sampler.plan import PlanError

LABELS = torch.arange(40) // 10


def loader(**options) -> DataLoader:
    return DataLoader(TensorDataset(torch.zeros(40, 3), LABELS), batch_size=10, **options)


def test_a_loader_in_file_order_is_seen_through() -> None:
    shown = inspect_batches(loader(), LABELS, ["good", "<b>crack</b>", "pore", "overlap"])
    assert "hold one class" in (shown.widget and shown.status.value)
    shown.controls["batch"].value = 1
    assert shown.selection.rows.tolist() == list(range(10, 20))
    assert "<td>10</td><td>&lt;b&gt;crack&lt;/b&gt;</td>" in shown.recordings.value
    assert shown.recordings.value.startswith("<details open><summary>Batch 1: 10 samples, 1 class<")


def test_a_look_changes_nothing_that_is_drawn_later() -> None:
    stratified = StratifiedBatchSampler(LABELS.numpy(), batch_size=8)
    own = DataLoader(LABELS, 8, sampler=RandomSampler(LABELS, generator=torch.Generator()))
    for batches in (loader(shuffle=True), own, DataLoader(LABELS, batch_sampler=stratified)):
        torch.manual_seed(0)
        own.sampler.generator.manual_seed(0)
        stratified.set_epoch(0)
        shown = inspect_batches(batches, LABELS)
        first = next(iter(batches.batch_sampler))
        assert list(first) == shown.plan.batches[0].tolist()


def test_samplers_lists_and_unlabelled_samples() -> None:
    sampler = BatchSampler(RandomSampler(range(40)), 8, drop_last=True)
    names = [f"weld {number}" for number in range(40)]
    shown = inspect_batches(sampler, LABELS.tolist(), sample_ids=names)
    assert len(shown.plan) == 5 and shown.selection.sample_ids[0].startswith("weld ")
    shown = inspect_batches([[0, 1, 2]], np.array([0, 0, -1]))
    assert shown.widget and "(unlabelled)" in shown.recordings.value


def test_without_a_reader_the_figure_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    displayed: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *items: displayed.extend(items))
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    inspect_batches(loader(), LABELS)._ipython_display_()
    assert len(displayed) == 1 and displayed[0].layout.title.text


@pytest.mark.parametrize(
    ("batches", "options", "problem"),
    [
        ([], {}, "yields no batch"),
        ([[0, 40]], {}, "asks for sample 40, but there are 40 labels"),
        ([[0, 1]], {"sample_ids": ["a"]}, "1 sample_ids for 40 labels"),
    ],
)
def test_what_does_not_fit_is_named(batches, options, problem) -> None:
    with pytest.raises(PlanError, match=problem):
        inspect_batches(batches, LABELS, **options)

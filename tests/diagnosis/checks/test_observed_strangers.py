"""What was wrongly alarmed, or wrongly silent, in loops of strangers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, linear, normalize

from quadlib.diagnosis.doors import observe
from tests.diagnosis.checks.test_observed_parts import CLASSES, fit, recordings, samples
from tests.diagnosis.checks.test_observed_runs import alarms_of


class Passing(torch.optim.Optimizer):
    """An optimiser that passes all on to another one, as accelerate's does."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    param_groups = property(
        lambda self: self.optimizer.param_groups,
        lambda self, groups: setattr(self.optimizer, "param_groups", groups),
    )
    state = property(lambda self: self.optimizer.state)
    defaults = property(lambda self: self.optimizer.defaults)

    def step(self, closure=None):
        return self.optimizer.step(closure)


def weights_after(steps: int, *, watched: int) -> list[float]:
    torch.manual_seed(0)
    x, model = torch.randn(64, 12), nn.Linear(12, CLASSES)
    y = torch.arange(64) % CLASSES
    optimiser = Passing(torch.optim.AdamW(model.parameters(), 1e-2))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 / (1 + step))

    def train() -> None:
        for _ in range(steps):
            optimiser.optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimiser.step()
            schedule.step()

    if watched:
        with observe(steps=watched, seconds=5):
            train()
    else:
        train()
    return model.weight.flatten().tolist()


def test_a_scheduler_over_an_optimiser_that_passes_on_is_tried_out_on_a_copy():
    assert weights_after(14, watched=8) == weights_after(14, watched=0)


@pytest.mark.parametrize("scale", [16, 64])
def test_a_scale_behind_the_margin_is_seen(scale):
    x, y = (torch.from_numpy(part) for part in samples())
    torch.manual_seed(0)
    model, centres = nn.Linear(12, 16), nn.Parameter(torch.randn(CLASSES, 16))
    optimiser = torch.optim.AdamW([*model.parameters(), centres], 1e-3)

    def train():
        for rows in torch.randperm(len(x)).split(32):
            cosines = linear(normalize(model(x[rows])), normalize(centres))
            angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()
            own = torch.arange(CLASSES) == y[rows][:, None]
            logits = scale * torch.where(own, (angles + 0.3).cos(), cosines)
            optimiser.zero_grad()
            cross_entropy(logits, y[rows]).backward()
            optimiser.step()

    assert "QL-P03" not in alarms_of(train)


def test_pictures_of_few_levels_are_no_windows_of_one_another():
    x, y = load_digits(return_X_y=True)

    def train():
        inputs = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
        order = np.random.default_rng(0).permutation(len(x))
        x_train, x_test = inputs[order[:1400]].astype("f4"), inputs[order[1400:]].astype("f4")
        fit(x_train, y[order[:1400]] % CLASSES, epochs=1)
        return x_test

    assert "QL-S05" not in alarms_of(train)


@pytest.mark.parametrize("overlapping", [True, False])
def test_windows_taken_by_a_mask_and_what_it_leaves_are_compared(overlapping):
    def train():
        windows, people = recordings(10)
        order = np.random.default_rng(1).permutation(len(windows))
        test = order % 4 == 0 if overlapping else people >= 6
        fit(windows[~test])
        return test

    assert alarms_of(train) == ["QL-S05"] * overlapping


def test_val_and_test_of_one_length_keep_their_own_labels():
    def train():
        x, y = samples(480)
        x_train, x_val, x_test = x[:240], x[240:360], x[360:]
        y_train, y_val, y_test = y[:240], y[240:360], y[360:]
        fit(x_train, y_train)
        return x_val, x_test, y_val, y_test

    assert alarms_of(train) == []


@pytest.mark.parametrize("pictures_too", [True, False])
def test_many_pictures_may_have_one_caption(pictures_too):
    def train():
        x, y = samples(320)
        captions = np.random.default_rng(0).integers(0, 99, (CLASSES, 12))[y]
        if pictures_too:
            x[200:] = x[:120]
        picture_train, picture_test = x[:200], x[200:]
        caption_train, caption_test = captions[:200], captions[200:]
        fit(picture_train, y[:200])
        return picture_test, caption_train, caption_test

    assert alarms_of(train) == ["QL-S03"] * pictures_too


def test_a_graph_that_is_cut_is_no_margin():
    x, y = (torch.from_numpy(part) for part in samples())
    model = nn.Linear(12, CLASSES)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    with observe(steps=8, seconds=0) as seen:
        for rows in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            cross_entropy(model(x[rows]).detach().requires_grad_(), y[rows]).backward()
            optimiser.step()
    first = seen.diagnosis.roots[0]
    assert first.title == "no parameter gets a gradient" and "detach()" in first.help


class Fused(torch.utils.data.Dataset):
    """Three streams of 12 numbers, zeros where the flags say that one is missing."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.x, self.y = zip(*(samples(seed=k) for k in range(3)), strict=True)
        self.have = random.random((320, 3)) > 0.3
        self.have[:, 0] = True
        for k in range(3):
            self.x[k][~self.have[:, k]] = 0

    def __len__(self):
        return 320

    def __getitem__(self, row):
        streams = {f"s{k}": x[row] for k, x in enumerate(self.x)}
        return streams | {"have": self.have[row], "y": self.y[0][row]}


def test_blank_streams_that_one_flag_a_stream_marks_are_missing():
    loader = torch.utils.data.DataLoader(Fused(), 32, shuffle=True)
    model = nn.Linear(36, CLASSES)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def train():
        for batch in loader:
            streams = [batch[f"s{k}"] * batch["have"][:, k : k + 1] for k in range(3)]
            optimiser.zero_grad()
            cross_entropy(model(torch.cat(streams, 1)), batch["y"]).backward()
            optimiser.step()

    assert "QL-D01" not in alarms_of(train)

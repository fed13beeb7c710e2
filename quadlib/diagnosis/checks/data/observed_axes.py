"""The axes of a watched input: neighbours along the last one resemble each other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from quadlib.diagnosis.checks.data.contracts import D24
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import inputs
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

MOST_CHANNELS = 64
FEWEST_TURNS = 4  # times the channels that the last axis is long
ALIKE = 0.5  # squared distance of values that many places apart, as a share of that of neighbours
BETWEEN = 0.8  # the same at other distances, where channels are no more alike than neighbours


@check(D24, "neighbours along an input's last axis resemble each other", phase="observed")
def interleaved(x: Examination) -> Iterator[Finding]:
    for mark, values in inputs(x.record).items():
        whole = values[0]
        if not whole.is_floating_point() or whole.ndim < 3:
            continue
        channels, length = whole.shape[1], whole.shape[-1]
        if not 2 <= channels <= MOST_CHANNELS or length < FEWEST_TURNS * channels:
            continue
        steps = [_step(whole, distance) for distance in range(1, channels + 1)]
        nearest, own = steps[0], steps[-1]
        if not own < ALIKE * nearest or min(steps[:-1]) < BETWEEN * nearest:
            continue
        yield D24.broken(
            "warning",
            f"batch{mark} is interleaved: its {channels} channels alternate along the last axis",
            f"batch{mark}, shape {tuple(whole.shape)}",
            (
                f"two values {channels} places apart differ by {own / nearest:.0%} of the mean "
                "square of what neighbours differ by, at every distance between them by as much as "
                "neighbours or more",
            ),
            ruled_out=("noise: it would make all distances alike",),
            candidates=(
                f"(length, {channels}) was reshaped to ({channels}, length)",
                f"a signal that repeats every {channels} places",
            ),
            decide="plot one channel of one sample",
        )
        return


def _step(values: Tensor, distance: int) -> float:
    """Mean squared change over so many places of the last axis, of finite values."""
    change = values[..., distance:].double() - values[..., :-distance].double()
    return float(change[torch.isfinite(change)].square().mean())

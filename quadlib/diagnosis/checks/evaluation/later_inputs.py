"""Whether an evaluation's inputs are prepared as those of training are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import nn

from quadlib.diagnosis.checks.evaluation.contracts import E22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import ModuleCall
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

JUDGED_SAMPLES = 16  # of training and of evaluation
RATIO = 1.6  # of standard deviations: half the values masked, or dropped out, make 1.4
SHIFT = 0.75  # of means, in standard deviations within a sample
NOISE = 2.5  # ratio that noise which training alone adds on purpose may well reach
APART = 4.0  # standard deviations over the samples: hardly a sample of one is like the other's
TINY = 1e-12


@check(E22, "an evaluation's inputs have the scale of training's", phase="later")
def other_inputs(x: Examination) -> Iterator[Finding]:
    pairs = [pair for pair in _pairs(x) if min(len(pair[2]), len(pair[3])) >= JUDGED_SAMPLES]
    if not pairs:
        raise Unavailable("no module was seen with inputs of two kinds")
    for module, path, one, other, told in pairs:
        (mean, spread), (other_mean, other_spread) = _typical(one), _typical(other)
        ratio = max(spread, other_spread) / max(min(spread, other_spread), TINY)
        shift = abs(mean - other_mean) / max(spread, other_spread, TINY)
        apart = [_apart(one[:, n], other[:, n]) for n in (0, 1)]
        if not (shift > SHIFT and apart[0] > APART) and not (ratio > RATIO and apart[1] > APART):
            continue
        kind = type(module).__name__
        noisier = told is AGAINST_TRAINING and spread > other_spread and shift <= SHIFT
        yield E22.broken(
            "note" if noisier and ratio < NOISE else "warning",
            f"{kind} is evaluated on inputs of another scale than those {told[0]}",
            f"{kind}, argument {path}",
            (
                f"a sample {told[1]}: mean {mean:.3g}, standard deviation {spread:.3g}; "
                f"{told[2]}: mean {other_mean:.3g}, standard deviation {other_spread:.3g}",
                f"{len(one)} samples against {len(other)}: they hardly overlap",
            ),
            ruled_out=("single odd samples: nearly all of them differ so",),
            explains=("scores below what the loss promises",),
        )
        return


Pair = tuple[nn.Module, str, np.ndarray, np.ndarray, tuple[str, str, str]]
AGAINST_TRAINING = "it was trained on", "in training", "in evaluation"
AGAINST_ANOTHER = "of another loader", "of one loader's", "of the other's"


def _pairs(x: Examination) -> Iterator[Pair]:
    """Scales of what a module was given in training and in an evaluation, or of two loaders."""
    seen = later(x).evaluated_on
    for item in seen:
        for path, scale in _trained_scales(x, item.module).items():
            if path in item.scales:
                yield item.module, path, scale, np.concatenate(item.scales[path]), AGAINST_TRAINING
    for n, item in enumerate(seen):
        for other in seen[:n]:
            if other.module is item.module and None not in (item.source, other.source):
                for path in item.scales.keys() & other.scales.keys():
                    scales = np.concatenate(other.scales[path]), np.concatenate(item.scales[path])
                    yield item.module, path, *scales, AGAINST_ANOTHER


def _trained_scales(x: Examination, module: nn.Module) -> dict[str, np.ndarray]:
    """Of the samples that a module was given in the traced training steps."""
    scales: dict[str, list[np.ndarray]] = {}
    for call in x.record.of(ModuleCall):
        if call.gradient and call.training and x.record.modules[call.module] is module:
            for path, scale in call.scales.items():
                scales.setdefault(path, []).append(scale)
    return {path: np.concatenate(parts) for path, parts in scales.items()}


def _typical(scales: np.ndarray) -> tuple[float, float]:
    """Median mean and median standard deviation of the samples."""
    return float(np.median(scales[:, 0])), float(np.exp(np.median(scales[:, 1])))


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    """How far two sets of numbers lie apart, in their own robust standard deviations; 0 where a
    usual one is infinite, as the logarithm of a constant sample's deviation is.
    """
    middle = [np.median(part) for part in (one, other)]
    if not np.isfinite(middle).all():
        return 0.0
    with np.errstate(invalid="ignore"):  # single infinite ones beside
        width = [np.median(np.abs(part - m)) for part, m in zip((one, other), middle, strict=True)]
    return float(abs(middle[0] - middle[1]) / max(1.4826 * max(width), TINY))

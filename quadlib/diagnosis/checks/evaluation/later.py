"""How a loop evaluates after its watched steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from quadlib.diagnosis.checks.evaluation.contracts import E02, E03, E11, E20, E21, E22
from quadlib.diagnosis.checks.evaluation.observed import in_training_mode
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later, shaped_alike
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import ModuleCall
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

JUDGED_WEIGHTS = 256  # of a matrix, from which two random ones are told from two alike
FEWEST_ASKED = 20
ALL_KNOWN = 0.95  # share of the rows of a question that were fitted on
JUDGED_SAMPLES = 16  # of training and of evaluation
RATIO = 1.6  # of standard deviations: half the values masked, or dropped out, make 1.4
SHIFT = 0.75  # of means, in standard deviations within a sample
APART = 4.0  # standard deviations over the samples: hardly a sample of one is like the other's
TINY = 1e-12
LIKE = 6.0  # standard deviations of the cosine of two random matrices


@check(E02, "the evaluation after training runs in evaluation mode", phase="later")
def training_mode(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if not seen.runs and not seen.evaluating and not seen.bursts:
        raise Unavailable("no model was evaluated after the watched steps")
    wrong = {type(module).__name__ for run in seen.runs for module in run.training}
    wrong |= {type(module).__name__ for module in seen.bursts}
    if wrong:
        yield in_training_mode(wrong)


@check(E03, "training goes on in training mode after an evaluation", phase="later")
def stayed_in_evaluation_mode(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if not seen.evaluated:
        raise Unavailable("no evaluation was seen after the watched steps")
    if seen.stayed:
        yield E03.broken(
            "error",
            "after an evaluation the model is trained in evaluation mode",
            "the first step after an evaluation",
            (
                "every layer whose answer depends on the mode was in training mode in the watched "
                "steps, and none is in a step after an evaluation",
            ),
            "call model.train() at the start of every epoch, after every evaluation too",
            ruled_out=("layers that were frozen on purpose: these were in training mode before",),
        )


@check(E02, "an evaluation draws no random numbers", phase="later")
def random_evaluation(x: Examination) -> Iterator[Finding]:
    seen = later(x).evaluated_on
    if not seen:
        raise Unavailable("no trained model was evaluated in evaluation mode")
    for item in seen:
        if item.random:
            kind = type(item.module).__name__
            yield E02.broken(
                "warning" if item.dropped else "note",  # others may be part of the method
                f"{kind} draws random numbers although it is in evaluation mode",
                f"{kind}, called without gradients, training=False",
                (
                    "a dropout in it is told that it trains"
                    if item.dropped
                    else "torch's generator had moved on after the call",
                ),
                "nn.functional.dropout(x, p, training=self.training), or nn.Dropout as a layer; "
                "augment in training only",
                ruled_out=("a forgotten eval(): the module is in evaluation mode",),
            )
            return


@check(E22, "an evaluation's inputs have the scale of training's", phase="later")
def other_inputs(x: Examination) -> Iterator[Finding]:
    pairs = [
        (item.module, path, scale, np.concatenate(item.scales[path]))
        for item in later(x).evaluated_on
        for path, scale in _trained_scales(x, item.module).items()
        if path in item.scales
    ]
    pairs = [pair for pair in pairs if min(len(pair[2]), len(pair[3])) >= JUDGED_SAMPLES]
    if not pairs:
        raise Unavailable("no module was seen with inputs in training and in evaluation")
    for module, path, trained, evaluated in pairs:
        (mean, spread), (other_mean, other_spread) = _typical(trained), _typical(evaluated)
        ratio = max(spread, other_spread) / max(min(spread, other_spread), TINY)
        shift = abs(mean - other_mean) / max(spread, other_spread, TINY)
        apart = [_apart(trained[:, n], evaluated[:, n]) for n in (0, 1)]
        if not (shift > SHIFT and apart[0] > APART) and not (ratio > RATIO and apart[1] > APART):
            continue
        kind = type(module).__name__
        yield E22.broken(
            "warning",
            f"{kind} is evaluated on inputs of another scale than those it was trained on",
            f"{kind}, argument {path}",
            (
                f"a sample in training: mean {mean:.3g}, standard deviation {spread:.3g}; "
                f"in evaluation: mean {other_mean:.3g}, standard deviation {other_spread:.3g}",
                f"{len(trained)} samples against {len(evaluated)}: they hardly overlap",
            ),
            ruled_out=("single odd samples: nearly all of them differ so",),
            explains=("scores below what the loss promises",),
        )
        return


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
    """How far two sets of numbers lie apart, in their own robust standard deviations."""
    middle = [np.median(part) for part in (one, other)]
    width = [np.median(np.abs(part - m)) for part, m in zip((one, other), middle, strict=True)]
    distance = abs(middle[0] - middle[1])
    return float(distance / max(1.4826 * max(width), TINY)) if np.isfinite(distance) else 0.0


@check(E11, "a classifier is asked about rows that it was not fitted on", phase="later")
def fitted_on_the_test(x: Examination) -> Iterator[Finding]:
    probes = [probe for probe in later(x).probes if probe.asked]
    if not probes:
        raise Unavailable("no classifier of scikit-learn was fitted and asked after training")
    for probe in probes:
        if sum(n for n, _ in probe.asked) < FEWEST_ASKED:
            continue
        if all(share > ALL_KNOWN for _, share in probe.asked):
            kind = type(probe.estimator).__name__
            yield E11.broken(
                "warning",
                f"{kind} is scored on rows that it was fitted on",
                f"{kind}.fit on {probe.fitted} rows",
                (
                    f"asked {len(probe.asked)} times, about {probe.asked[0][0]} rows at first: "
                    f"{probe.asked[0][1]:.0%} of them are among the rows of fit, value for value",
                ),
                "fit on the rows of train alone, and score those of test",
                explains=("a score that is too good, of untrained embeddings too",),
            )
            return


@check(E20, "an evaluation compares rows with what is their own", phase="later")
def paired_rows(x: Examination) -> Iterator[Finding]:
    pairings = later(x).pairings
    if not pairings:
        raise Unavailable("no function was seen that pairs an evaluation's rows with their truth")
    for pairing in pairings:
        if pairing.right >= pairing.other:
            continue
        evidence: tuple[str, ...]
        if pairing.likeness:
            evidence = (
                f"the {pairing.rows} pairs that it names are alike by {pairing.right:.1f} standard "
                f"deviations, as pairs drawn at random are; {pairing.layout}: {pairing.other:.0f}",
            )
            ruled_out = ("the model: its rows show which belong together",)
        else:
            evidence = (
                f"its {pairing.rows} rows stand in the order of the loader, which shuffles; its "
                f"labels are those of the dataset in order: {pairing.right:.0%} are the rows' own",
                f"in the order of the batches {pairing.layout} would be",
            )
            ruled_out = ("the model and the labels: each is right in its own order",)
        yield E20.broken(
            "error",
            f"{pairing.function}() compares rows with the truth of other rows",
            f"the arguments of {pairing.function}" if not pairing.likeness else pairing.function,
            evidence,
            ruled_out=ruled_out,
            explains=("a score at chance whatever the loss does",),
        )
        return


@check(E21, "what is evaluated was trained", phase="later")
def trained_weights(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if seen.ended != "finished" or not seen.evaluating:
        raise Unavailable("the script's last evaluation was not seen")
    moved = {id(p) for o in x.record.optimisers for g in o.param_groups for p in g["params"]}
    modules = seen.evaluating
    if any(id(p) in moved for module in modules for p in module.parameters()):
        return
    loaded = [load.module for load in seen.loads if load.missing]
    trained = [m for m in x.record.modules.values() if any(id(p) in moved for p in m.parameters())]
    for module in modules:
        if any(part is module for part in loaded):
            continue  # that it was loaded in vain is said already
        twin = next((m for m in trained if type(m) is type(module) and _unlike(m, module)), None)
        if twin is not None:
            name = type(module).__name__
            yield E21.broken(
                "error",
                f"the {name} that is evaluated was never trained or loaded",
                f"{name}, called without gradients after training",
                (
                    "no module with trained weights is evaluated; this one has the shapes of the "
                    "trained one, and weights no more like its own than random ones are",
                ),
                explains=("scores as before training",),
            )
            return
        if any(part is module for part in seen.still) and any(
            shaped_alike(m, module) for m in trained
        ):
            name = type(module).__name__
            yield E21.broken(
                "error",
                f"the {name} that is evaluated stays as it was while another is trained",
                f"{name}, called without gradients after training",
                (
                    "no module with trained weights is evaluated; this one has the shapes of the "
                    f"trained one, and is bit for bit what it was {seen.steps - seen.first_step} "
                    "steps ago",
                ),
                "update the copy or the average after every step, or evaluate the trained model",
                explains=("scores as before training",),
            )
            return


def _unlike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules of the same shapes have matrices that are random to each other."""
    pairs = list(zip(one.parameters(), other.parameters(), strict=False))
    if len(pairs) != len(list(one.parameters())) or any(a.shape != b.shape for a, b in pairs):
        return False
    large = [(a, b) for a, b in pairs if a.ndim > 1 and a.numel() >= JUDGED_WEIGHTS]
    return bool(large) and all(_cosine(a, b) * a.numel() ** 0.5 < LIKE for a, b in large)


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    left, right = (t.detach().cpu().double().flatten() for t in (a, b))
    return abs(float(nn.functional.cosine_similarity(left, right, dim=0)))

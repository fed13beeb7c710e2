"""How a loop evaluates after its watched steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from quadlib.diagnosis.checks.evaluation.contracts import E02, E20, E21
from quadlib.diagnosis.checks.evaluation.observed import in_training_mode
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

JUDGED_WEIGHTS = 256  # of a matrix, from which two random ones are told from two alike
LIKE = 6.0  # standard deviations of the cosine of two random matrices


@check(E02, "the evaluation after training runs in evaluation mode", phase="later")
def training_mode(x: Examination) -> Iterator[Finding]:
    runs = later(x).runs
    if not runs:
        raise Unavailable("no loader was run through without gradients after the watched steps")
    wrong = {type(module).__name__ for run in runs for module in run.training}
    if wrong:
        yield in_training_mode(wrong)


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

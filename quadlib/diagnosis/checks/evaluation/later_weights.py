"""Whether the weights that are evaluated are those that were trained."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from quadlib.diagnosis.checks.evaluation.contracts import E21, E24
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later, shaped_alike
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

JUDGED_WEIGHTS = 256  # of a matrix, from which two random ones are told from two alike
LIKE = 6.0  # standard deviations of the cosine of two random matrices


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


@check(E24, "a probe leaves the weights as they were trained", phase="later")
def probe_trains(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if not seen.evaluated and not seen.moved_by_probes:
        raise Unavailable("no evaluation was seen after the watched steps")
    for function, tensors in seen.moved_by_probes:
        yield E24.broken(
            "warning",
            f"{function}() trains the encoder that it should measure",
            f"the optimiser that {function}() steps",
            (f"it holds {tensors} tensors that were trained before, and they receive gradient",),
            ruled_out=("the head: it is new, and in the optimiser too",),
            explains=("a score of supervised training",),
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

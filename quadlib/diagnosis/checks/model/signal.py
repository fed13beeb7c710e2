"""Contracts of the signal: what varies at the input still varies behind every layer, and no
modality drowns out the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from quadlib.diagnosis.checks.model.contracts import N04, N07
from quadlib.diagnosis.checks.model.parameters import duplicated_units, scope_of, trained
from quadlib.diagnosis.checks.model.wiring import probe_or_none
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.facts import model_of, parts_of
from quadlib.diagnosis.evidence.forward import ModuleTrace
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.variation import variation
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.loss import bounds


@check(N04, "what varies from sample to sample still does so behind every layer", "batch")
def constant_output(x: Examination) -> Iterator[Finding]:
    forward, model = x.forward, model_of(x)
    if not forward.varying:
        raise Unavailable("no input varies over the first batch")
    dead = x.limits.dead_variance
    collapsed = variation(nn.functional.normalize(forward.base, dim=1)) <= dead
    parts = {name for name in parts_of(model) if scope_of(x, name) in forward.inputs}
    constant = [
        call.name
        for call in forward.trace
        if call.name in parts and call.leaving <= dead < call.entering
    ]
    if not (collapsed or constant):
        return
    if trained(x) and not _stuck_from_the_start(x):
        return  # a collapse during training is no fault of the layers
    if duplicated_units(model, x.limits):
        return  # equal units come first: given them, equal outputs are no surprise
    for part in constant or [""]:
        scope = scope_of(x, part) if part and len(constant) < len(parts) else ""
        yield _constant_output(x, part, scope, collapsed)


def _constant_output(x: Examination, part: str, scope: str, collapsed: bool) -> Finding:
    """The finding for one part of the model, or for all of it where the part has no name."""
    layer = _where_it_dies(x, part)
    place = layer.name if layer is not None else part or "the model"
    recovers = not collapsed and _has_gradient(x, place)
    return N04.broken(
        "warning" if recovers else "error",
        f"{part or 'the model'} gives the same output for every sample, though its inputs differ",
        where=place,
        scope=scope,
        evidence=tuple(_evidence(x, layer, collapsed)),
        ruled_out=(
            "constant inputs",
            "collapse during training (no step was needed)",
            "layers with equal units",
        ),
        predicts=None if collapsed else ("QL-N07",),
        help=f"initialise {place} at random; if an activation is 0 everywhere, look at the bias "
        "before it   [changes the model; retrain]",
    )


def _evidence(x: Examination, layer: ModuleTrace | None, collapsed: bool) -> Iterator[str]:
    if layer is not None:
        yield (
            f"variance over the batch relative to the mean square: {layer.entering:.2g} into "
            f"{layer.name}, {layer.leaving:.2g} out of it"
        )
    yield f"inputs vary: {', '.join(x.forward.varying)}"
    weight = (
        None if layer is None else getattr(model_of(x).get_submodule(layer.name), "weight", None)
    )
    if layer is not None and isinstance(weight, Tensor) and not bool(weight.any()):
        yield f"the weight of {layer.name} is 0 throughout"
    if collapsed:
        yield "all embeddings are equal: the loss is at its collapse plateau, with gradient 0"


def _where_it_dies(x: Examination, part: str) -> ModuleTrace | None:
    """The first dead layer of a part behind its last living one; a residual branch that is 0 at the
    start has living layers behind it.
    """
    leaves = [
        call
        for call in x.forward.trace
        if call.leaf and (not part or f"{call.name}.".startswith(f"{part}."))
    ]
    alive = [number for number, call in enumerate(leaves) if call.leaving > x.limits.dead_variance]
    dead = leaves[alive[-1] + 1 :] if alive else leaves
    return dead[0] if dead else None


def _has_gradient(x: Examination, module: str) -> bool:
    """Whether a weight of this module receives a gradient, so that its output will soon differ."""
    probe = probe_or_none(x)
    gradients = probe.gradients.items() if probe is not None else ()
    return any(
        value
        for name, value in gradients
        if name.startswith(module + ".") and name.endswith("weight")
    )


def _stuck_from_the_start(x: Examination) -> bool:
    """Whether the first recorded loss was at the collapse plateau already."""
    try:
        x.subject.require_bounds()
        first = float(x.losses[0])
    except Unavailable:
        return False
    plateau = bounds.collapse_value(len(x.embedded_labels))
    return math.isfinite(first) and abs(first - plateau) <= x.limits.stuck_start * plateau


@check(N07, "no modality drowns out the others", "batch")
def dominance(x: Examination) -> Iterator[Finding]:
    moves = x.forward.sensitivity
    if len(moves) < 2:
        raise Unavailable(f"{len(moves)} modality varies in the first batch")
    name = max(moves, key=lambda each: moves[each])
    others = {other: value for other, value in moves.items() if other != name}
    loudest = max(others.values())
    if moves[name] <= x.limits.least_effect or loudest > x.limits.quiet_modality * moves[name]:
        return
    links = x.signature.labels
    telling = {
        other: links[other].p
        for other in others
        if other in links and links[other].p <= x.limits.linked
    }
    if not telling:
        return  # the others tell nothing of the label: nothing is lost
    effects = ", ".join(f"{other} {value:.2g}" for other, value in moves.items())
    dependent = ", ".join(f"{other} (p = {p:.3f})" for other, p in telling.items())
    silenced = trained(x) and loudest <= x.limits.silent_modality * moves[name]
    yield N07.broken(
        "warning" if silenced else "note",
        f"the embedding follows {name} alone and ignores {', '.join(telling)}",
        where=f"embeddings of {x.forward.rows} samples",
        evidence=(
            "squared change of the unit embedding when one modality is exchanged between samples: "
            + effects,
            f"the next largest effect is {loudest / moves[name]:.2g} of that of {name}; yet the "
            f"label depends on {dependent}",
        ),
        ruled_out=(
            "dead inputs (each varies)",
            "uninformative modalities (they depend on the label)",
        ),
        help="bring the features of all modalities to one scale before they are fused (LayerNorm "
        "on each), or give each its own loss: within_weight=0.5   [changes the model; retrain]",
    )

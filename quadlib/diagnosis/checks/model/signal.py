"""Contracts of the signal: what varies at the input still varies behind every layer, and no
modality drowns out the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from quadlib.diagnosis.checks.model.parameters import duplicated_units, scope_of, trained
from quadlib.diagnosis.checks.model.wiring import probe_or_none
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.facts import model_of, parts_of
from quadlib.diagnosis.evidence.forward import DEAD, Seen, variation
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.loss import bounds

# a modality that moves the embedding less than this share of the loudest one, in squared distance
QUIET = 0.01
SILENT = 0.001


@check("N04", "what varies from recording to recording still does so behind every layer", "batch")
def constant_output(x: Examination) -> Iterator[Finding]:
    forward, model = x.forward, model_of(x)
    if not forward.varying:
        raise Unavailable("no input varies over the first batch")
    whole = variation(nn.functional.normalize(forward.base, dim=1)) <= DEAD
    parts = {name for name in parts_of(model) if scope_of(x, name) in forward.inputs}
    dead = [
        seen.name
        for seen in forward.trace
        if seen.name in parts and seen.leaving <= DEAD < seen.entering
    ]
    if not whole and not dead or (trained(x) and not _stuck_from_the_start(x)):
        return
    if duplicated_units(model):
        return  # equal units come first: given them, equal outputs are no surprise
    for part in dead or [""]:
        layer = _where_it_dies(
            [
                seen
                for seen in forward.trace
                if seen.leaf and (not part or f"{seen.name}.".startswith(f"{part}."))
            ]
        )
        place = layer.name if layer is not None else part or "the model"
        evidence = [f"inputs vary: {', '.join(forward.varying)}"]
        if layer is not None:
            evidence.insert(
                0,
                f"variance over the batch relative to the mean square: {layer.entering:.2g} into "
                f"{place}, {layer.leaving:.2g} out of it",
            )
            weight = getattr(model.get_submodule(place), "weight", None)
            if isinstance(weight, Tensor) and not bool(weight.any()):
                evidence.append(f"the weight of {place} is 0 throughout")
        if whole:
            evidence.append(
                "all embeddings are equal: the loss is at its collapse plateau, where its gradient "
                "is 0"
            )
        recovers = not whole and _gradient_at(x, place)
        yield Finding(
            "QL-N04",
            "warning" if recovers else "error",
            f"{part or 'the model'} gives the same output for every recording, though its inputs "
            "differ",
            where=place,
            scope=scope_of(x, part) if part and len(dead) < len(parts) else "",
            evidence=tuple(evidence),
            ruled_out=(
                "constant inputs",
                "collapse during training (no step was needed)",
                "layers with equal units",
            ),
            consequences=(
                "QL-N07",
                *(
                    ("QL-N03", "QL-P10", "QL-P12", "QL-E05", "QL-E10", "QL-O01", "QL-O02")
                    if whole
                    else ()
                ),
            ),
            help=f"initialise {place} at random; of an activation that is 0 everywhere, look at "
            "the bias before it "
            "  [changes the model; retrain]",
        )


@check("N07", "no modality drowns out the others", "batch")
def dominance(x: Examination) -> Iterator[Finding]:
    moves = x.forward.sensitivity
    if len(moves) < 2:
        raise Unavailable(f"{len(moves)} modality varies in the first batch")
    name = max(moves, key=lambda each: moves[each])
    others = {other: value for other, value in moves.items() if other != name}
    loudest = max(others.values())
    if moves[name] <= 1e-6 or loudest > QUIET * moves[name]:
        return
    links = x.signature.labels
    telling = {
        other: links[other].p for other in others if other in links and links[other].p <= 0.005
    }
    if not telling:
        return  # the others tell nothing of the label: there is nothing to hear
    yield Finding(
        "QL-N07",
        "warning" if trained(x) and loudest <= SILENT * moves[name] else "note",
        f"the embedding follows {name} alone and ignores {', '.join(telling)}",
        where=f"embeddings of {x.forward.rows} recordings",
        evidence=(
            "squared change "
            "of the unit "
            "embedding when "
            "one modality "
            "is exchanged "
            "between "
            "recordings: " + ", ".join(f"{other} {value:.2g}" for other, value in moves.items()),
            f"the next loudest has {loudest / moves[name]:.2g} of the effect of {name}; yet the "
            "label depends on "
            + ", ".join(f"{other} (p = {p:.3f})" for other, p in telling.items()),
        ),
        ruled_out=(
            "dead inputs (each varies)",
            "modalities that tell nothing (they depend on the label)",
        ),
        consequences=("QL-E10",),
        help="bring the features of all modalities to one scale before they are fused (LayerNorm "
        "on each), or give each its own loss: "
        "within_weight=0.5   [changes the model; retrain]",
    )


def _where_it_dies(leaves: list[Seen]) -> Seen | None:
    """The first dead layer behind the last living one; a residual branch that is 0 at the start has
    living layers behind it.
    """
    alive = [place for place, seen in enumerate(leaves) if seen.leaving > DEAD]
    rest = leaves[alive[-1] + 1 :] if alive else leaves
    return rest[0] if rest else None


def _gradient_at(x: Examination, module: str) -> bool:
    """Whether a weight of this module receives gradient, so that its output will soon differ."""
    probe = probe_or_none(x)
    gradients = probe.gradients.items() if probe is not None else ()
    return any(
        value
        for name, value in gradients
        if name.startswith(module + ".") and name.endswith("weight")
    )


def _stuck_from_the_start(x: Examination) -> bool:
    """Whether the first recorded loss was at the collapse plateau already; collapse later on is no
    fault of the layers.
    """
    try:
        first = float(x.losses[0])
    except Unavailable:
        return False
    plateau = bounds.collapse_value(len(x.embedded_labels))
    return math.isfinite(first) and abs(first - plateau) <= 1e-3 * plateau

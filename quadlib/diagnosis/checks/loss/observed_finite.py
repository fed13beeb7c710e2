"""A watched loss, its derivatives and the weights that follow them are finite."""

from __future__ import annotations

import math
from collections.abc import Iterator

from quadlib.diagnosis.checks.loss.contracts import P12
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.evidence.observed.passes import lost_losses, passes, traced
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.loss_events import Singular
from quadlib.diagnosis.registry import check

AT_THE_EDGE = 1e-12  # float32 resolves 6e-8 of 1, whose square is 4e-15


@check(P12, "the watched losses are finite", phase="observed")
def not_finite(x: Examination) -> Iterator[Finding]:
    losses = x.record.losses
    bad = lost_losses(x.record)
    if not bad:
        return
    item = passes(x.record)[bad[0]]
    layer = next((n for n in item.backward.layers if math.isnan(n.leaving)), None)
    calls = next((c for c in item.calls if not c.finite), None)
    if layer is not None:
        place, text = layer.module, f"the first output that is not finite is that of {layer.module}"
        if math.isnan(layer.entering):
            text = f"what enters {layer.module} is not finite already"
    elif calls is not None:
        place, text = calls.module, f"the output of {calls.module} is not finite"
    else:
        place, text = "the loss", "the models' outputs are finite: the loss itself makes it"
    earlier = f"; {bad[0]} finite losses before it" if bad[0] else ", from the first pass on"
    yield P12.broken(
        "error",
        f"the loss is not finite, from pass {bad[0] + 1} on",
        place,
        (f"{len(bad)} of {len(losses)} losses are NaN or infinite{earlier}", text),
        "look at what is divided, exponentiated or logged there: a mean over 0 positives, norms "
        "of 0, logits beyond +-88",
        ruled_out=("the inputs: they are finite",)
        if not item.fetches or not any(f.not_finite for f in item.fetches)
        else (),
    )


@check(P12, "the derivatives of a watched loss that is finite are finite", phase="observed")
def infinite_derivative(x: Examination) -> Iterator[Finding]:
    for item in traced(x.record):
        norms = [norm for norm in item.gradients.values() if norm is not None]
        scaled = item.backward.scale != 1  # a scaler finds its factor by gradients that overflow
        if scaled or all(map(math.isfinite, norms)):
            continue
        if math.isfinite(item.backward.loss):
            yield P12.broken(
                "error",
                f"the loss of pass {item.backward.step + 1} is finite and its gradient is not",
                "the backward pass",
                (
                    f"loss {item.backward.loss:.5g}; {sum(not math.isfinite(n) for n in norms)} of "
                    f"{len(norms)} gradients are NaN or infinite",
                    *_edges(x, at_most=AT_THE_EDGE),
                ),
                "keep what a root, a logarithm or an arc cosine is given off its edge: "
                "sqrt(x.clamp(min=1e-12)), acos(x.clamp(-1 + 1e-7, 1 - 1e-7))",
                ruled_out=("the data and the outputs: the loss itself is finite",),
            )
            return


@check(P12, "the weights are finite after the watched steps", phase="later")
def weights_lost(x: Examination) -> Iterator[Finding]:
    lost = later(x).lost
    if lost is None:
        return
    yield P12.broken(
        "error",
        f"the weights are no longer finite at step {lost[0]}",
        lost[1],
        (
            f"the losses of the first {x.record.n_steps} steps were finite, "
            f"{x.record.losses[0]:.5g} to {x.record.losses[-1]:.5g}",
            *_edges(x, at_most=math.inf),
        ),
        "look at the first loss that is not finite: keep roots, logarithms and arc cosines off "
        "their edge, or lower the rate, or clip the gradient",
    )


def _edges(x: Examination, *, at_most: float) -> list[str]:
    """What the loss goes through whose derivative is infinite somewhere, nearest to it first."""
    least: dict[str, float] = {}
    for event in x.record.of(Singular):
        least[event.function] = min(event.least, least.get(event.function, math.inf))
    return [
        f"the loss goes through {name}, whose derivative is infinite at the edge of what it takes; "
        f"nothing keeps it off, and it came as near as {value:.2g} in the watched steps"
        for name, value in sorted(least.items(), key=lambda pair: pair[1])
        if value <= at_most
    ]

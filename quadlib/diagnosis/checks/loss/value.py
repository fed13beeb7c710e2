"""Contracts of the loss as a function: what it receives, its sign, and that it depends on both
inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.loss.contracts import P01, P02, P06, P14, P15, P16
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.reference import RIGHT, LossReading, supcon
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.observe.variation import cosine_spread
from quadlib.diagnosis.registry import check
from quadlib.loss import bounds


@check(P01, "the loss receives unit embeddings, or normalises them itself", "batch")
def unit_norm(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    rows = reading.rows.float()
    if not torch.isfinite(rows).all():
        raise Unavailable("the embeddings are not finite")
    norms = rows.norm(dim=1)
    if bool(((norms - 1).abs() < x.limits.unit_norm).all()):
        return
    axis = _unit_axis(rows, reading)
    if axis:
        yield _wrong_axis(x, norms, axis)
        return
    if normalises(reading, rows):
        return
    if reading.match is None and not reading.declares:
        raise Unavailable(f"{reading.name} is not known to expect unit embeddings")
    temperature = (
        reading.match.temperature if reading.match else next(iter(reading.temperatures), math.nan)
    )
    ceiling = bounds.collapse_value(len(rows)) + 2 / temperature
    value, of_unit = (
        reading.value(reading.rows),
        reading.value(nn.functional.normalize(rows, dim=1)),
    )
    yield P01.broken(
        "error",
        f"the embeddings have norms of {norms.min():.3g} to {norms.max():.3g} where the loss "
        "expects unit vectors",
        where=f"what {reading.name} receives from the model, {len(rows)} rows",
        evidence=(
            f"loss of this batch {value:.4g}; with unit rows {of_unit:.4f}; no unit embeddings "
            f"exceed ln(N-1) + 2/T = {ceiling:.4f}",
            "three times the embeddings give another loss, so it does not normalise inside",
        ),
        ruled_out=("a wrong axis: no axis has unit norm",),
        help="embeddings = torch.nn.functional.normalize(embeddings, dim=-1) before the loss   "
        "[changes what the loss sees; retrain]",
    )


def normalises(reading: LossReading, rows: Tensor) -> bool:
    once, thrice = reading.value(rows), reading.value(3 * rows)
    return math.isclose(once, thrice, rel_tol=1e-3, abs_tol=1e-5)


def _unit_axis(rows: Tensor, reading: LossReading) -> str:
    """Which other axis the embeddings have unit norm over, in words; empty for none."""
    views = rows.reshape(reading.views, -1, rows.shape[1])
    axes = {
        "over the batch (dim=0)": rows.norm(dim=0) if len(rows) > 1 else None,
        "over the views (dim=1 of (N, V, D))": views.norm(dim=0),
        "over the batch of each view (dim=0 of (N, V, D))": views.norm(dim=1)
        if reading.views > 1
        else None,
    }
    room = reading.limits.unit_axis
    return next(
        (
            axis
            for axis, norms in axes.items()
            if norms is not None and bool(((norms - 1).abs() < room).all())
        ),
        "",
    )


def _wrong_axis(x: Examination, norms: Tensor, axis: str) -> Finding:
    return P02.broken(
        "error",
        f"the embeddings are normalised {axis}, not over their features",
        where=f"what the loss of {x.subject.name} receives from the model",
        evidence=(
            f"norm {axis}: 1 to three digits everywhere; norm over the features: "
            f"{norms.min():.3g} to {norms.max():.3g}",
        ),
        ruled_out=("missing normalisation: one axis has unit norm exactly",),
        help="torch.nn.functional.normalize(embeddings, dim=-1)   [changes what the loss sees; "
        "retrain]",
    )


@check(P02, "the loss does not normalise over the batch", "batch")
def inner_axis(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    if reading.match is not None or not all(map(math.isfinite, reading.fixture_values)):
        return
    wrong = [nn.functional.normalize(rows.float(), dim=0) for rows in reading.fixtures]
    found = reading.matching(wrong, RIGHT)
    if found is not None:
        yield P02.broken(
            "error",
            "the loss normalises the embeddings over the batch (dim=0), not over their features",
            where=f"{reading.name}, on {len(wrong)} batches of known embeddings",
            evidence=(
                f"its values are SupCon's at T = {found.temperature:g} of columns of unit norm, "
                f"times {found.scale:.4g}",
            ),
            help="normalise with dim=-1 inside the loss   [changes the loss; retrain]",
        )


@check(P06, "the loss has the sign and the floor of SupCon", "batch")
def sign_and_floor(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    match = reading.known()
    if match.scale < 0:
        expected = [
            supcon(rows, reading.codes, match.temperature, match.variant)
            for rows in reading.fixtures
        ]
        yield P06.broken(
            "error",
            f"the loss is minus SupCon (factor {match.scale:.4g}): minimising it drives positives "
            "apart",
            where=f"{reading.name}, on {len(reading.fixtures)} batches of known embeddings",
            evidence=tuple(
                f"loss {value:.4f}; SupCon at T = {match.temperature:g}: {reference:.4f}"
                for value, reference in zip(reading.fixture_values, expected, strict=True)
            ),
            ruled_out=("a scale: it would be positive",),
            help="loss = -log_probability.mean()   [changes the sign; retrain]",
        )


@check(P06, "no value of the history is below the floor", "epoch")
def below_floor(x: Examination) -> Iterator[Finding]:
    x.subject.require_bounds()
    steps = [
        item
        for item in x.history
        if item.get("kind", "step") == "step"
        and isinstance(item.get("fused"), (int, float))
        and isinstance(item.get("floor"), (int, float))
    ]
    below = [
        item
        for item in steps
        if item["fused"] < item["floor"] - x.limits.below_floor * max(1.0, abs(item["floor"]))
    ]
    if (
        not below
        and not steps
        and next(iter(x.loss_reading.temperatures if x.subject.loss is not None else ()), None)
    ):
        x.loss_reading.known()
        values = x.losses[np.isfinite(x.losses)]
        below = [
            {"fused": float(value), "floor": 0.0}
            for value in values
            if value < -x.limits.below_floor
        ]
        steps = [{"fused": float(value)} for value in values]
    if below:
        yield P06.broken(
            "error",
            f"{len(below)} of {len(steps)} loss values lie below the floor, which no embeddings "
            "can reach",
            where=f"history of {x.subject.name}",
            evidence=(
                f"first: {below[0]['fused']:.4f} under a floor of {below[0]['floor']:.4f}; "
                "progress above 1 proves a bug",
            ),
            candidates=(
                "the sign of the loss is flipped",
                "a value of another batch or another loss was logged",
            ),
            decide="the loss of one batch, next to SupConLoss(T).detail(embeddings, labels)",
            help="compute the value from one batch by hand, and log that   [changes the log, or "
            "the sign]",
        )


@check(P14, "the loss depends on the labels", "batch")
def label_sensitivity(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    labels = reading.labels
    if reading.views > 1 or len(np.unique(labels)) < 2:
        raise Unavailable(
            "several views need no labels" if reading.views > 1 else "one class in the batch"
        )
    if any(word in reading.name.lower() for word in conventions.LABEL_FREE_LOSSES):
        raise Unavailable(f"{reading.name} is meant to work without labels")
    rows, value = reading.fixtures[1], reading.fixture_values[1]
    if _constant(reading.fixture_values, x.limits):
        raise Unavailable("the loss does not depend on the embeddings")
    permutations = [np.roll(labels, shift) for shift in range(1, 4)] + [
        np.random.default_rng(0).permutation(labels)
    ]
    changed = [
        reading.value(rows, other) for other in permutations if not _same_partition(labels, other)
    ]
    if (
        not changed
        or not math.isfinite(value)
        or any(abs(other - value) > x.limits.same_value * max(1.0, abs(value)) for other in changed)
    ):
        return
    claims = reading.declares or bool(reading.temperatures)
    yield P14.broken(
        "error" if claims else "note",
        "the loss does not change when the labels are permuted, so it cannot learn from them",
        where=f"{reading.name}, on embeddings gathered by label",
        evidence=(
            f"loss {value:.6g}; with other arrangements of the same labels: "
            f"{', '.join(f'{other:.6g}' for other in changed)}",
        ),
        ruled_out=("a batch of one class: it holds " + str(len(np.unique(labels))),),
        help="pass the labels of this batch to the loss   [changes the loss; retrain]",
    )


def _same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(((one[:, None] == one) == (other[:, None] == other)).all())


@check(P15, "the loss depends on the embeddings", "batch")
def embedding_sensitivity(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    values = [*reading.fixture_values, reading.value(reading.rows)]
    if not all(map(math.isfinite, values)) or not _constant(values, x.limits):
        return
    if values[0] == 0.0 and np.isnan(supcon(reading.fixtures[0], reading.codes, 1.0)):
        raise Unavailable("no anchor of the first batch has a positive")
    spreads = ", ".join(f"{cosine_spread(rows):.2f}" for rows in reading.fixtures)
    yield P15.broken(
        "error",
        f"the loss is {values[0]:.6g} whatever the embeddings: it is not computed from them",
        where=reading.name,
        evidence=(
            f"{len(values)} batches of different embeddings (spread of cosines {spreads}) give "
            "the same value to 6 digits",
        ),
        ruled_out=("collapse: these embeddings are spread", "learning rate"),
        help="compute the loss from the embeddings of this step   [changes the training step]",
    )


def _constant(values: list[float], limits: Limits) -> bool:
    return bool(np.ptp(values) <= limits.same_value * max(1.0, abs(values[0])))


@check(P16, "the loss carries a gradient to the embeddings", "batch")
def gradient_to_embeddings(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    rows = reading.fixtures[0].detach().clone().requires_grad_(True)
    with torch.enable_grad():
        value = reading.tensor(rows)
        gradient = (
            torch.autograd.grad(value.sum(), rows, allow_unused=True)[0]
            if value.requires_grad
            else None
        )
    if gradient is not None and (bool((gradient != 0).any()) or not torch.isfinite(value).all()):
        return
    if value.numel() == 1 and float(value.detach()) == 0.0:
        raise Unavailable("the loss of the first batch is 0")
    if gradient is not None and cosine_spread(rows) < x.limits.collapsed:
        return
    how = (
        "it does not require a gradient (detached, .item() or no_grad)"
        if not value.requires_grad
        else "no path leads from it to the embeddings"
        if gradient is None
        else "it is 0 in every element"
    )
    yield P16.broken(
        "error",
        "the loss gives the embeddings no gradient, so the model cannot learn from it",
        where=reading.name,
        evidence=(f"gradient of the loss in embeddings that require one: {how}",),
        ruled_out=("learning rate", "frozen parameters"),
        help="keep the graph: no detach(), item(), numpy() or no_grad between embeddings and loss  "
        " [changes the loss]",
    )

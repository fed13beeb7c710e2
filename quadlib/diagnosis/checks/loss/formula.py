"""Contracts of what the loss computes: SupCon's own scale, precision, temperature and value, by a
recomputation in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from quadlib.diagnosis.checks.loss.contracts import P03, P08, P09, P13
from quadlib.diagnosis.checks.loss.value import normalises
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.reference import RIGHT, VARIANTS, LossReading, Match, supcon
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.loss import bounds


@check(P08, "the loss has SupCon's own scale", "batch")
def scale(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    match = reading.known()
    if match.scale < 0 or abs(match.scale - 1) < x.limits.loss_scale:
        return
    yield P08.broken(
        "note",
        f"the loss is {match.scale:.4g} times SupCon: {_scale_text(match, reading)}",
        where=reading.name,
        evidence=(
            f"the same factor on {len(reading.fixtures)} batches of known embeddings; plateau of "
            f"this batch {match.scale * bounds.collapse_value(len(reading.rows)):.4f}, not "
            f"{bounds.collapse_value(len(reading.rows)):.4f}",
        ),
        help="nothing is wrong; compare values only after dividing by the factor   [changes "
        "nothing]",
    )


def _scale_text(match: Match, reading: LossReading) -> str:
    base = (
        getattr(reading.subject.loss, "base_temperature", None)
        or reading.subject.setting("base_temperature")
        or 0.07
    )
    counts = np.unique(reading.codes, return_counts=True)[1]
    used = int(counts[counts >= 2].sum())
    known = {
        match.temperature
        / base: f"temperature / base_temperature = {match.temperature:g} / {base:g}",
        used: "a sum over anchors",
        len(reading.codes): "a sum over anchors",
        used / len(reading.codes): "a mean that counts lone anchors as 0",
    }
    return next(
        (text for factor, text in known.items() if math.isclose(match.scale, factor, rel_tol=5e-3)),
        "a constant factor",
    )


@check(P09, "the loss exponentiates in more than half precision", "batch")
def half_precision(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    with _Dtypes() as seen:
        values = [*reading.fixture_values, reading.value(reading.fixtures[1])]
        if bool(torch.isfinite(reading.rows).all()):
            values.append(
                reading.value(
                    nn.functional.normalize(reading.rows.float(), dim=1).to(reading.rows.dtype)
                )
            )
    if torch.float16 not in seen.exponents:
        return
    temperature = next(iter(reading.temperatures), math.nan)
    broken = [value for value in values if not math.isfinite(value)]
    if broken or 1 / temperature > x.limits.half_exponent:
        same = torch.ones_like(reading.fixtures[0]) / math.sqrt(reading.rows.shape[1])
        at_one = reading.value(same)
        if not broken and math.isfinite(at_one):
            return  # the row maximum is subtracted first
        yield P09.broken(
            "error",
            f"the loss exponentiates in float16, where exp(1/T) = exp({1 / temperature:.1f}) "
            "overflows",
            where=reading.name,
            evidence=(
                f"1/T = {1 / temperature:.2f}; float16 holds exp up to {x.limits.half_exponent}; "
                f"loss of equal embeddings: {at_one}",
                f"{len(broken)} of {len(values)} batches of unit embeddings give a value that is "
                "not finite",
            ),
            ruled_out=("the embeddings: these are unit vectors",),
            help="loss(embeddings.float(), labels) inside torch.autocast(device_type, "
            "enabled=False)   [changes the loss]",
        )


class _Dtypes(TorchDispatchMode):
    """Notes the dtypes in which exponentials are taken."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.exponents: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (
            any(word in str(func) for word in ("exp", "softmax"))
            and "expand" not in str(func)
            and isinstance(result, Tensor)
        ):
            self.exponents.add(result.dtype)
        return result


@check(P03, "the loss uses the declared temperature", "batch")
def temperature_at_work(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    if reading.match is not None or not reading.temperatures:
        reading.known()  # a loss at its declared temperature, or of another family
        return
    found, declared = reading.temperature_at_work(), reading.temperatures[0]
    if found is None:
        raise Unavailable(f"{reading.name} is not a multiple of SupCon at any temperature")
    inverse = math.isclose(found.temperature * declared, 1.0, rel_tol=0.02)
    yield P03.broken(
        "error",
        f"{reading.name} uses temperature {found.temperature:.4g}, not at the declared "
        f"{declared:g}",
        where=f"{reading.name}, on {len(reading.fixtures)} batches of known unit embeddings and "
        "the labels of the first batch",
        evidence=(
            f"on all of them it is {found.scale:.4g} x SupCon at T = {found.temperature:.4g}, on "
            f"none at T = {declared:g}",
            f"{found.temperature:.4g} = 1 / {declared:g}: the similarities are multiplied by T, "
            "not divided"
            if inverse
            else f"the largest difference of two logits is {2 / found.temperature:.3g}; 2 / T = "
            f"{2 / declared:.3g} was declared",
        ),
        ruled_out=(
            "the embeddings: these are unit vectors",
            "another scale: L_out, L_in and any constant factor were tried",
        ),
        help="similarity / temperature, on unit embeddings   [changes the loss; retrain]",
    )


@check(P13, "the loss equals an independent recomputation", "batch")
def recomputation(x: Examination) -> Iterator[Finding]:
    reading = x.loss_reading
    if reading.match is not None and reading.match.variant in RIGHT:
        yield from _batch_value(x, reading, reading.match)
        return
    if reading.match is None and not reading.declares:
        reading.known()
    if not reading.temperatures:
        raise Unavailable(f"{reading.name} declares no temperature to recompute it with")
    temperature = reading.temperatures[0]
    expected = [supcon(rows, reading.codes, temperature) for rows in reading.fixtures]
    if not all(map(math.isfinite, expected)):
        raise Unavailable("no anchor of the first batch has a positive")
    slip = (
        f"its values are those of {VARIANTS[reading.match.variant]}"
        if reading.match is not None
        else "no constant factor relates the two, so it is not SupCon with another scale"
    )
    yield P13.broken(
        "error",
        f"{reading.name} does not compute SupCon at its temperature {temperature:g}",
        where=f"{reading.name}, on {len(expected)} batches of known unit embeddings and the labels "
        "of the first batch",
        evidence=(
            *(
                f"loss {value:.6g}; formula in float64 {reference:.6g}"
                for value, reference in zip(reading.fixture_values, expected, strict=True)
            ),
            slip,
        ),
        ruled_out=(
            "the embeddings: these are unit vectors",
            "half of a scale: L_out, L_in and any constant factor were tried",
        ),
        help="compare with quadlib.SupConLoss, or use it   [changes the loss; retrain]",
    )


def _batch_value(x: Examination, reading: LossReading, match: Match) -> Iterator[Finding]:
    """The batch itself, where its rows are what the formula expects."""
    rows = reading.rows.double()
    if not torch.isfinite(rows).all():
        raise Unavailable("the embeddings are not finite")
    if not normalises(reading, reading.rows) and bool(
        ((rows.norm(dim=1) - 1).abs() > x.limits.unit_norm).any()
    ):
        return  # judged by the contract of the norm
    expected = match.scale * supcon(
        nn.functional.normalize(rows, dim=1), reading.codes, match.temperature, match.variant
    )
    value = reading.value(reading.rows)
    room = max(1.0, abs(expected)) * (5 * x.limits.same_loss if rows.shape[0] else 0.0)
    if math.isfinite(expected) and not abs(value - expected) <= room:
        yield P13.broken(
            "error",
            f"the loss of the first batch is {value:.6g}, its formula gives {expected:.6g}",
            where=reading.name,
            evidence=(
                f"on known embeddings the two agree, times {match.scale:.4g}; on the batch they "
                f"differ by {value - expected:.3g}",
            ),
            help="compute the loss of one batch in float64   [changes nothing]",
        )

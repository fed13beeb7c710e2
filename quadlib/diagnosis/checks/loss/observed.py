"""The loss of a watched loop: what it compares, at which temperature, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

from quadlib.diagnosis.checks.loss.contracts import P01, P02, P03, P06, P10, P13, P16
from quadlib.diagnosis.checks.loss.watched_contracts import P20, P21, P22, P23
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.loss_kind import loss_kind
from quadlib.diagnosis.evidence.observed.passes import passes, traced
from quadlib.diagnosis.evidence.observed.roles import owners, roles
from quadlib.diagnosis.evidence.observed.rows import compared, measured_scale, spreads, unit
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.graph import Comparison
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

COLDEST = 110  # 1 / temperature; CLIP's learned one is clamped at 100
LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.LayerNorm)
COLLAPSED = 0.02  # standard deviation of cosines; spread rows have 1 / sqrt(dimension)


def _softmax(record: Record) -> Comparison:
    comparison = compared(record)[0]
    if comparison.by != "product" or not comparison.softmax:
        raise Unavailable("no softmax over similarities stands in the loss")
    return comparison


@check(P01, "the rows in front of the watched softmax have unit norm", phase="observed")
def not_unit(x: Examination) -> Iterator[Finding]:
    first = _softmax(x.record)
    # rows that a queue takes in are compared in a later pass than the first
    alike = [c for c in compared(x.record) if c.by == "product" and c.softmax]
    c = next((c for c in alike if not unit(c)), first)
    low, high = c.norms
    if unit(c) or abs(c.scale) < 1.5 or not math.isfinite(high):
        return
    if _wrong_axis(c.left) is not None:
        return
    logits = c.left @ c.right.T * c.scale
    yield P01.broken(
        "error",
        "the rows that the loss compares are not normalised",
        f"{len(c.left)} rows in front of the softmax",
        (
            f"norms {low:.4g} to {high:.4g}; of normalised rows all are equal",
            f"similarities times {c.scale:.4g} = logits from {float(logits.min()):.4g} to "
            f"{float(logits.max()):.4g}; of unit rows they lie within +-{abs(c.scale):.4g}",
        ),
        "F.normalize(embeddings, dim=-1) in front of the loss",
        ruled_out=("the temperature: it is meant for cosines",),
        explains=("a loss that is huge, or not finite; a softmax that sees one negative",),
    )


@check(P02, "the watched rows are normalised over their features", phase="observed")
def wrong_axis(x: Examination) -> Iterator[Finding]:
    c = _softmax(x.record)
    axis = None if unit(c) else _wrong_axis(c.left)
    if axis is None:
        return
    yield P02.broken(
        "error",
        f"the embeddings are normalised over {axis} instead of the features",
        f"{tuple(c.left.shape)} rows in front of the softmax",
        (
            f"norms over {axis} are 1 for every feature; those of the rows are "
            f"{c.norms[0]:.4g} to {c.norms[1]:.4g}",
        ),
        "F.normalize(embeddings, dim=-1)",
        ruled_out=("a missing normalisation: one took place",),
    )


def _wrong_axis(rows: torch.Tensor) -> str | None:
    n = len(rows)
    if n > 2 and torch.allclose(rows.norm(dim=0), torch.ones(rows.shape[1]), atol=1e-3):
        return "the batch"
    if n % 2 == 0 and n > 2:
        for a, b in ((rows[: n // 2], rows[n // 2 :]), (rows[::2], rows[1::2])):
            if torch.allclose(a.square() + b.square(), torch.ones_like(a), atol=1e-3):
                return "the two views"
    return None


@check(P03, "the watched temperature lets cosines speak", phase="observed")
def temperature(x: Examination) -> Iterator[Finding]:
    c = _softmax(x.record)
    if not unit(c) or (c.targets is None and c.mask is None and loss_kind(x.record).name[0] == "a"):
        raise Unavailable("the factor in front of the softmax is not that of cosines")
    scale, m = measured_scale(c), max(len(c.right) - 1, 1)
    if scale == 0:
        raise Unavailable("the compared rows do not differ, so that no scale shows")
    learned = [
        name
        for name, p in x.record.parameters.items()
        if p.numel() == 1 and 1.5 < scale < 6 and math.isclose(p.item(), scale, rel_tol=0.02)
    ]
    if 1.01 < scale < COLDEST and not learned:
        return
    floor = math.log1p(m * math.exp(-2 * scale))
    evidence = [f"similarities enter the softmax times {scale:.4g} (temperature {1 / scale:.4g})"]
    if scale <= 1.01 or learned:
        title = "the softmax sees bare cosines: the scale (1 / temperature) is missing"
        evidence.append(
            f"with {m} negatives the loss lies between ln(1 + {m} e^(-2 s)) = {floor:.3f} and "
            f"its plateau ln {m + 1} = {math.log(m + 1):.3f}"
        )
        if (outside := loss_kind(x.record).factor) > 1:
            evidence.append(
                f"the loss is {outside:.4g} times what it is of these similarities: the "
                "temperature divides the loss in their place"
            )
        if learned:
            title = f"the scale is {learned[0]} itself, not its exponential"
            evidence.append(f"exp({scale:.4g}) = {math.exp(scale):.4g} would be a usual scale")
    else:
        title = f"the temperature is {1 / scale:.2g}: the softmax sees one negative alone"
        evidence.append(
            f"two cosines that differ by 0.1 have odds of e^{0.1 * scale:.0f}; usual is 0.05 to 0.5"
        )
    yield P03.broken(
        "warning",
        title,
        "between the similarities and the softmax",
        tuple(evidence),
        "divide the cosines by a temperature of 0.05 to 0.5 (a scale of 2 to 20)",
        ruled_out=("the rows: they have unit norm", "the learning rate"),
    )


@check(P06, "the watched loss has the sign of a loss", phase="observed")
def wrong_sign(x: Examination) -> Iterator[Finding]:
    kind = loss_kind(x.record)
    if kind.factor >= 0:
        return
    yield P06.broken(
        "error",
        f"the loss is {kind.name} with the wrong sign",
        "the value of the first watched pass",
        (
            f"{x.record.losses[0]:.5f} = -({kind.name} of the compared rows)",
            "log-odds are at most 0, so their negative mean is at least 0",
        ),
        "return the negative mean of the log-odds of the positives",
        ruled_out=("the data", "the temperature: the formula holds with the one in the graph"),
    )


@check(P16, "the watched loss gives gradients", phase="observed")
def no_gradient(x: Examination) -> Iterator[Finding]:
    seen_norms = [
        [n for n in item.gradients.values() if n is not None] for item in passes(x.record)
    ]
    if len(seen_norms) < 2 or not all(all(n == 0 for n in norms) for norms in seen_norms):
        return
    if not any(seen_norms):
        yield P16.broken(
            "error",
            "no parameter gets a gradient",
            "all watched backward passes",
            (
                f"{len(seen_norms)} passes reached no parameter that the models or optimisers "
                f"hold; losses {x.record.losses[0]:.5g} to {x.record.losses[-1]:.5g}",
            ),
            "look between the model and the loss for what cuts the graph: torch.no_grad(), "
            "detach(), .data, .item(), .numpy(), torch.tensor(of another one); a "
            "requires_grad_() on the loss hides the error that PyTorch would raise",
            ruled_out=("the optimiser: there is nothing to follow", "a margin: no path leads back"),
        )
        return
    yield P16.broken(
        "error",
        "every gradient is 0",
        "all watched backward passes",
        (
            f"{len(seen_norms)} passes, {sum(map(len, seen_norms))} gradients, all exactly 0; "
            f"losses {x.record.losses[0]:.5g} to {x.record.losses[-1]:.5g}",
        ),
        "look for a margin or a mining that leaves no pair, a rounding, or a clamp at its bound",
        ruled_out=("the optimiser: there is nothing to follow",),
    )


@check(P10, "the rows of the watched loss stay apart", phase="observed")
def equal_rows(x: Examination) -> Iterator[Finding]:
    first, last = spreads(x.record)[0], spreads(x.record)[-1]
    if not last[1] < COLLAPSED or math.isnan(last[1]):
        return
    if first[1] >= 2 * COLLAPSED and last[0] > 0:
        return  # they were apart: what made them equal is the optimiser's contract
    c = compared(x.record)[0]
    if c.by == "outputs" or last[1] > 1e-3:
        return
    yield P10.broken(
        "warning",
        "the rows that the loss compares are all but equal from the first step on",
        f"{len(c.left)} compared rows",
        (f"deviation of their cosines: {first[1]:.1e} at first, {last[1]:.1e} at step {last[0]}",),
        "look at the first layer whose output varies little, and at a missing centring",
        symptom=True,
    )


@check(P20, "no row is its own positive", phase="observed")
def self_pairs(x: Examination) -> Iterator[Finding]:
    c = compared(x.record)[0]
    if c.mask is None or not c.same or len(c.mask) != len(c.left):
        raise Unavailable("no mask of positives was kept by the loss")
    share = float(c.mask.diagonal().float().mean())
    if share < 0.5:
        return
    yield P20.broken(
        "error",
        "every row is a positive of itself",
        f"the mask of positives, {len(c.mask)} x {len(c.mask)}",
        (
            f"{int(c.mask.diagonal().sum())} of {len(c.mask)} entries on its diagonal are 1",
            "the similarity of a row with itself is 1 whatever the model does: it fills the mean "
            "over positives with a constant, and stands in no denominator",
        ),
        "multiply the mask by 1 - eye(N) before it is counted and summed",
        ruled_out=("the labels: the diagonal is 1 for any labels",),
    )


@check(P21, "no row competes with itself in the softmax", phase="observed")
def self_in_softmax(x: Examination) -> Iterator[Finding]:
    c = _softmax(x.record)
    n = len(c.left)
    if not c.same or c.log_odds is None or c.log_odds.shape != (n, n) or c.targets is None:
        raise Unavailable("no square table of one set of rows enters a softmax with targets")
    own = c.log_odds.diagonal()
    ahead = float((own >= c.log_odds.amax(1) - 1e-6).float().mean())
    wanted = float((c.targets == torch.arange(n)).float().mean())
    competes, own_target = ahead >= 0.9 and wanted <= 0.1, wanted >= 0.9 and unit(c)
    if not competes and not own_target:
        return
    title = "a row's similarity with itself stands in its own softmax"
    if wanted >= 0.9:
        title = "every row's target is itself"
    yield P21.broken(
        "error",
        title,
        f"the softmax over {n} x {n} similarities of one set of rows",
        (
            f"the diagonal is the largest entry in {ahead:.0%} of the rows (cosine 1), and the "
            f"target in {wanted:.0%}",
        ),
        "set the diagonal to -inf before the softmax",
        ruled_out=("the views: a row is compared with the very same row",),
    )


@check(P22, "the targets of the watched softmax point at each row's own positive", phase="observed")
def one_target(x: Examination) -> Iterator[Finding]:
    c = _softmax(x.record)
    n, m = len(c.left), len(c.right)
    if c.targets is None or c.log_odds is None or c.log_odds.shape != (n, m) or n < 4:
        raise Unavailable("no table of similarities enters a softmax with targets")
    if n != m or len(c.targets.unique()) > 1:
        return
    yield P22.broken(
        "error",
        f"every row's target is column {int(c.targets[0])}",
        f"the targets of a softmax over {n} x {m} similarities",
        (
            "columns are the rows of the other side: one of them is drawn to all, the others are "
            "pushed away",
            "zeros are the targets where each row's positive was moved to the front column",
        ),
        "targets = torch.arange(N) where column i is the positive of row i",
    )


@check(P13, "the watched loss is told by name", phase="observed")
def kind_of_loss(x: Examination) -> Iterator[Finding]:
    kind = loss_kind(x.record)
    if not kind.name.endswith("inside"):
        return
    yield P13.broken(
        "note",
        f"the loss is {kind.name} the logarithm",
        "the value of the first watched pass",
        (f"{traced(x.record)[0].backward.loss:.5f} equals that formula on the compared rows",),
        "the mean outside the logarithm learned better (Khosla et al. 2020, section 4.1)",
    )


@check(P23, "a trainable temperature of the loss is one that moves", phase="observed")
def frozen_temperature(x: Examination) -> Iterator[Finding]:
    c = _softmax(x.record)
    part, owner = roles(x.record), owners(x.record)
    for name, p in x.record.parameters.items():
        layer = isinstance(x.record.modules.get(owner.get(name, "")), LAYERS)
        if p.numel() != 1 or name in part.gradient or not p.requires_grad or layer:
            continue
        if any(math.isclose(f(p.item()), c.scale, rel_tol=0.02) for f in (math.exp, float)):
            yield P23.broken(
                "warning",
                f"{name} scales the similarities and receives no gradient",
                name,
                (f"{p.item():.4g} gives the scale {c.scale:.4g}; its gradient is None",),
                "use the parameter itself, not .item() or .data of it",
            )

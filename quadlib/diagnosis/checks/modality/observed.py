"""The streams and views of a watched loop: each is used, each is its own, each in its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch

from quadlib.diagnosis.checks.modality.contracts import M04, M07, M10, M20, M21
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.attraction import is_misled
from quadlib.diagnosis.evidence.observed.passes import inputs, leaf_values, traced
from quadlib.diagnosis.evidence.observed.rows import compared, cosines, output_order, partners
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

COPIES = 1e-6


@check(M20, "every stream that a batch brings reaches the loss", phase="observed")
def unused_streams(x: Examination) -> Iterator[Finding]:
    first = traced(x.record)[0].backward
    used = inputs(x.record)
    if not used:
        raise Unavailable("no input of a batch was followed to the loss")
    calls = [call for item in traced(x.record) for call in item.calls]
    for mark, pairs in leaf_values(x.record).items():
        leaf, value = pairs[0]
        if (
            len(leaf.shape) < 2
            or len(value) < 2
            or any(
                mark in (item.backward.reaches or ()) or mark in item.backward.hidden
                for item in traced(x.record)
            )
        ):
            continue
        taken = [call.module for call in calls if mark in call.inputs.values()]
        twins = [m for m, values in used.items() if values[0].shape == value.shape]
        mask = leaf.shape[1:] and _is_mask(value)
        if not leaf.is_float and not (mask and twins):
            continue
        if taken:
            how = f"{taken[0]} is called with it, and nothing that it computes reaches the loss"
        elif twins:
            how = f"no operation reads it, while batch{twins[0]} of the same shape is used"
            how += "; a mask of padding" if mask else ""
        else:
            how = "no operation reads it"
        if mark in first.touched and not taken:
            how = "it is read, and nothing computed from it reaches the loss"
        yield M20.broken(
            "warning" if taken or twins or mark in first.touched else "note",
            f"batch{mark} reaches no loss",
            f"batch{mark}, {leaf.dtype} {tuple(leaf.shape)}",
            (
                how,
                f"followed through {len(traced(x.record))} passes; what does reach the loss: "
                f"batch{', batch'.join(sorted(used))}",
            ),
            f"use batch{mark} where it was meant to be, or do not load it",
            ruled_out=("the data: the stream is there and varies",),
            scope=mark,
        )


def _is_mask(value: torch.Tensor) -> bool:
    """Zeros and ones, of both kinds: what says where padding is."""
    if value.dtype.is_floating_point:
        return False
    return set(value.unique().tolist()) == {0, 1}


@check(M10, "no stream of a watched batch is a copy of another", phase="observed")
def copied_streams(x: Examination) -> Iterator[Finding]:
    for (a, one), (b, two) in combinations(inputs(x.record).items(), 2):
        if one[0].shape != two[0].shape or not one[0].is_floating_point():
            continue
        if len(one) != len(two) or not all(map(torch.equal, one, two)):
            continue
        if bool((one[0] == one[0].flatten()[0]).all()):
            continue
        yield M10.broken(
            "warning",
            f"batch{b} is a copy of batch{a}",
            "the streams of a batch, as the loader gives them",
            (f"equal in all {one[0].numel()} values of each of {len(one)} batches",),
            f"look at where batch{b} is read or augmented; two views need two random draws",
            ruled_out=("the model: the copy is in the batch",),
            explains=("views that the loss tells apart by nothing",),
        )


@check(M04, "every stream varies from row to row in the watched batches", phase="observed")
def constant_streams(x: Examination) -> Iterator[Finding]:
    for mark, values in inputs(x.record).items():
        rows = [v for v in values if len(v) > 2 and v.is_floating_point()]
        if not rows or not all(bool((v == v[:1]).all()) for v in rows):
            continue
        single = bool((rows[0] == rows[0].flatten()[0]).all())
        level = f"{float(rows[0].flatten()[0]):.4g} everywhere" if single else "one content"
        yield M04.broken(
            "error",
            f"batch{mark} is the same in every row",
            f"batch{mark}, as the loader gives it",
            (f"{level} in all {sum(map(len, rows))} rows of {len(rows)} batches",),
            "look at how it is read: a missing file may have become zeros",
            ruled_out=("the model: the input itself does not vary",),
            scope=mark,
        )


@check(M21, "two views that are compared are not the same, value for value", phase="observed")
def identical_views(x: Examination) -> Iterator[Finding]:
    pairs: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    for comparison in compared(x.record):
        n = len(comparison.left)
        left, right = comparison.left, comparison.right
        if comparison.same or comparison.left is comparison.right:
            if n % 2 or n < 8:
                return
            pairs = (left[: n // 2], left[n // 2 :]), (left[::2], left[1::2])
        else:
            pairs = ((left, right),)
        if not any(a.shape == b.shape and _equal(a, b) for a, b in pairs):
            return
        if _equal(left, left[:1].expand_as(left)):
            return  # all rows are equal: a collapse, told elsewhere
    yield M21.broken(
        "error",
        "the two views that the loss compares are the same rows, value for value",
        f"{n} compared rows" + (f", from {comparison.source[0][0]}" if comparison.source else ""),
        (
            f"largest difference between the views of a row: below {COPIES:g}, in each of "
            f"{len(compared(x.record))} traced passes",
            "the pull of a row to itself has no gradient: nothing is learned from the positives",
        ),
        "make two random draws of the augmentation, and hand each to the model",
        ruled_out=("the model: given equal inputs it cannot but give equal rows",),
        explains=("a loss that falls at once and features that are no better than at the start",),
    )


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().amax() <= COPIES * a.abs().amax().clamp_min(1e-12))


@check(M07, "a row's positive is its own other view", phase="observed")
def mixed_views(x: Examination) -> Iterator[Finding]:
    comparison = compared(x.record)[0]
    item = next(item for item in traced(x.record) if item.backward.comparison is comparison)
    own = partners(comparison, output_order(item))
    if comparison.targets is not None and len(comparison.targets.unique()) == 1:
        raise Unavailable("all targets are one column, which is judged by itself")
    if own is None:
        raise Unavailable("no view of a row is more like it than chance would have it")
    if comparison.targets is not None and is_misled(x.record):
        raise Unavailable("the targets are judged by themselves")
    n = len(own)
    place = torch.arange(n)
    partner = torch.as_tensor(own)
    if comparison.mask is not None and len(comparison.mask) == n:
        hit = float(comparison.mask[place, partner].float().mean())
        what = "mask of positives"
    elif (
        comparison.targets is not None
        and comparison.log_odds is not None
        and (comparison.log_odds.shape == (n, n) and len(comparison.targets) == n)
    ):
        hit = float((comparison.targets == partner).float().mean())
        what = "targets"
    else:
        raise Unavailable("neither targets nor a mask of positives was kept by the loss")
    if hit > 0.6:
        return
    table = cosines(comparison)
    yield M07.broken(
        "error",
        "the loss pulls a row to another sample than its own",
        f"the {what} of {n} compared rows",
        (
            f"the {what} name{'s' if what.startswith('mask') else ''} a row's own other view in "
            f"{hit:.0%} of the rows",
            f"cosine of a row with its own view {float(table[place, partner].mean()):.3f}, with "
            f"any {float(table.mean()):.3f}: which rows belong together is plain from the rows",
        ),
        "stack views and repeat labels in one order: torch.stack(views, 1), or cat(views) with "
        "labels.repeat(V); of a square table of logits the targets are arange(N)",
        ruled_out=("the augmentation: the views of a row are alike",),
    )

"""The parts of the models in a watched loop: each is trained, moved, and passes variation on."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

from quadlib.diagnosis.checks.evaluation.contracts import E03
from quadlib.diagnosis.checks.model.contracts import N01, N02, N03, N04, N06, N20, N21
from quadlib.diagnosis.checks.optimiser.contracts import O04
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import passes, traced
from quadlib.diagnosis.evidence.observed.roles import owners, parts, roles, steps
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import SetMode
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

DEAD = 1e-10  # variance over the batch relative to the mean square; float32 rounding gives 1e-14
FREEZING = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


@check(N02, "every parameter that receives gradient in the watched steps moves", phase="observed")
def in_no_optimiser(x: Examination) -> Iterator[Finding]:
    part = roles(x.record)
    steps(x.record)
    if not part.held & part.gradient:
        return  # the optimiser holds none of them: another contract
    waiting = part.gradient & part.waiting - part.held
    lost = part.gradient - part.held - part.waiting
    moved = {n for n, (first, last) in x.record.digests.items() if first != last}
    lost -= moved
    if lost:
        tops = sorted({name.rsplit(".", 2)[0] for name in lost})
        yield N02.broken(
            "error",
            f"{len(lost)} trainable tensors receive gradient and are in no optimiser",
            parts(lost),
            (
                f"{len(part.gradient)} tensors receive gradient, {len(part.held)} are in the "
                f"optimiser{'s' if len(x.record.optimisers) > 1 else ''} that stepped",
                f"after {len(steps(x.record))} steps these are bit for bit what they were: "
                f"{', '.join(tops[:4])}",
            ),
            "give their parameters to the optimiser, those of the loss (proxies, temperature) too",
            ruled_out=("a frozen part: requires_grad is True", "a detached part: gradient arrives"),
            scope=tops[0] if len(tops) == 1 else "",
        )
    if waiting and len(steps(x.record)) >= 6:
        yield O04.broken(
            "warning",
            f"an optimiser of {len(waiting)} tensors never steps",
            parts(waiting),
            (
                f"it holds tensors that receive gradient; {len(steps(x.record))} steps were taken, "
                "none by it",
            ),
            "call its step() too, after backward()",
            ruled_out=("the gradient: it arrives",),
        )


@check(N03, "gradient arrives at whatever takes part in the watched loss", phase="observed")
def cut_off(x: Examination) -> Iterator[Finding]:
    part = roles(x.record)
    if not part.gradient:
        raise Unavailable("no parameter receives gradient")
    owner = owners(x.record)
    through = {name for item in traced(x.record) for name in item.backward.through}
    cut = {n for n in part.silent | part.quiet if owner.get(n) in through}
    teachers = {n for n in cut & part.quiet if n not in part.held}
    lazy = {n for n in cut - teachers if _zero_everywhere(x, n)}
    cut -= teachers | lazy
    cut = {n for n in cut if n in part.held or n in part.waiting or n in part.silent}
    if cut:
        without = "they are called under no_grad" if cut <= part.quiet else "grad is None"
        yield N03.broken(
            "error",
            f"{len(cut)} trainable tensors feed the loss and receive no gradient",
            parts(cut),
            (
                f"in {len(passes(x.record))} passes {without}, although their module's output "
                "reaches the loss",
                f"{len(part.gradient)} other tensors do receive gradient",
            ),
            "take the detach(), no_grad() or .data out of the way, or set requires_grad to False "
            "if this part is meant to stay as it is",
            ruled_out=("the optimiser: without gradient it cannot move them",),
        )
    idle = {n for n in part.silent if owner.get(n) not in through and n in part.held}
    if idle:
        yield N03.broken(
            "note",
            f"{len(idle)} tensors in the optimiser take no part in the loss",
            parts(idle),
            ("their module was called, and nothing of its output reaches the loss",),
            "leave the part out of the optimiser if it is not needed",
        )


def _zero_everywhere(x: Examination, name: str) -> bool:
    """Whether gradients arrive and are 0, as behind a zero-initialised gate or dead units."""
    return all(item.gradients.get(name) == 0 for item in passes(x.record))


@check(N01, "frozen parts of the watched models are told", phase="observed")
def frozen(x: Examination) -> Iterator[Finding]:
    part = roles(x.record)
    total = sum(p.numel() for p in x.record.parameters.values())
    still = {n for n in part.frozen if owners(x.record).get(n)}
    count = sum(x.record.parameters[n].numel() for n in still)
    if not total or count < 0.5 * total:
        return
    yield N01.broken(
        "note",
        f"{count / total:.0%} of the weights are frozen (requires_grad is False)",
        parts(still),
        (f"{count} of {total} numbers in {len(still)} tensors",),
        "set requires_grad to True if they should learn; a linear probe or a teacher should not",
    )


@check(N04, "variation over the batch passes every layer of the watched models", phase="observed")
def constant_layer(x: Examination) -> Iterator[Finding]:
    for layer in traced(x.record)[0].backward.layers:
        if layer.entering > DEAD and layer.leaving <= DEAD and not math.isnan(layer.leaving):
            if layer.module not in traced(x.record)[0].backward.through and _weights(
                x, layer.module
            ):
                continue
            yield N04.broken(
                "error",
                f"{layer.module} gives the same output for every row",
                f"{layer.module} ({layer.kind}), the first such layer",
                (
                    "variance over the batch / mean square: "
                    f"{layer.entering:.2e} enters, {layer.leaving:.2e} leaves (rounding: {DEAD:g})",
                ),
                "look at its weights and what precedes it: zero weights, dead units, saturation",
                ruled_out=("the inputs: they vary as they enter this layer", "the learning rate"),
                explains=("all embeddings are equal before the first step",),
            )
            return


def _weights(x: Examination, module: str) -> bool:
    return next(x.record.modules[module].parameters(False), None) is not None


@check(E03, "the watched training steps run in training mode", phase="observed")
def evaluation_mode(x: Examination) -> Iterator[Finding]:
    part, owner = roles(x.record), owners(x.record)
    trained = {owner[n] for n in part.gradient if n in owner}
    frozen_layers, active = {}, set()
    for item in traced(x.record):
        for layer in item.backward.layers:
            module = x.record.modules[layer.module]
            if not isinstance(module, FREEZING) or not layer.gradient:
                continue
            if layer.training:
                active.add(layer.module)
            elif _among(layer.module, trained, module):
                frozen_layers[layer.module] = layer.kind
    if not frozen_layers:
        return
    kinds = sorted(set(frozen_layers.values()))
    whole = not active
    switches = [e for e in x.record.of(SetMode) if not e.training]
    when = "model.train() was not called in what was watched"
    if switches:
        when = f"put into evaluation mode: {switches[-1].module} at step {switches[-1].step}"
    yield E03.broken(
        "error" if whole else "note",
        f"{', '.join(kinds)} run in evaluation mode while they are trained",
        parts(set(frozen_layers)),
        (
            f"{len(frozen_layers)} such layers, {len(active)} in training mode, gradients enabled",
            when,
        ),
        "call model.train() before the training steps, after every evaluation too",
        ruled_out=("a frozen part: its weights receive gradient",),
    )


def _among(name: str, trained: set[str], module: nn.Module) -> bool:
    """Whether a layer stands among trained ones: its own weights, or its neighbours', learn."""
    if next(module.parameters(False), None) is not None:
        return name in trained
    home = name.rsplit(".", 1)[0]
    return any(other.startswith(home) for other in trained)


@check(N20, "a teacher or queue that no optimiser moves is moved by the loop", phase="observed")
def still_teacher(x: Examination) -> Iterator[Finding]:
    part, owner = roles(x.record), owners(x.record)
    if len(steps(x.record)) < 2:
        raise Unavailable("a single step was seen")
    students = {_shape_key(x, n) for n in part.gradient}
    through = {name for item in traced(x.record) for name in item.backward.through}
    called = {layer.module for item in traced(x.record) for layer in item.backward.layers}
    called |= {c.module for item in traced(x.record) for c in item.calls if not c.gradient}
    still: set[str] = set()
    moved: set[str] = set()
    for name in x.record.parameters:
        module = owner.get(name)
        driven = name in part.held and x.record.parameters[name].requires_grad
        if name in part.gradient or driven or module not in through | called:
            continue
        if _shape_key(x, name) not in students or module not in through:
            continue
        first, last = x.record.digests.get(name, (0, 1))
        (still if first == last else moved).add(name)
    matching = len(still) >= max(2, 0.5 * len(part.gradient))
    if not still or moved or not matching:
        return
    home = _home(still)
    if any(n.startswith(home) and _shape_key(x, n) not in students for n in x.record.parameters):
        return  # a frozen part of another build, some of whose tensors have a usual shape
    yield N20.broken(
        "warning",
        f"a second network of {len(still)} tensors, shaped like the trained one, never moves",
        parts(still),
        (
            f"bit for bit the same after {len(steps(x.record))} steps; its outputs reach the loss",
            "a momentum encoder follows the trained one a little in every step",
        ),
        "update it after every step: teacher = m * teacher + (1 - m) * student",
        ruled_out=("the optimiser: it is not meant to hold these",),
    )


def _home(names: set[str]) -> str:
    """What the names of parameters have in common, up to a whole module."""
    return os.path.commonprefix(sorted(names)).rpartition(".")[0]


def _shape_key(x: Examination, name: str) -> tuple[str, tuple[int, ...]]:
    return name.rsplit(".", 1)[-1], tuple(x.record.parameters[name].shape)


@check(N21, "a queue of earlier rows is refilled by the loop", phase="observed")
def still_queue(x: Examination) -> Iterator[Finding]:
    first = compared(x.record)[0]
    made = [item.backward.comparison for item in passes(x.record)]
    kept = [c.right for c in made if c is not None and c.right.shape == first.right.shape]
    if len(kept) < 2 or len(first.right) <= len(first.left) or first.same:
        return
    names = {
        name
        for name, (before, after) in x.record.digests.items()
        if name not in x.record.parameters and _numel(x, name) == first.right.numel()
    }
    still = {name for name in names if len(set(x.record.digests[name])) == 1}
    # in front of a queue stands each row's positive: fixed rows of classes have targets of classes
    front = first.targets is not None and len(first.targets.unique()) == 1
    moved = [(a != b).any(1) for a, b in pairwise(kept)]
    if not any(bool(part.any()) for part in moved) and (still or front):
        title = "never change"
        text = f"bit for bit the same after {len(steps(x.record))} steps"
    elif front and len(moved) > 1 and not moved[0].all() and _equal(moved):
        title = f"stay as they are but for {int(moved[0].sum())} of them"
        text = f"the same ones are replaced in each of {len(kept)} watched passes"
    else:
        return
    where = parts(still or names) if still or names else "the queue"
    yield N21.broken(
        "warning",
        f"the {len(first.right)} negatives in {where} {title}",
        where,
        (text,),
        "enqueue the keys of every batch, and advance the pointer",
        ruled_out=("the optimiser: a queue is no parameter",),
    )


def _equal(parts: list[torch.Tensor]) -> bool:
    return all(torch.equal(parts[0], part) for part in parts)


def _numel(x: Examination, name: str) -> int:
    module, _, buffer = name.rpartition(".")
    value = dict(x.record.modules[module].named_buffers(recurse=False)).get(buffer)
    return 0 if value is None else value.numel()


@check(N06, "no layer of the watched models has units of equal weights", phase="observed")
def equal_units(x: Examination) -> Iterator[Finding]:
    for name, module in x.record.modules.items():
        weight = getattr(module, "weight", None)
        if not isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) or not isinstance(
            weight, nn.Parameter
        ):
            continue
        rows = weight.detach().reshape(len(weight), -1)
        owner = [n for n, p in x.record.parameters.items() if p is weight]
        if len(rows) < 3 or rows.shape[1] < 2 or not set(owner) & roles(x.record).gradient:
            continue
        if not bool((rows - rows[:1]).abs().amax() <= 1e-6 * rows.abs().amax()):
            continue
        yield N06.broken(
            "error",
            f"all {len(rows)} units of {name} have the same weights",
            name,
            (f"rows of its weight equal to 1e-6 after {len(steps(x.record))} steps",),
            "start from random weights: equal units receive equal gradients for ever",
            ruled_out=("the data", "the optimiser"),
        )
        return

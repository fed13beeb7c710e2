"""Contracts of the wiring: gradient arrives wherever weights shape the loss, and every step moves
what it reaches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.model.contracts import N02, N03, N05
from quadlib.diagnosis.checks.model.parameters import declared_frozen, part_of, scope_of, trained
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.facts import model_of
from quadlib.diagnosis.evidence.trial import Probe
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.steps import replay
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(N02, "every trainable parameter that receives gradient is in the optimiser", "steps")
def not_in_optimiser(x: Examination) -> Iterator[Finding]:
    model, optimiser = model_of(x), x.subject.optimizer
    if optimiser is None:
        raise Unavailable("no optimiser")
    held = {id(p): p for group in optimiser.param_groups for p in group["params"]}
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    missing = {name: p for name, p in trainable.items() if id(p) not in held}
    if not missing or len(missing) == len(trainable) or declared_frozen(x)[0]:
        # none of the model's parameters in it: the optimiser belongs to another model, which is its
        # own fault
        return
    own = {id(p) for p in model.parameters()}
    strange = Counter(tuple(p.shape) for key, p in held.items() if key not in own)
    if Counter(tuple(p.shape) for p in missing.values()) <= strange:
        return  # it holds former parameters in their place: a stale optimiser
    probe = probe_or_none(x)
    if probe is not None:
        missing = {name: p for name, p in missing.items() if probe.gradients.get(name)}
    parts = list(dict.fromkeys(part_of(model, name) for name in missing))
    if not parts:
        return
    name = next(iter(missing))
    seen = (
        f"{name}: gradient norm {probe.gradients[name]:.3g}, change in one step "
        f"{probe.updates[name]:.3g}"
        if probe is not None
        else "gradients were not observed (no batch to step on)"
    )
    yield N02.broken(
        "error",
        f"{', '.join(parts)} {'is' if len(parts) == 1 else 'are'} not in the optimiser, so no "
        f"step changes {'it' if len(parts) == 1 else 'them'}",
        where=f"{len(missing)} of {len(trainable)} trainable parameters",
        scope=scope_of(x, parts[0]) if len(parts) == 1 else "",
        evidence=(
            f"{len(missing)} parameter objects with gradient are in none of the "
            f"{len(optimiser.param_groups)} groups, {len(trainable) - len(missing)} are",
            seen,
        ),
        ruled_out=(
            "frozen weights (requires_grad is True)",
            "a detached branch (gradient arrives)",
            "learning rate 0 (it has no group)",
            "a stale optimiser (it holds no former parameters of these shapes)",
        ),
        help=f"add it: optimizer.add_param_group({{'params': "
        f"model.get_submodule({parts[0]!r}).parameters()}}), or build the optimiser "
        "from model.parameters()   [changes what is trained; retrain]",
    )


@check(N03, "gradient arrives wherever a trainable weight changes the loss", "steps")
def detached(x: Examination) -> Iterator[Finding]:
    model, probe = model_of(x), x.probe
    if not any(probe.gradients.values()):
        raise Unavailable("no parameter received gradient in the observed step")
    held = (
        None
        if x.subject.optimizer is None
        else {id(p) for group in x.subject.optimizer.param_groups for p in group["params"]}
    )
    without = {
        name: p
        for name, p in model.named_parameters()
        if p.requires_grad and probe.gradients.get(name) is None and (held is None or id(p) in held)
    }
    branches: dict[str, list[str]] = {}
    for name in without:
        branches.setdefault(_largest_without(model, name, set(without)), []).append(name)
    for branch, names in branches.items():
        difference = _loss_change(x, [without[name] for name in names])
        if difference == 0:
            continue  # a head that the loss does not use has nothing to learn
        yield N03.broken(
            "error",
            f"{branch} is cut off from the loss: it shapes the loss, but no gradient comes back "
            "to it",
            where=f"{branch}, {len(names)} parameters",
            scope=scope_of(x, part_of(model, names[0])),
            evidence=(
                f"grad is None for {len(names)} parameters with requires_grad=True, for example "
                f"{names[0]}; {sum(value is not None for value in probe.gradients.values())} "
                "others received gradient",
                f"moving these weights changes the loss by {difference:.3g}; with a gradient of "
                "None, 0 is expected",
            ),
            ruled_out=(
                "frozen weights (requires_grad is True)",
                "the optimiser",
                "an unused head (the loss depends on it)",
            ),
            help="remove .detach(), .data, torch.no_grad() or a trip through numpy between "
            f"{branch} and the loss "
            "  [changes the model; retrain]",
        )


@check(N05, "batch normalisation learns the data's statistics in training", "steps")
def batch_norm(x: Examination) -> Iterator[Finding]:
    norms = _trainable_norms(model_of(x))
    if not norms or declared_frozen(x)[0] or x.subject.setting(*conventions.FREEZE_NORM):
        return
    untouched = [name for name, norm in norms.items() if _batches_seen(norm) == 0]
    if untouched and trained(x):
        yield _statistics_kept(
            untouched,
            f"{len(untouched)} batch norms never saw a training batch, so evaluation uses mean 0 "
            "and variance 1",
            f"{untouched[0]}: num_batches_tracked 0 after training steps were taken",
        )
        return
    step = _norms_in_a_step(x, norms)
    still = [name for name, kept in step.kept.items() if kept]
    if still:
        yield _statistics_kept(
            still,
            f"{len(still)} of {len(norms)} batch norms keep their running statistics through a "
            "training step",
            f"{still[0]}: running mean and variance equal bit for bit before and after, "
            + (
                f"momentum {norms[still[0]].momentum}"
                if step.training[still[0]]
                else "in evaluation mode inside the step, though model.train() was called before it"
            ),
        )
    tiny = {
        name: size
        for name, size in step.sizes.items()
        if name not in still and size <= x.limits.norm_values
    }
    if tiny:
        yield _tiny_batches(tiny)


@dataclass(frozen=True)
class NormStep:
    """Batch norms in one training step, by name: values a channel that each normalised over,
    whether its statistics stayed what they were, and its mode after the step.
    """

    sizes: dict[str, int]
    kept: dict[str, bool]
    training: dict[str, bool]


def _norms_in_a_step(x: Examination, norms: Mapping[str, Any]) -> NormStep:
    before = {
        name: (norm.running_mean.clone(), norm.running_var.clone()) for name, norm in norms.items()
    }
    sizes: dict[str, int] = {}
    handles = [
        norm.register_forward_pre_hook(
            lambda module, inputs, name=name: sizes.__setitem__(name, inputs[0][:, :1].numel())
        )
        for name, norm in norms.items()
    ]
    try:
        model_of(x).train()
        replay(x.subject, x.batches[0], x.trajectory.names, evaluation=False)
        kept = {
            name: torch.equal(norms[name].running_mean, before[name][0])
            and torch.equal(norms[name].running_var, before[name][1])
            for name in norms
            if name in sizes
        }
        return NormStep(sizes, kept, {name: norm.training for name, norm in norms.items()})
    finally:
        for handle in handles:
            handle.remove()
        x.restore()


def _trainable_norms(model: nn.Module) -> dict[str, Any]:
    """Batch norms that keep running statistics and are not frozen."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.running_mean is not None
        and (module.weight is None or module.weight.requires_grad)
    }


def _batches_seen(norm: Any) -> int | None:
    """How many training batches a batch norm has counted; None where it does not count."""
    return None if norm.num_batches_tracked is None else int(norm.num_batches_tracked)


def _statistics_kept(names: list[str], title: str, evidence: str) -> Finding:
    return N05.broken(
        "error",
        title,
        where=", ".join(names[:4]),
        evidence=(evidence, "a training step moves them by momentum x difference"),
        ruled_out=(
            "frozen batch norms (their weights are trainable)",
            "an evaluation that forgot model.train() (it was called here)",
        ),
        help="leave batch norms in training mode inside the step; to freeze them on purpose, set "
        "requires_grad_(False) on them too   [changes training; retrain]",
    )


def _tiny_batches(sizes: dict[str, int]) -> Finding:
    name, size = next(iter(sizes.items()))
    return N05.broken(
        "warning",
        f"{len(sizes)} batch norms normalise over {size} values, which leaves a sign at most",
        where=name,
        evidence=(f"{name}: {size} values a channel in a batch",),
        help="use GroupNorm or LayerNorm, or a larger batch   [changes the model; retrain]",
    )


def probe_or_none(x: Examination) -> Probe | None:
    """The observed training step, or None where none can be taken."""
    try:
        return x.probe
    except Unavailable:
        return None


def _largest_without(model: nn.Module, name: str, without: set[str]) -> str:
    """The outermost module around a parameter of which no trainable parameter received gradient,
    else the parameter.
    """
    pieces = name.split(".")
    for depth in range(1, len(pieces)):
        prefix = ".".join(pieces[:depth])
        if all(
            own in without
            for own, p in model.named_parameters()
            if own.startswith(prefix + ".") and p.requires_grad
        ):
            return prefix
    return name


def _loss_change(x: Examination, parameters: Iterable[nn.Parameter]) -> float:
    """How much the loss of the first batch changes when these parameters are moved at random."""
    generator, batch = torch.Generator().manual_seed(0), x.batches[0]
    before = x.replay(batch, evaluation=False).loss
    with torch.no_grad():
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator).to(
                parameter.device, parameter.dtype
            )
            parameter.add_(
                noise * (parameter.std() if parameter.numel() > 1 else 0.0) + 0.1 * noise
            )
    after = x.replay(batch, evaluation=False).loss
    return abs(after - before) if abs(after - before) > 1e-6 * max(abs(before), 1e-6) else 0.0

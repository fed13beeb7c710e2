"""Which modules and parameters take part in training, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.passes import passes, traced
from quadlib.diagnosis.observe.record import LayerCall, ModuleCall, OptimiserStep, Record
from quadlib.diagnosis.subject import Unavailable


@dataclass(frozen=True)
class Roles:
    """Names of parameters. held: in an optimiser that stepped, then or now. waiting: in a living
    one that never did. gradient: received one in some pass. silent: trainable, of a module that was
    called with gradients enabled, and without gradient in every pass. quiet: trainable, of modules
    that were called under no_grad alone. frozen: not trainable.
    """

    held: frozenset[str]
    waiting: frozenset[str]
    gradient: frozenset[str]
    silent: frozenset[str]
    quiet: frozenset[str]
    frozen: frozenset[str]


@fact
def roles(record: Record) -> Roles:
    """The parts that every parameter plays."""
    names = {id(parameter): name for name, parameter in record.parameters.items()}

    def inside(optimisers: list[Any]) -> frozenset[str]:
        return frozenset(
            names[id(p)]
            for item in optimisers
            for group in item.param_groups
            for p in group["params"]
            if id(p) in names
        )

    gradient = {n for item in passes(record) for n, norm in item.gradients.items() if norm}
    with_gradient, without = _called(record)
    owner = owners(record)
    trainable = {n for n, p in record.parameters.items() if p.requires_grad}
    silent = {n for n in trainable - gradient if owner.get(n) in with_gradient}
    quiet = {n for n in trainable - gradient - silent if owner.get(n) in without}
    stepped = {name for event in record.of(OptimiserStep) for name in event.parameters}
    return Roles(
        inside(record.optimisers) | stepped,
        inside(record.idle),
        frozenset(gradient),
        frozenset(silent),
        frozenset(quiet),
        frozenset(set(record.parameters) - trainable),
    )


def owners(record: Record) -> dict[str, str]:
    """Parameter -> the module that holds it directly."""
    names = {id(parameter): name for name, parameter in record.parameters.items()}
    return {
        names[id(parameter)]: name
        for name, module in record.modules.items()
        for parameter in module.parameters(recurse=False)
        if id(parameter) in names
    }


def _called(record: Record) -> tuple[set[str], set[str]]:
    """Modules called with gradients enabled, and under no_grad, in a traced pass."""
    seen_calls: list[LayerCall | ModuleCall] = []
    for item in traced(record):
        seen_calls += [*item.backward.layers, *item.calls]
    calls = [(call.module, call.gradient) for call in seen_calls]
    through = {name for item in traced(record) for name in item.backward.through}
    with_gradient = {module for module, gradient in calls if gradient}
    without = {module for module, gradient in calls if not gradient} - with_gradient
    return with_gradient | (through - without), without


def parts(names: frozenset[str] | set[str], most: int = 3) -> str:
    """A few parameters by name, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


@fact
def steps(record: Record) -> list[OptimiserStep]:
    """The optimiser steps; raises Unavailable where there was none."""
    taken = list(record.of(OptimiserStep))
    if not taken:
        raise Unavailable("no optimiser step was seen")
    return taken

"""The labels that a loss of single pairs (sigmoid, logistic) gives to each pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.nodes import kept, passing, plain

GATES = ("LogSigmoid", "Softplus")
WITH_TARGETS = "BinaryCrossEntropyWithLogits"
CHOOSING = ("Mul", "Index", "MaskedSelect", "Where", "MaskedFill", "Div")


@dataclass(frozen=True)
class Pairs:
    """labels: (n, m), by what a logistic function's argument is multiplied (1 and -1 as a rule), or
    where `targets` is true what a binary cross-entropy was given (1 and 0).
    """

    labels: Tensor = field(repr=False)
    targets: bool = False


def read_pairs(nodes: list[Any], parents: Mapping[Any, list[Any]]) -> Pairs | None:
    """The labels of single pairs; None where no such loss is among these nodes, or where some of
    its pairs are left out later.
    """
    for node in nodes:
        if plain(node) == WITH_TARGETS:
            targets = kept(node, "_saved_target")
            if isinstance(targets, Tensor) and targets.ndim == 2:
                return Pairs(_copy(targets), targets=True)
        if plain(node) in GATES and not _chosen_from(node, parents):
            factor = _factor_in_front(node)
            if factor is not None:
                return Pairs(factor)
    return None


def _factor_in_front(gate: Any) -> Tensor | None:
    """The matrices without gradient that the gate's argument was multiplied by."""
    factor: Tensor | None = None
    node = gate.next_functions[0][0]
    while node is not None and (plain(node) == "Mul" or passing(node)):
        following = node.next_functions[0][0]
        if plain(node) == "Mul":
            constant = _constant_side(node)
            if constant is None:
                return factor
            following = next((child for child, _ in node.next_functions if child), None)
            if constant.ndim == 2 and constant.numel() > 1:
                factor = _copy(constant) if factor is None else factor * _copy(constant)
        node = following
    return factor


def _constant_side(node: Any) -> Tensor | None:
    """The one side of a multiplication that needs no gradient."""
    sides = [child for child, _ in node.next_functions]
    if len(sides) != 2 or sum(side is None for side in sides) != 1:
        return None
    value = kept(node, "_saved_self" if sides[0] is None else "_saved_other")
    return value if isinstance(value, Tensor) else None


def _chosen_from(node: Any, parents: Mapping[Any, list[Any]]) -> bool:
    """Whether some of the gate's values are weighted or left out on their way to the loss."""
    while parents.get(node):
        node = parents[node][0]
        if plain(node) in CHOOSING and not _scalar(node):
            return True
    return False


def _scalar(node: Any) -> bool:
    values = [kept(node, attribute) for attribute in ("_saved_other", "_saved_self")]
    return any(isinstance(value, Tensor) and value.numel() == 1 for value in values)


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32, copy=True)

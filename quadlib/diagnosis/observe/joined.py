"""What a cross-entropy is asked: its targets, and logits that are joined from each row's own pair
and its negatives, read off the loss's graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from quadlib.diagnosis.observe.loss_events import ClassTargets, JoinedLogits
from quadlib.diagnosis.observe.nodes import kept, passing, plain

FEWEST_OTHERS = 4


def read_joined(step: int, nodes: list[Any]) -> Iterator[JoinedLogits]:
    """The cross-entropies whose logits (n, 1 + m) join one column, (n, 1), to others."""
    for node in nodes:
        targets = kept(node, "_saved_target") if plain(node) == "NllLoss" else None
        if not isinstance(targets, Tensor):
            continue
        inside, _ = _past_factors(_first(node))
        if inside is None or plain(inside) != "LogSoftmax":
            continue
        joined, _ = _past_factors(_first(inside))
        if joined is None or plain(joined) != "Cat":
            continue
        parts = [(fn, _width(fn, place)) for fn, place in joined.next_functions]
        if len(parts) != 2 or sorted(w > 1 for _, w in parts) != [False, True]:
            continue
        own = 0 if parts[0][1] == 1 else 1
        others = parts[1 - own][1]
        if parts[own][1] == 1 and others >= FEWEST_OTHERS:
            factors = [_past_factors(part)[1] for part, _ in parts]
            column = 0 if own == 0 else others
            share = float((targets == column).float().mean())
            yield JoinedLogits(step, column, others + 1, share, factors[own], factors[1 - own])


def read_targets(step: int, nodes: list[Any]) -> Iterator[ClassTargets]:
    """The classes that the cross-entropies of a loss are given."""
    for node in nodes:
        targets = kept(node, "_saved_target") if plain(node) == "NllLoss" else None
        if isinstance(targets, Tensor) and targets.ndim == 1:
            ignored = targets == kept(node, "_saved_ignore_index")
            yield ClassTargets(step, targets.detach().masked_fill(ignored, -1).cpu())


def _first(node: Any) -> Any:
    return node.next_functions[0][0] if node.next_functions else None


def _past_factors(node: Any) -> tuple[Any, float]:
    """The node behind multiplications by one number and what leaves values in place; the number."""
    factor = 1.0
    while node is not None:
        value = _number(node)
        if value is not None:
            factor = factor * value if plain(node) == "Mul" else factor / value
        elif not passing(node) or plain(node) == "Neg":
            break
        node = _first(node)
    return node, factor


def _number(node: Any) -> float | None:
    """What a multiplication or a division by one number applies."""
    if plain(node) not in ("Mul", "Div"):
        return None
    value = kept(node, "_saved_other")
    single = isinstance(value, Tensor) and value.numel() == 1 and float(value) != 0
    return float(value) if single else None


def _width(node: Any, place: int) -> int:
    """Columns of what a node gives; 0 where it is no table, or needs no gradient."""
    shape = () if node is None else tuple(node._input_metadata[place].shape)
    return int(shape[1]) if len(shape) == 2 else 0

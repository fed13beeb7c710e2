"""Functions in a loss's graph whose derivative is infinite at the edge of what they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from quadlib.diagnosis.observe.loss_events import Singular
from quadlib.diagnosis.observe.nodes import kept, plain

# Node -> what it kept, and how far that is from the edge.
EDGES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "Sqrt": ("_saved_result", lambda value: value),
    "Rsqrt": ("_saved_result", lambda value: 1 / value),
    "Log": ("_saved_self", lambda value: value),
    "Acos": ("_saved_self", lambda value: 1 - value.abs()),
    "Asin": ("_saved_self", lambda value: 1 - value.abs()),
}


def read_singular(step: int, nodes: list[Any]) -> Iterator[Singular]:
    """How near each such function of a traced loss comes to the edge where its derivative is
    infinite; of those that can reach it.
    """
    for node in nodes:
        if plain(node) not in EDGES:
            continue
        attribute, distance = EDGES[plain(node)]
        value = kept(node, attribute)
        if isinstance(value, Tensor) and value.numel() and not _held_off(node):
            least = float(distance(value.detach().double()).min())
            yield Singular(step, plain(node).lower(), least, tuple(value.shape))


def _held_off(node: Any) -> bool:
    """Whether a clamp, or a constant that is added, stands directly in front."""
    before = node.next_functions[0][0] if node.next_functions else None
    if before is None:
        return False
    if plain(before).startswith("Clamp"):
        return True
    others = [n for n, _ in before.next_functions if n is not None]
    return plain(before) == "Add" and len(others) == 1

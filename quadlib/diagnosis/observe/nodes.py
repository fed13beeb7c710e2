"""The nodes of an autograd graph: what each is called and what it kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# Nodes that rearrange what passes through them and leave its values as they are.
REARRANGING = (
    "View", "UnsafeView", "Permute", "T", "Transpose", "Index", "Cat", "Squeeze", "Unsqueeze",
    "Slice", "Clone", "MaskedFill", "Where", "Select", "ToCopy", "Reshape", "Expand", "Sub", "Neg",
    "Sum",
)  # fmt: skip
MOST_NODES = 4000
IN_PLACE = ("View", "UnsafeView", "Clone", "ToCopy", "Reshape", "Neg")


def plain(node: Any) -> str:
    """The name of the operation, without what autograd appends."""
    return str(node.name()).rstrip("0123456789").removesuffix("Backward")


def passing(node: Any) -> bool:
    """Whether every value stays where it is, up to its sign."""
    return plain(node) in IN_PLACE


def kept(node: Any, attribute: str) -> Any:
    """A saved attribute; None where the node has none, or has released it."""
    try:
        return getattr(node, attribute)
    except (AttributeError, RuntimeError):
        return None


def nodes_behind(root: Any) -> Iterator[Any]:
    """The nodes from which a value was computed, itself first."""
    queue, known = [root], {root}
    while queue and len(known) < MOST_NODES:
        node = queue.pop()
        if node is None:
            continue
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in known:
                known.add(following)
                queue.append(following)

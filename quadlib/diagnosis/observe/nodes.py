"""The nodes of an autograd graph: what each is called and what it kept."""

from __future__ import annotations

from typing import Any

# Nodes that rearrange what passes through them and leave its values as they are.
REARRANGING = (
    "View", "UnsafeView", "Permute", "T", "Transpose", "Index", "Cat", "Squeeze", "Unsqueeze",
    "Slice", "Clone", "MaskedFill", "Where", "Select", "ToCopy", "Reshape", "Expand", "Sub", "Neg",
    "Sum",
)  # fmt: skip
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

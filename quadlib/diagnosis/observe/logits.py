"""What the softmax in front of a cross-entropy is given, read off the loss's graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from quadlib.diagnosis.observe.loss_events import OddLogits
from quadlib.diagnosis.observe.nodes import kept, passing, plain

# Functions of a result that has lost what a softmax reads: that of a softmax lies between 0 and 1.
SQUASHING = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Relu": "relu"}
TAKES_LOGITS = ("LogSoftmax", "BinaryCrossEntropyWithLogits")


def read_logits(step: int, nodes: list[Any]) -> Iterator[OddLogits]:
    """The softmaxes of a loss that are given something else than logits over classes."""
    for node in nodes:
        name = plain(node)
        if name in TAKES_LOGITS:
            before = _before(node)
            if before is not None and plain(before) in SQUASHING:
                yield OddLogits(step, SQUASHING[plain(before)], name, _shape(node))
        if name == "NllLoss":
            softmax = _before(node)
            if softmax is not None and plain(softmax) == "Log":
                softmax = _before(softmax)
            if softmax is None or plain(softmax) not in ("LogSoftmax", "Softmax"):
                continue
            shape = _shape(softmax)
            if kept(softmax, "_saved_dim") == 0 and len(shape) == 2 and shape[0] != shape[1]:
                yield OddLogits(step, "", plain(softmax), shape)


def _before(node: Any) -> Any | None:
    """The node that gives a node its first input, past those that leave every value in place."""
    following = node.next_functions[0][0] if node.next_functions else None
    while following is not None and passing(following) and plain(following) != "Neg":
        following = following.next_functions[0][0]
    return following


def _shape(node: Any) -> tuple[int, ...]:
    for attribute in ("_saved_result", "_saved_self"):
        value = kept(node, attribute)
        if isinstance(value, Tensor):
            return tuple(value.shape)
    return ()

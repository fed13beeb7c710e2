"""What a traced loss's graph says of how it is computed, in one walk over its nodes."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from quadlib.diagnosis.observe.joined import read_joined, read_targets
from quadlib.diagnosis.observe.logits import read_logits
from quadlib.diagnosis.observe.nodes import nodes_behind
from quadlib.diagnosis.observe.record import Event
from quadlib.diagnosis.observe.singular import read_singular

READERS = (read_logits, read_singular, read_joined, read_targets)


def read_loss(step: int, loss: Tensor) -> Iterator[Event]:
    """The events of `loss_events` that the graph shows."""
    nodes = list(nodes_behind(loss.grad_fn))
    for read in READERS:
        yield from read(step, nodes)

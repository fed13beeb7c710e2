"""What is known of a loop after its watched steps."""

from __future__ import annotations

from torch import nn

from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.observe.later import Later
from quadlib.diagnosis.subject import Unavailable


def shaped_alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have parameters of the same shapes, in order."""
    return [p.shape for p in one.parameters()] == [p.shape for p in other.parameters()]


def later(x: Examination) -> Later:
    """What was seen after the watched steps; raises Unavailable where the loop was left at once."""
    if x.record.later is None:
        raise Unavailable("the loop was left after its watched steps")
    return x.record.later

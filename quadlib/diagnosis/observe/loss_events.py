"""Events of a traced pass that speak of how its loss is computed."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from quadlib.diagnosis.observe.record import Event


@dataclass(frozen=True)
class OddLogits(Event):
    """A softmax of a traced pass's loss is given what are no logits over classes: what `by` gave,
    or, where by is empty, logits of which it takes the rows for the classes. softmax: its node's
    name. shape: of what it is given.
    """

    by: str
    softmax: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Singular(Event):
    """A traced pass's loss goes through a function whose derivative is infinite at the edge of what
    it takes, with nothing in front that keeps it off. least: the smallest distance to that edge.
    """

    function: str
    least: float
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Crossed(Event):
    """An operation of a traced pass set what modules gave for every row of a batch against what the
    batch says of every row, where one of them was spread along the other's rows.
    """

    operation: str
    given: tuple[int, ...]
    wanted: tuple[int, ...]


@dataclass(frozen=True)
class JoinedLogits(Event):
    """The logits (n, columns) of a traced pass's cross-entropy are one column of each row's own
    beside others. own: which. share: of the rows whose target it is. factor, others: by what the
    own column and the others are multiplied before they are joined.
    """

    own: int
    columns: int
    share: float
    factor: float
    others: float


@dataclass(frozen=True)
class ClassTargets(Event):
    """What a cross-entropy of a traced pass's loss was given as classes, (n,), without those that
    it ignores: these are -1 here.
    """

    classes: Tensor = field(repr=False)

"""The record of an observed training loop: plain data, one entry an event, in order.

Nothing here is guessed: an event stands here because it happened. Tensors are kept for the traced
steps alone, on the CPU; of later steps the numbers remain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from quadlib.diagnosis.observe.graph import Comparison
from quadlib.diagnosis.observe.later import Average, Later
from quadlib.diagnosis.observe.leaves import Leaf as Leaf
from quadlib.diagnosis.observe.run_log import RunLog
from quadlib.diagnosis.observe.stored import Stored


@dataclass(frozen=True)
class Event:
    """step: optimiser steps that had been taken when it happened."""

    step: int


@dataclass(frozen=True)
class Fetch(Event):
    """A batch came out of a loader.

    rows: the dataset's rows it was made of, None where they are not numbered. values: copies of
    its tensors by path, of the traced steps; of later steps only of one-dimensional integers.
    training: gradients were enabled, so that the batch is trained on rather than evaluated.
    not_finite: paths of the tensors that hold NaN or infinity. loader: its place in
    `Record.loaders`; -1 where no loader gave the tensors and a module was called with them. digest:
    of a stream's batch, whose rows have no numbers, a checksum of its tensors.
    """

    loader: int
    leaves: tuple[Leaf, ...]
    rows: tuple[int, ...] | None
    training: bool
    values: Mapping[str, Tensor] = field(repr=False)
    not_finite: tuple[str, ...] = ()
    digest: int | None = None

    def mark(self, path: str) -> str:
        """The name under which `Backward.reaches` and `ModuleCall.inputs` know a tensor."""
        return path if self.loader <= 0 else f"{path} of loader {self.loader}"


@dataclass(frozen=True)
class ModuleCall(Event):
    """A module that no other module was calling was called, or one with parameters inside it.

    module: its name in `Record.modules`. depth: how many modules were calling it. inputs: argument
    path -> the mark of the batch leaf that it is, "" where it is none. training: the module's flag.
    gradient: whether gradients were enabled. finite: whether its outputs are. scales: of the traced
    steps, mean and spread of each sample that it was given (`scales_of`).
    """

    module: str
    kind: str
    depth: int
    inputs: Mapping[str, str]
    outputs: tuple[Leaf, ...]
    training: bool
    gradient: bool
    finite: bool = True
    scales: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class LayerCall:
    """What a leaf module did to the variation over the batch: the mean variance over the rows,
    relative to the mean square, of what went in and what came out; NaN where a value is not finite.
    torn: of the shape that went in, where its rows hold parts of several rows of the batch, each of
    which lies in several of them; else empty.
    """

    module: str
    kind: str
    entering: float
    leaving: float
    training: bool
    gradient: bool = True
    torn: tuple[int, ...] = ()


@dataclass(frozen=True)
class Backward(Event):
    """Gradients were computed.

    loss: the value before a scaler multiplied it; scale: by how much it did. reaches: marks of the
    batch leaves from which something computed reaches the loss, None where it was not traced.
    through: modules with weights whose outputs reach it, with or without a gradient. hidden: leaves
    that were read into Python or numpy, which nothing can follow. touched: leaves that some
    operation has read. discarded: earlier gradients had been cleared before a step used them.
    comparison: the rows that the loss compares. compares_alone: it depends on the models through
    the comparisons of its Force events alone.
    """

    loss: float
    reaches: frozenset[str] | None
    hidden: frozenset[str]
    discarded: int
    comparison: Comparison | None
    layers: tuple[LayerCall, ...] = ()
    through: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
    scale: float = 1.0
    compares_alone: bool = False


@dataclass(frozen=True)
class Gradients(Event):
    """The norm of every parameter's gradient after a backward pass; None where it has none."""

    norms: Mapping[str, float | None]


@dataclass(frozen=True)
class RowGradient(Event):
    """The rows (n, d) that a module handed to a traced pass's comparison, and the loss's derivative
    by them, (n, d), over all ways that lead there.
    """

    module: str
    path: str
    rows: Tensor = field(repr=False)
    gradient: Tensor = field(repr=False)


@dataclass(frozen=True)
class Force(Event):
    """What a traced pass does to the pairs of one comparison: pull (n, m), or (n,) where paired is
    true and row i is compared with row i alone, above 0 where a step draws the two together.

    left, right: (n,) and (m,) the rows of the batch that the compared ones are made of, -1 of none.
    same: both sides are one set of rows. how: "product", "distance" or "difference". gated:
    something that may leave pairs out lies between. both: gradient reaches both sides.
    """

    left: Tensor = field(repr=False)
    right: Tensor = field(repr=False)
    pull: Tensor = field(repr=False)
    paired: bool
    same: bool
    how: str
    gated: bool
    both: bool


@dataclass(frozen=True)
class ZeroGrad(Event):
    """An optimiser's or a module's gradients were cleared."""


@dataclass(frozen=True)
class Clip(Event):
    """Gradients were clipped to a norm."""

    norm: float
    limit: float


@dataclass(frozen=True)
class ParameterStep:
    """One parameter in one optimiser step: norms of its gradient (None: it had none), of its change
    and of its value before. unmoved: of a parameter in half precision, the share of its numbers
    that receive gradient and stay as they were.
    """

    gradient: float | None
    update: float
    weight: float
    unmoved: float | None = None


@dataclass(frozen=True)
class OptimiserStep(Event):
    """An optimiser stepped: rate and decay of each group, and what happened to each parameter.

    carried: parameters whose gradient still held what an earlier step had followed.
    """

    optimiser: int
    rates: tuple[float, ...]
    decays: tuple[float, ...]
    parameters: Mapping[str, ParameterStep]
    carried: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ScalerStep(Event):
    """A gradient scaler was asked to step; skipped: it found a gradient that is not finite."""

    scale: float
    skipped: bool


@dataclass(frozen=True)
class Unscale(Event):
    """A gradient scaler took its factor out of the gradients."""


@dataclass(frozen=True)
class SetMode(Event):
    """A module was put into training or evaluation mode."""

    module: str
    training: bool


@dataclass(frozen=True)
class Load(Event):
    """Weights were loaded into a module; matched: keys that fitted."""

    module: str
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    strict: bool


@dataclass(frozen=True)
class ReadFile(Event):
    """A file was read with torch.load; keys: those of the mapping that it held."""

    file: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Restore(Event):
    """The state of an optimiser, scheduler or scaler was loaded; kind: its class."""

    kind: str


E = TypeVar("E", bound=Event)


@dataclass
class Record:
    """Everything that was seen, and the living parts that it was seen of.

    ended: "enough" after the wanted steps, "finished" when the loop ended by itself, or the
    exception that ended it. parameters: name -> parameter of every module that took part and of
    what the optimisers hold. idle: living optimisers that never stepped. monitors: (class,
    figure, whether the highest is best) of what keeps the best weights. bystanders: loaders at
    hand in the loop that gave no batch. named_loaders: the loaders among its variables, by name.
    counts: its variables that say how long the run is meant to be (`epochs`, `max_steps`).
    named_labels: likewise columns of labels, by name; named_arrays: all arrays. buffers
    and parameters in no optimiser have digests: name -> checksums of the first backward pass and of
    the end. looked_up: marks of leaves that are rows of an embedding's table. stored: arrays of the
    datasets that are trained on, while they are watched; rewritten: afterwards, by the way that
    leads to each, which of its rows of a sample have changed. averages: modules that follow trained
    ones, before the last watched step. goes_on: what
    the watched steps leave open is watched further. before: that of the loop which ran before this
    one in the same script. later: what was seen after the watched steps;
    log: what was noted of every step of both. facts: what was concluded from the record. faults:
    errors of the recorder's own, which are bugs.
    """

    events: list[Event] = field(default_factory=list)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    loaders: list[Any] = field(default_factory=list)
    optimisers: list[Any] = field(default_factory=list)
    schedulers: list[Any] = field(default_factory=list)
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    monitors: list[tuple[str, str, bool]] = field(default_factory=list)
    bystanders: list[Any] = field(default_factory=list)
    named_loaders: list[tuple[str, Any]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    named_labels: list[tuple[str, Any]] = field(default_factory=list)
    named_arrays: list[tuple[str, Any]] = field(default_factory=list, repr=False)
    digests: dict[str, tuple[int, int]] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    ended: str = ""
    error: BaseException | None = None
    functional_gradients: int = 0
    seconds_watching: float = 0.0
    faults: list[str] = field(default_factory=list)
    looked_up: set[str] = field(default_factory=set)
    stored: list[Stored] = field(default_factory=list, repr=False)
    rewritten: dict[str, list[int]] = field(default_factory=dict)
    averages: list[Average] = field(default_factory=list)
    goes_on: bool = False
    before: Record | None = None
    later: Later | None = None
    log: RunLog = field(default_factory=RunLog)
    facts: dict[str, Any] = field(default_factory=dict, repr=False)

    def of(self, kind: type[E], *, step: int | None = None) -> Iterator[E]:
        """The events of a kind, in order; of one step where it is given."""
        return (
            event
            for event in self.events
            if isinstance(event, kind) and (step is None or event.step == step)
        )

    def unused_loaders(self) -> list[Any]:
        """The named loaders that gave no batch."""
        known = {id(item) for item in self.loaders}
        unused = {id(loader): loader for _, loader in self.named_loaders}
        return [loader for key, loader in unused.items() if key not in known]

    @property
    def n_steps(self) -> int:
        """Optimiser steps that were taken, by whichever optimiser."""
        return sum(1 for _ in self.of(OptimiserStep))

    @property
    def losses(self) -> np.ndarray:
        """The loss of every backward pass, (n,) float64."""
        return np.array([event.loss for event in self.of(Backward)])

    @property
    def first(self) -> Backward | None:
        """The first backward pass that was traced."""
        return next((event for event in self.of(Backward) if event.reaches is not None), None)

    @property
    def order(self) -> str:
        """The order of the first events, as words."""
        words = {Backward: "backward", ZeroGrad: "zero_grad", OptimiserStep: "step", Clip: "clip"}
        return " ".join(words[type(event)] for event in self.events if type(event) in words)

"""What was seen of a loop after its watched steps: evaluations, saves, loads and kept states."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from quadlib.diagnosis.observe.evaluations import Evaluated
from quadlib.diagnosis.observe.neighbours import SelfMatch
from quadlib.diagnosis.observe.probes import Probe


@dataclass
class Run:
    """A loader that was run through without gradients.

    step: optimiser steps that had been taken. rows: the dataset's rows in the order in which they
    came, empty where they are not numbered. labels: whole numbers, one a row, by their path in the
    batch. outputs: for each module that no other module was calling, one array a call of two
    checksums a row (n, 2): of the row, and of it at unit norm. whole: the loader ran to its end.
    training: modules that ran in training mode, though their outputs depend on it.
    """

    step: int
    loader: Any
    n_batches: int = 0
    rows: list[int] = field(default_factory=list)
    labels: dict[str, list[np.ndarray]] = field(default_factory=dict)
    outputs: dict[int, list[np.ndarray]] = field(default_factory=dict)
    modules: list[nn.Module] = field(default_factory=list)
    training: list[nn.Module] = field(default_factory=list)
    whole: bool = False


@dataclass(frozen=True)
class Pairing:
    """Rows and numbers that an evaluation brought together, and how they belong.

    function: in which function. rows: of what. right: share of the rows whose number is their own,
    or the pairs' likeness in standard deviations where likeness: other is that of the layout that
    the rows themselves show.
    """

    function: str
    rows: int
    right: float
    other: float
    likeness: bool = False
    layout: str = ""


@dataclass(frozen=True)
class LaterLoad:
    """Weights were loaded into a module. own: they were its own living weights; since: the step at
    which they had been put aside, None where that was not seen.
    """

    step: int
    module: nn.Module
    matched: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    strict: bool
    own: bool = False
    since: int | None = None


@dataclass(frozen=True)
class Save:
    """An object was written with torch.save. keys: those at its top. live: ids of the living
    parameters, those of copies too, whose values it holds. lacks: names of parameters that an
    optimiser's state in it belongs to, of which it holds neither the values nor any others of their
    shape. resumable: it holds an optimiser's state; schedule: and a scheduler's. without: the names
    of running statistics that it leaves out of a module all of whose parameters it holds.
    """

    step: int
    file: str
    keys: tuple[str, ...]
    live: frozenset[int]
    lacks: frozenset[str] = frozenset()
    resumable: bool = False
    schedule: bool = False
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A mapping among the loop's variables whose tensors are the living weights; step: when it was
    met first, last: when it was still there. name: every name that it goes by. early: it was
    there when the watch began, so that it may have been saved before.
    """

    name: str
    step: int
    last: int
    tensors: int
    early: bool = False


@dataclass(frozen=True)
class Average:
    """A module with the shapes of a trained one, whose weights the loop moves, and no optimiser.
    behind: its distance from the trained one, as a share of the way that this one has gone since
    the first watched backward pass: 1 where it stayed, 0 where it is the same. gone: how far it has
    gone itself, by the same measure.
    """

    module: nn.Module
    trained: str
    behind: float
    gone: float
    step: int


@dataclass
class Later:
    """steps: optimiser steps that had been taken at the end. ended: "left" once an evaluation and a
    save were over, "limit" after the seconds, "finished" when the script ended by itself, or the
    exception that ended it. evaluated: an evaluation after training was seen. bursts: trained
    modules that were called several times without gradients in training mode between two steps, as
    rarely as an evaluation is. stayed: after an evaluation a step was taken with every layer in
    evaluation mode that had been in training mode. still: modules that were evaluated with the very
    weights that they had when the watched steps were over. evaluated_on: what trained modules were
    given in evaluations. known: ids of the parameters that `Save.live` can name.
    lost: the step at which trained weights were first found not to be finite, and the name of one.
    probes: estimators that were fitted meanwhile. moved_by_probes: function that is named as a
    probe, and how many trained tensors its own optimiser moves. own_best: rows that were their own
    neighbours.
    figures: the scores, losses and bests among the loop's variables, look by look.
    averages: those among the evaluated modules, at the end. evaluations: the names of what each was
    given, where a function evaluates that does not train.
    """

    first_step: int
    seconds: float
    steps: int = 0
    ended: str = ""
    evaluated: bool = False
    runs: list[Run] = field(default_factory=list)
    pairings: list[Pairing] = field(default_factory=list)
    loads: list[LaterLoad] = field(default_factory=list)
    saves: list[Save] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    evaluating: list[nn.Module] = field(default_factory=list)
    bursts: list[nn.Module] = field(default_factory=list)
    stayed: bool = False
    still: list[nn.Module] = field(default_factory=list)
    evaluated_on: list[Evaluated] = field(default_factory=list)
    known: frozenset[int] = frozenset()
    lost: tuple[int, str] | None = None
    probes: list[Probe] = field(default_factory=list)
    figures: list[dict[str, float]] = field(default_factory=list)
    averages: list[Average] = field(default_factory=list)
    moved_by_probes: list[tuple[str, int]] = field(default_factory=list)
    own_best: list[SelfMatch] = field(default_factory=list)
    evaluations: list[set[str]] = field(default_factory=list)

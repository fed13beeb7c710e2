"""What a loop does over its whole watched life, step by step: rates, random states, epochs' first
rows, and the figures that its schedulers are told. It costs microseconds a step.
"""

from __future__ import annotations

import linecache
import random
import re
import sys
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data.dataloader import _BaseDataLoaderIter

from quadlib.diagnosis.observe.checksums import checksum, random_state
from quadlib.diagnosis.observe.encodings import Encoding
from quadlib.diagnosis.observe.hooks import rows_of
from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.observe.patches import Looking, Patches, Watching

MOST_STEPS = 100_000
MOST_EPOCHS = 1000
MOST_FIGURES = 1000
# Where the seed of each generator is set: its owner, and the function.
SEEDS: dict[str, tuple[Any, str]] = {
    "torch": (torch, "manual_seed"),
    "numpy": (np.random, "seed"),
    "random": (random, "seed"),
}


@dataclass(frozen=True)
class Seeding:
    """The seed of a generator was set; state: a checksum of the state that it has since."""

    generator: str
    step: int
    seed: str
    state: int


@dataclass
class EpochStart:
    """A dataset began to be gone through with gradients enabled, in the order of a sampler. rows:
    of its first batch, None where they are not numbered. digest: a checksum of that batch's
    tensors. shown: rows of its tensors of numbers, of all batches so far.
    """

    dataset: Any
    sampler: Any
    step: int
    rows: tuple[int, ...] | None
    digest: int = 0
    shown: int = 0


@dataclass(frozen=True)
class Told:
    """A scheduler that waits for a plateau was told a figure. words: the names in the call's own
    line of code, and those of the variables that hold the figure.
    """

    scheduler: Any
    step: int
    figure: float
    words: frozenset[str]


@dataclass
class RunLog:
    """rates: (place of the optimiser in the order of first steps, rates of its groups) a step.
    states: generator -> a checksum of its state after each step, of those whose seed was set.
    """

    rates: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    states: dict[str, dict[int, int]] = field(default_factory=dict)
    seedings: list[Seeding] = field(default_factory=list)
    epochs: list[EpochStart] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    encodings: list[Encoding] = field(default_factory=list)


class RunLogWatch(Patches):
    """Fills a log from `install` until `remove`. watching: whether an event is the loop's own;
    looking: what our own work stands in, whose errors never reach the loop.
    """

    def __init__(self, log: RunLog, watching: Watching, looking: Looking) -> None:
        super().__init__()
        self.log, self.watching, self.looking = log, watching, looking
        self._optimisers: list[Any] = []

    def install(self) -> None:
        self.installed = True
        for name, (owner, function) in SEEDS.items():
            self._replace(owner, function, partial(self._seed, name))
        self._replace(_BaseDataLoaderIter, "_next_index", self._next_index)
        self._replace(_BaseDataLoaderIter, "_reset", self._reset)
        self._replace(_BaseDataLoaderIter, "__next__", self._next)
        self._replace(ReduceLROnPlateau, "step", self._plateau)
        self._undo.append(register_optimizer_step_post_hook(self._after_step).remove)

    def _seed(self, name: str, old: Any) -> Any:
        def seed(*args: Any, **kwargs: Any) -> Any:
            result = old(*args, **kwargs)
            if self.watching() and len(self.log.seedings) < MOST_STEPS:
                with self.looking():
                    value = str(args[0] if args else next(iter(kwargs.values()), None))
                    self.log.seedings.append(Seeding(name, self._step, value, random_state(name)))
            return result

        return seed

    def _next_index(self, old: Any) -> Any:
        def _next_index(iterator: Any) -> Any:
            index = old(iterator)
            if "_logged" not in vars(iterator) and self.watching():
                iterator._logged = None
                if torch.is_grad_enabled() and len(self.log.epochs) < MOST_EPOCHS:
                    start = iterator._dataset, iterator._index_sampler, self._step, rows_of(index)
                    iterator._logged = EpochStart(*start)
                    self.log.epochs.append(iterator._logged)
            return index

        return _next_index

    def _next(self, old: Any) -> Any:
        def __next__(iterator: Any) -> Any:
            batch = old(iterator)
            start = vars(iterator).get("_logged")
            if start is not None and start.rows is None and self.watching():
                with self.looking():
                    pairs = tensors_in(batch)
                    floats = [t for _, t in pairs if t.is_floating_point() and t.ndim > 1]
                    start.shown += sum(map(len, floats))
                    if floats and not start.digest:
                        start.digest = hash(tuple(map(checksum, floats)))
            return batch

        return __next__

    def _reset(self, old: Any) -> Any:
        def _reset(iterator: Any, loader: Any, first_iter: bool = False) -> Any:
            vars(iterator).pop("_logged", None)  # workers that persist begin another epoch
            return old(iterator, loader, first_iter)

        return _reset

    def _plateau(self, old: Any) -> Any:
        def step(scheduler: Any, metrics: Any, *args: Any, **kwargs: Any) -> Any:
            if self.watching() and len(self.log.told) < MOST_FIGURES:
                caller = sys._getframe(1)
                with self.looking():
                    words = _words(caller, metrics)
                    self.log.told.append(Told(scheduler, self._step, float(metrics), words))
            return old(scheduler, metrics, *args, **kwargs)

        return step

    def _after_step(self, optimiser: Any, args: Any, kwargs: Any) -> None:
        if not self.watching() or self._step >= MOST_STEPS:
            return
        if not any(known is optimiser for known in self._optimisers):
            self._optimisers.append(optimiser)
        place = next(n for n, known in enumerate(self._optimisers) if known is optimiser)
        rates = tuple(float(group.get("lr", 0.0)) for group in optimiser.param_groups)
        self.log.rates.append((place, rates))
        for name in {seeding.generator for seeding in self.log.seedings}:
            self.log.states.setdefault(name, {})[self._step] = random_state(name)

    @property
    def _step(self) -> int:
        return len(self.log.rates)


def _words(frame: FrameType, figure: Any) -> frozenset[str]:
    """What a call's line of code and its variables name a figure; nothing where it is turned."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    inside = line.partition(".step(")[2]
    if "-" in inside:
        return frozenset()
    same = {name for name, value in frame.f_locals.items() if value is figure}
    return frozenset(re.findall(r"[A-Za-z_]\w*", inside)) | same

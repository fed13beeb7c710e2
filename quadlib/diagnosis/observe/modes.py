"""Whether modules are in the mode that a step or an evaluation asks for."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from quadlib.diagnosis.observe.later import Later
from quadlib.diagnosis.observe.layers import (
    CHANGED_BY_MODE,
    differs_in_training,
    gathers_statistics,
)

FEWEST_CALLS = 2  # between two steps, without gradients; a single one may be a look at a shape
RARELY = 4  # steps a burst from which it is no part of the step itself, as an evaluation is


class ModeWatch:
    """Looks at modes after the watched steps, and adds what is wrong to `later`.

    modules: those of the watched steps; layers of theirs that were in training mode then should be
    in every step.
    """

    def __init__(self, later: Later, modules: Iterable[nn.Module]) -> None:
        self.later = later
        self._layers = [m for m in modules if isinstance(m, CHANGED_BY_MODE) and m.training]
        self._calls: dict[int, tuple[nn.Module, int]] = {}
        self._bursts: dict[int, tuple[nn.Module, int]] = {}
        self._steps = 0

    def called(self, module: nn.Module) -> None:
        """A module was called without gradients, on no loader's batch."""
        if module.training and differs_in_training(module) and not gathers_statistics(module):
            self._calls[id(module)] = module, self._calls.get(id(module), (module, 0))[1] + 1

    def stepped(self, evaluated: bool) -> None:
        """An optimiser stepped; evaluated: one of the watched steps, after an evaluation."""
        self._steps += 1
        if evaluated and self._layers and not any(layer.training for layer in self._layers):
            self.later.stayed = True
        self._count()

    def end(self) -> None:
        self._count()
        self.later.bursts = [
            module for module, n in self._bursts.values() if n * RARELY <= self._steps
        ]

    def _count(self) -> None:
        for key, (module, calls) in self._calls.items():
            if calls >= FEWEST_CALLS:
                self._bursts[key] = module, self._bursts.get(key, (module, 0))[1] + 1
        self._calls.clear()

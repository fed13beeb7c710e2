"""What trained modules are given where they are evaluated, and whether they draw random numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.diagnosis.observe.checksums import random_state
from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.observe.patches import Patches

DROPOUTS = ("dropout", "dropout_", "feature_dropout", "feature_dropout_", "alpha_dropout")
MOST_CALLS = 8  # of a module, whose inputs are measured
MOST_SAMPLES = 128  # of a call
FEWEST_VALUES = 8  # of a sample, from which it has a spread


@dataclass
class Evaluated:
    """A trained module that was called in evaluation mode and without gradients. source: the
    dataset whose loader gave the batch, None where none did. scales: argument
    path -> of each measured call what `scales_of` gives. random: it drew from torch's generator of
    the CPU, which alone is watched; dropped: by a dropout that was told to.
    """

    module: nn.Module
    source: Any = None
    calls: int = 0
    scales: dict[str, list[np.ndarray]] = field(default_factory=dict)
    random: bool = False
    dropped: bool = False


class EvaluationWatch(Patches):
    """Fills a list of `Evaluated`."""

    def __init__(self, evaluated: list[Evaluated]) -> None:
        super().__init__()
        self.evaluated = evaluated
        self._state, self._dropped = 0, False

    def install(self) -> None:
        for name in DROPOUTS:  # where every way to drop out ends, imported by whatever name
            self._replace(torch._VF, name, self._dropout)

    def _dropout(self, old: Any) -> Any:
        def dropout(tensor: Tensor, p: float, training: bool) -> Any:
            self._dropped |= training and p > 0
            return old(tensor, p, training)

        return dropout

    def before(self) -> None:
        self._state, self._dropped = random_state("torch"), False

    def after(self, module: nn.Module, args: Any, source: Any) -> None:
        known = next((e for e in self.evaluated if e.module is module and e.source is source), None)
        if known is None:
            known = Evaluated(module, source)
            self.evaluated.append(known)
        known.random |= random_state("torch") != self._state
        known.dropped |= self._dropped
        known.calls += 1
        if known.calls <= MOST_CALLS:
            for path, scale in scales_of(args).items():
                known.scales.setdefault(path, []).append(scale)


def scales_of(
    args: Any, computed: Callable[[Tensor], bool] = lambda tensor: False
) -> Mapping[str, np.ndarray]:
    """Of the tensors of numbers that a module is handed and no other one has computed: path ->
    (n, 2) mean of each sample, and the natural logarithm of its standard deviation, -inf where it
    is constant.
    """
    return {
        path: _scale(tensor[:MOST_SAMPLES])
        for path, tensor in tensors_in(args)
        if tensor.ndim >= 2
        and len(tensor)
        and not computed(tensor)
        and tensor[0].numel() >= FEWEST_VALUES
        and (tensor.is_floating_point() or tensor.dtype == torch.uint8)
    }


def _scale(tensor: Tensor) -> np.ndarray:
    flat = tensor.detach().flatten(1).double()
    return torch.stack([flat.mean(1), flat.std(1).log()], 1).cpu().numpy()

"""How closely copies of trained weights follow them: momentum encoders, averages for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from quadlib.diagnosis.observe.later import Average
from quadlib.diagnosis.observe.names import living
from quadlib.diagnosis.observe.record import Record

SAMPLED = 256  # numbers of a tensor that are kept
FEWEST_TENSORS = 2


class AverageWatch:
    """Keeps samples of the weights as they were at the first backward pass."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._first: dict[int, Tensor] = {}

    def start(self) -> None:
        for module in living(nn.Module):
            for parameter in module.parameters(recurse=False):
                self._first.setdefault(id(parameter), _sample(parameter).clone())

    def measure(self, step: int) -> Iterator[Average]:
        groups = (group for o in self.record.optimisers for group in o.param_groups)
        moved = {id(p) for group in groups for p in group["params"] if p.requires_grad}
        trained = {
            _shapes(module): (name, module)
            for name, module in reversed(self.record.modules.items())
            if all(id(p) in moved for p in module.parameters())
        }
        found = [
            (module, *trained[shapes])
            for module in living(nn.Module)
            if (shapes := _shapes(module)) in trained and self._follows(module, moved)
        ]
        inner = {
            id(part) for module, _, _ in found for part in module.modules() if part is not module
        }
        for module, name, other in found:
            pairs = list(zip(module.parameters(), other.parameters(), strict=True))
            if id(module) in inner or not all(id(p) in self._first for _, p in pairs):
                continue
            gone = _distance((_sample(p), self._first[id(p)]) for _, p in pairs)
            apart = _distance((_sample(a), _sample(p)) for a, p in pairs)
            own = _distance((_sample(a), self._first[id(a)]) for a, _ in pairs)
            if gone > 0:
                yield Average(module, name, apart / gone, own / gone, step)

    def _follows(self, module: nn.Module, moved: set[int]) -> bool:
        """Whether a module has several weights, which lived at the start, no optimiser moves, and
        the loop has moved since.
        """
        own = list(module.parameters())
        if len(own) < FEWEST_TENSORS or any(
            id(p) in moved or id(p) not in self._first for p in own
        ):
            return False
        return any(not torch.equal(_sample(p), self._first[id(p)]) for p in own)


def _distance(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return math.sqrt(sum(float((one - other).square().sum()) for one, other in pairs))


def _sample(parameter: Tensor) -> Tensor:
    return parameter.detach().flatten()[:SAMPLED].float()


def _shapes(module: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(p.shape)) for name, p in module.named_parameters())

"""How closely copies of trained weights follow them: momentum encoders, averages for evaluation."""

from __future__ import annotations

from collections.abc import Iterator

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
        inner: set[int] = set()
        for module in living(nn.Module):
            own = list(module.parameters())
            shapes = _shapes(module)
            if id(module) in inner or len(own) < FEWEST_TENSORS or shapes not in trained:
                continue
            if any(id(p) in moved or id(p) not in self._first for p in own):
                continue
            if all(torch.equal(_sample(p), self._first[id(p)]) for p in own):
                continue  # frozen, or of no concern to the loop
            name, other = trained[shapes]
            pairs = list(zip(own, other.parameters(), strict=True))
            if not all(id(p) in self._first for _, p in pairs):
                continue
            gone = sum(float((_sample(p) - self._first[id(p)]).square().sum()) for _, p in pairs)
            apart = sum(float((_sample(a) - _sample(p)).square().sum()) for a, p in pairs)
            if gone > 0:
                inner |= {id(part) for part in module.modules()}
                yield Average(module, name, (apart / gone) ** 0.5, step)


def _sample(parameter: Tensor) -> Tensor:
    return parameter.detach().flatten()[:SAMPLED].float()


def _shapes(module: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(p.shape)) for name, p in module.named_parameters())

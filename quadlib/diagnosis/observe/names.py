"""Names of the modules and parameters that take part in a loop."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from quadlib.diagnosis.observe.record import Record

Kind = TypeVar("Kind")


class Names:
    """Gives every part one name, and the record the part under that name.

    A part is named within the outermost module that holds it: those of the first module met by
    their own names, those of others behind their class's name.
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self._names: dict[int, str] = {}

    def of(self, part: Any) -> str:
        """The name of a parameter that is known already."""
        return self._names[id(part)]

    def of_module(self, module: nn.Module) -> str:
        """The name of a module, looked for among all that live when it is met first."""
        if id(module) not in self._names:
            for top in _outermost_with(module):
                self.know(top)
        if id(module) not in self._names:  # made after its owner was looked through
            self.know(module)
        return self._names[id(module)]

    def know_optimisers(self) -> None:
        """Names what no module that was called holds, and only an optimiser does."""
        for place, optimiser in enumerate(self.record.optimisers):
            for number, group in enumerate(optimiser.param_groups):
                for position, parameter in enumerate(group["params"]):
                    where = f"optimiser {place}, group {number}, parameter {position}"
                    self._give(parameter, where, self.record.parameters)

    def know(self, top: nn.Module) -> None:
        """Names a module and all that it holds."""
        prefix = f"{type(top).__name__}." if self.record.modules else ""
        for name, part in top.named_modules():
            own = f"{prefix}{name}" if name else type(top).__name__
            self._give(part, own, self.record.modules)
        for name, parameter in top.named_parameters():
            self._give(parameter, f"{prefix}{name}", self.record.parameters)

    def _give(self, part: Any, name: str, names: dict[str, Any]) -> None:
        if id(part) in self._names:
            return
        unique, number = name, 2
        while unique in names:
            unique, number = f"{name}#{number}", number + 1
        self._names[id(part)] = unique
        names[unique] = part


def note_living(record: Record) -> None:
    """What lives beside the parts that took part: schedulers, optimisers, keepers of the best."""
    record.schedulers = schedulers_of(record.optimisers)
    record.idle = idle_optimisers(record)
    record.monitors = monitors()


def schedulers_of(optimisers: Iterable[Any]) -> list[LRScheduler]:
    """The schedulers that change the rates of these optimisers."""
    known = {id(unwrapped(item)) for item in optimisers}
    return [
        item
        for item in living(LRScheduler)
        if id(unwrapped(getattr(item, "optimizer", None))) in known
    ]


def unwrapped(optimiser: Any) -> Any:
    """The optimiser inside one that passes its calls on, as accelerate's does."""
    while isinstance(inner := getattr(optimiser, "optimizer", None), Optimizer):
        optimiser = inner
    return optimiser


def idle_optimisers(record: Record) -> list[Optimizer]:
    """The living optimisers that never stepped and hold a parameter of the record's."""
    known = {id(parameter) for parameter in record.parameters.values()}
    stepped = {id(item) for item in record.optimisers}
    return [
        item
        for item in living(Optimizer)
        if id(item) not in stepped
        and any(id(p) in known for group in item.param_groups for p in group["params"])
    ]


def monitors() -> list[tuple[str, str, bool]]:
    """(class, figure, whether the highest is best) of what keeps the best weights or stops early:
    the callbacks of Lightning, the arguments of transformers' Trainer.
    """
    found = []
    for item in gc.get_objects():
        kind = type(item).__name__
        if kind in ("ModelCheckpoint", "EarlyStopping"):
            name, mode = getattr(item, "monitor", None), getattr(item, "mode", None)
            if isinstance(name, str) and mode in ("min", "max"):
                found.append((kind, name, mode == "max"))
        elif kind.endswith("TrainingArguments") and getattr(item, "load_best_model_at_end", False):
            name, higher = item.metric_for_best_model, item.greater_is_better
            if isinstance(name, str) and isinstance(higher, bool):
                found.append((kind, name, higher))
    return found


def _outermost_with(module: nn.Module) -> list[nn.Module]:
    """The modules that no other module holds and that hold this one."""
    every = living(nn.Module)
    inner = {id(child) for item in every for child in item.children()}
    outermost = [item for item in every if id(item) not in inner]
    return [top for top in outermost if any(part is module for part in top.modules())]


def living(kind: type[Kind]) -> list[Kind]:
    """The objects of a class; by their type, since asking some objects for anything warns."""
    return [item for item in gc.get_objects() if issubclass(type(item), kind)]

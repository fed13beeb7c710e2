"""Names of the modules and parameters that take part in a loop."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from quadlib.diagnosis.observe.record import Record

Kind = TypeVar("Kind")
CALLBACKS = ("ModelCheckpoint", "EarlyStopping")  # of Lightning


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
    """What lives beside the parts that took part: the schedulers that change the rates of the
    record's optimisers, optimisers that never stepped, keepers of the best.
    """
    found = _living(lambda kind: issubclass(kind, (LRScheduler, Optimizer)) or _is_monitor(kind))
    known = {id(unwrapped(item)) for item in record.optimisers}
    for item in found:
        if isinstance(item, LRScheduler):
            if id(unwrapped(getattr(item, "optimizer", None))) in known:
                record.schedulers.append(item)
        elif isinstance(item, Optimizer):
            if _is_idle(item, record):
                record.idle.append(item)
        else:
            record.monitors += _monitored(item)


def unwrapped(optimiser: Any) -> Any:
    """The optimiser inside one that passes its calls on, as accelerate's does."""
    while isinstance(inner := getattr(optimiser, "optimizer", None), Optimizer):
        optimiser = inner
    return optimiser


def _is_idle(optimiser: Optimizer, record: Record) -> bool:
    """Whether it never stepped and holds a parameter of the record's."""
    known = {id(parameter) for parameter in record.parameters.values()}
    stepped = any(optimiser is item for item in record.optimisers)
    return not stepped and any(id(p) in known for g in optimiser.param_groups for p in g["params"])


def _monitored(keeper: Any) -> Iterator[tuple[str, str, bool]]:
    """(class, figure, whether the highest is best) of what keeps the best weights or stops early:
    the callbacks of Lightning, the arguments of transformers' Trainer.
    """
    kind = type(keeper).__name__
    if kind in CALLBACKS:
        name, mode = getattr(keeper, "monitor", None), getattr(keeper, "mode", None)
        if isinstance(name, str) and mode in ("min", "max"):
            yield kind, name, mode == "max"
    elif getattr(keeper, "load_best_model_at_end", False):
        name, higher = keeper.metric_for_best_model, keeper.greater_is_better
        if isinstance(name, str) and isinstance(higher, bool):
            yield kind, name, higher


def _outermost_with(module: nn.Module) -> list[nn.Module]:
    """The modules that no other module holds and that hold this one."""
    every = living(nn.Module)
    inner = {id(child) for item in every for child in item.children()}
    outermost = [item for item in every if id(item) not in inner]
    return [top for top in outermost if any(part is module for part in top.modules())]


def living(kind: type[Kind]) -> list[Kind]:
    """The objects of a class; by their type, since asking some objects for anything warns."""
    return _living(lambda other: issubclass(other, kind))


def _living(wanted: Callable[[type], bool]) -> list[Any]:
    """The objects of the wanted types, of which each is asked about once."""

    class Answers(dict[type, bool]):
        def __missing__(self, kind: type) -> bool:
            self[kind] = answer = wanted(kind)
            return answer

    answers = Answers()
    return [item for item in gc.get_objects() if answers[type(item)]]


def _is_monitor(kind: type) -> bool:
    return kind.__name__ in CALLBACKS or kind.__name__.endswith("TrainingArguments")

"""Facts of a subject: made on first use, kept, and each with a declared cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar, overload

T = TypeVar("T")
Cost = Literal["reads", "loads", "steps"]
# From cheap to dear: tables, settings, files and the record; a batch of the loader; a training
# step or a forward pass.
COSTS: tuple[Cost, ...] = ("reads", "loads", "steps")


class TooDear(RuntimeError):
    """A check asked for a fact that costs more than its phase promises: a bug of the check's."""


class Fact(Generic[T]):
    """A fact as an attribute: what `make` gives, kept with its owner."""

    def __init__(self, make: Callable[[Any], T], cost: Cost) -> None:
        self.make, self.cost = make, cost
        self.__doc__ = make.__doc__
        self.__name__ = make.__name__

    @overload
    def __get__(self, owner: None, kind: Any = None) -> Fact[T]: ...
    @overload
    def __get__(self, owner: Any, kind: Any = None) -> T: ...
    def __get__(self, owner: Any, kind: Any = None) -> Any:
        if owner is None:
            return self
        owner.afford(self.__name__, self.cost)
        if self.__name__ not in owner.known:
            owner.known[self.__name__] = self.make(owner)
        return owner.known[self.__name__]

    # Without this, an attribute of the owner's would hide the fact, and its cost.
    def __set__(self, owner: Any, value: T) -> None:
        raise AttributeError(f"{self.__name__} is a fact; it is made, not set")


def fact(cost: Cost) -> Callable[[Callable[[Any], T]], Fact[T]]:
    """Makes a method the fact of its name, which may be asked for where `cost` is allowed."""
    return lambda make: Fact(make, cost)

"""Functions that are replaced on their owners, and put back exactly."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

Watching = Callable[[], bool]  # whether an event is the observed loop's own
Looking = Callable[[], AbstractContextManager[None]]  # around our own work


class Patches:
    """What was replaced; `remove` puts all of it back, last first."""

    def __init__(self) -> None:
        self.installed = False
        self._undo: list[Callable[[], object]] = []

    def remove(self) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()
        self.installed = False

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        own = name in vars(owner)
        old = getattr(owner, name)
        setattr(owner, name, make(old))
        self._undo.append(
            (lambda: setattr(owner, name, old)) if own else (lambda: delattr(owner, name))
        )

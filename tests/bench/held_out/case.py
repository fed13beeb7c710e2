"""A case of the held-out sets: a pipeline, and which row of the zoo is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quadlib.diagnosis.subject import Subject


@dataclass(frozen=True)
class Case:
    """row: the fault's id in the zoo, None for a healthy pipeline. also: rows that the same mistake
    truly brings with it.
    """

    name: str
    row: str | None
    pipeline: str
    build: Callable[[int], Subject]
    why: str
    also: tuple[str, ...] = ()

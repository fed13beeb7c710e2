"""What a fault is, and the list that the files of the stages fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from quadlib.faults.pipeline import Pipeline

When = Literal["T0", "T1", "Tk", "Te"]


@dataclass(frozen=True)
class Fault:
    """One injection: what it does to a healthy pipeline, and what the doctor must answer.

    code: the code that must be the root. also: codes that name it as truly, where the evidence
    allows another or a set. occurrence: where the public met it. when: T0 before training, T1 first
    batch, Tk first steps, Te epoch or evaluation. exact: whether an exact contract tells it, so
    that it must never be missed. advice: no fault, but a note is due.
    """

    id: str
    stage: str
    code: str
    title: str
    occurrence: str
    when: When
    inject: Callable[[Pipeline], None]
    exact: bool = True
    also: tuple[str, ...] = ()
    advice: bool = False

    def expected(self) -> tuple[str, ...]:
        return (self.code, *self.also)


@dataclass(frozen=True)
class LookAlike:
    """A healthy pipeline that resembles a faulty one: the doctor must find nothing."""

    name: str
    title: str
    change: Callable[[Pipeline], None]


FAULTS: dict[str, Fault] = {}
LOOK_ALIKES: dict[str, LookAlike] = {}


def fault(
    id: str,
    *,
    stage: str,
    code: str,
    title: str,
    occurrence: str,
    when: When,
    exact: bool = True,
    also: tuple[str, ...] = (),
    advice: bool = False,
) -> Callable[[Callable[[Pipeline], None]], Callable[[Pipeline], None]]:
    """Registers a function that changes a healthy pipeline at one stage as a fault."""

    def register(inject: Callable[[Pipeline], None]) -> Callable[[Pipeline], None]:
        FAULTS[id] = Fault(id, stage, code, title, occurrence, when, inject, exact, also, advice)
        return inject

    return register


def look_alike(title: str) -> Callable[[Callable[[Pipeline], None]], Callable[[Pipeline], None]]:
    """Registers a function that makes a healthy pipeline unusual but not faulty."""

    def register(change: Callable[[Pipeline], None]) -> Callable[[Pipeline], None]:
        LOOK_ALIKES[change.__name__] = LookAlike(change.__name__, title, change)
        return change

    return register

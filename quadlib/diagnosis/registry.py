"""The registry of checks: each is one contract, its codes and the function that looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding

Phase = Literal["before", "batch", "steps", "epoch"]
PHASES: tuple[Phase, ...] = ("before", "batch", "steps", "epoch")


@dataclass(frozen=True)
class Check:
    """One contract: the codes it can find, a name for people, and the function that looks.

    phase: what the look costs: "before" reads tables and settings alone; "batch" loads and embeds
    the first batch; "steps" takes a few optimiser steps on the subject (undone afterwards); "epoch"
    reads history, evaluation and checkpoint.
    """

    code: str
    name: str
    phase: Phase
    look: Callable[[Examination], Iterable[Finding]]

    @property
    def label(self) -> str:
        return f"{self.code} {self.name}"


CHECKS: list[Check] = []


def check(
    code: str, name: str, phase: Phase = "before"
) -> Callable[[Callable[[Examination], Iterable[Finding]]], Callable]:
    """Registers a function as the check of one contract; it yields findings, and raises Unavailable
    where it cannot judge.
    """

    def register(look: Callable[[Examination], Iterable[Finding]]) -> Callable:
        CHECKS.append(Check(f"QL-{code}", name, phase, look))
        return look

    return register

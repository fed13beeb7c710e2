"""Runs every check over a subject, stage by stage, and folds what it finds under its roots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from quadlib.diagnosis.diagnosis import Diagnosis
from quadlib.diagnosis.examination import Examination, Unavailable
from quadlib.diagnosis.finding import ORDER, Finding, fold
from quadlib.diagnosis.subject import Subject

Phase = Literal["before", "batch", "steps", "epoch"]
PHASES: tuple[Phase, ...] = ("before", "batch", "steps", "epoch")


@dataclass(frozen=True)
class Check:
    """One contract: the codes it can find, a name for people, and the function that looks.

    phase: what the look costs: "before" reads tables and settings alone; "batch" loads and embeds the first batch;
    "steps" takes a few optimiser steps on the subject (undone afterwards); "epoch" reads history, evaluation and checkpoint.
    """

    code: str
    name: str
    phase: Phase
    look: Callable[[Examination], Iterable[Finding]]

    @property
    def label(self) -> str:
        return f"{self.code} {self.name}"


CHECKS: list[Check] = []


def check(code: str, name: str, phase: Phase = "before") -> Callable[[Callable[[Examination], Iterable[Finding]]], Callable]:
    """Registers a function as the check of one contract; it yields findings, and raises Unavailable where it cannot judge."""
    def register(look: Callable[[Examination], Iterable[Finding]]) -> Callable:
        CHECKS.append(Check(f"QL-{code}", name, phase, look))
        return look
    return register


def diagnose(subject: Subject, *, phases: Iterable[Phase] = PHASES, deep: bool = False) -> Diagnosis:
    """Examines a subject and names the root cause of what is wrong with it; never raises over the subject's own faults.

    The subject is as it was afterwards, bit for bit: random states, modes, buffers, weights, gradients, optimiser.
    What could not be checked is listed with the reason.
    """
    import quadlib.diagnosis.stages  # noqa: F401 - registers the checks; they import this module

    started = time.perf_counter()
    wanted = set(phases)
    found: list[Finding] = []
    ran: list[str] = []
    not_run: list[tuple[str, str]] = []
    with Examination(subject, deep=deep) as examination:
        for item in sorted(CHECKS, key=lambda each: (ORDER.index(each.code[3]), each.code)):
            if item.phase not in wanted:
                continue
            try:
                found.extend(item.look(examination))
            except Unavailable as reason:
                not_run.append((item.label, str(reason)))
            except Exception as error:  # a subject's own code may raise anything; that is told, not passed on
                not_run.append((item.label, f"it raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"))
            else:
                ran.append(item.label)
        facts = examination.facts(steps="steps" in wanted)
    return Diagnosis(tuple(fold(found)), tuple(ran), tuple(not_run), facts, time.perf_counter() - started)

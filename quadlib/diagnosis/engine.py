"""Runs every check over a subject, stage by stage, and folds what it finds under its roots."""

from __future__ import annotations

import time
from collections.abc import Iterable

import quadlib.diagnosis.checks  # noqa: F401 - registers the checks
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import ORDER, Finding, fold
from quadlib.diagnosis.registry import CHECKS, PHASES, Phase
from quadlib.diagnosis.report import Diagnosis
from quadlib.diagnosis.subject import Subject


def diagnose(
    subject: Subject, *, phases: Iterable[Phase] = PHASES, deep: bool = False
) -> Diagnosis:
    """Examines a subject and names the root cause of what is wrong with it; never raises over the
    subject's own faults.

    The subject is as it was afterwards, bit for bit: random states, modes, buffers, weights,
    gradients, optimiser. What could not be checked is listed with the reason.
    """
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
            except (
                Exception
            ) as error:  # a subject's own code may raise anything; that is told, not passed on
                not_run.append(
                    (
                        item.label,
                        f"it raised {type(error).__name__}: "
                        f"{str(error).splitlines()[0] if str(error) else ''}",
                    )
                )
            else:
                ran.append(item.label)
        facts = examination.facts(steps="steps" in wanted)
    return Diagnosis(
        tuple(fold(found)), tuple(ran), tuple(not_run), facts, time.perf_counter() - started
    )

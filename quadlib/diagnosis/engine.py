"""Runs every check over a subject, stage by stage, and folds what it finds under its roots."""

from __future__ import annotations

import sysconfig
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import quadlib.diagnosis.checks  # noqa: F401 - registers the checks
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import ORDER, Finding, fold
from quadlib.diagnosis.registry import CHECKS, PHASES, Phase
from quadlib.diagnosis.report import Diagnosis
from quadlib.diagnosis.sight import sight_of
from quadlib.diagnosis.subject import Subject

# Frames of these folders are the doctor's own code and the libraries that it calls.
OWN_CODE = (
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")),
)
NOTHING = (
    "nothing was given that a check could read; run the training loop under `quadlib doctor "
    "SCRIPT.py`, or give labels, splits, a batch sampler or a history"
)


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
    crashed: list[tuple[str, str]] = []
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
            ) as error:  # a subject's own code may raise anything: told, not passed on
                text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                if is_ours(error):
                    crashed.append((item.label, text))
                else:
                    not_run.append((item.label, f"it raised {text}"))
            else:
                ran.append(item.label)
        facts = examination.facts(steps="steps" in wanted)
        sight = sight_of(examination, wanted)
    if not sight.blocked and not ran:
        sight = replace(sight, blocked=NOTHING)
    return Diagnosis(
        tuple(fold(found)),
        tuple(ran),
        tuple(not_run),
        facts,
        time.perf_counter() - started,
        tuple(crashed),
        sight,
    )


def is_ours(error: BaseException) -> bool:
    """Whether an error arose without any code of the subject taking part: then it is a bug of the
    doctor's.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return all(frame.filename.startswith(OWN_CODE) for frame in frames)

"""Runs every check over a subject, stage by stage, and folds what it finds under its roots."""

from __future__ import annotations

import sysconfig
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.fact import Cost
from quadlib.diagnosis.evidence.observed.completed import completed
from quadlib.diagnosis.finding import Finding, fold
from quadlib.diagnosis.limits import DEFAULT, Limits
from quadlib.diagnosis.registry import PHASES, Phase, checks
from quadlib.diagnosis.report import Diagnosis
from quadlib.diagnosis.sight import sight_of
from quadlib.diagnosis.subject import Subject, Unavailable

# Frames of these folders are the doctor's own code and the libraries that it calls.
OWN_CODE = (
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")),
)
# The dearest fact that a check of a phase may ask for.
ALLOWED: dict[Phase, Cost] = {
    "before": "reads",
    "batch": "steps",
    "steps": "steps",
    "epoch": "steps",  # a model, where it is given, tells how many embeddings a history is of
    "observed": "reads",
    "variables": "reads",
    "later": "reads",
}
NOTHING = (
    "nothing was given that a check could read; run the training loop under `quadlib doctor "
    "SCRIPT.py`, or give labels, splits, a batch sampler or a history"
)


def diagnose(
    subject: Subject,
    *,
    phases: Iterable[Phase] = PHASES,
    deep: bool = False,
    limits: Limits = DEFAULT,
) -> Diagnosis:
    """Examines a subject and names the root cause of what is wrong with it; never raises over the
    subject's own faults.

    The subject is as it was afterwards, bit for bit: random states, modes, buffers, weights,
    gradients, optimiser. What could not be checked is listed with the reason.

    Args:
        subject: the parts of a pipeline, all optional.
        phases: which checks run: "before" reads tables and settings alone, "batch" loads a batch or
            two and looks at what the subject's step makes of them, "steps" reads a few of its
            steps, which are undone, "epoch" reads history, evaluation and checkpoint, "observed"
            reads the record of a watched loop, "variables" what its variables hold, "later" what it
            did after its watched steps.
        deep: compare files however long it takes.
        limits: the thresholds of all checks; `Limits(few_copies=0.0)` changes one.

    Returns:
        The roots, earliest stage first, each with the findings that it explains; what ran, what
        could not run and why; tables of facts.

    Example:
        >>> from quadlib import Subject, diagnose
        >>> diagnose(Subject(labels=["good"] * 64)).roots[0].code
        'QL-L13'
    """
    started = time.perf_counter()
    subject = completed(subject)
    wanted = set(phases) - _left_out(subject)
    findings: list[Finding] = []
    ran: list[str] = []
    not_run: list[tuple[str, str]] = []
    crashed: list[tuple[str, str]] = []
    with Examination(subject, deep=deep, limits=limits) as examination:
        for item in checks():
            if item.phase not in wanted:
                continue
            examination.allowed = ALLOWED[item.phase]
            try:
                findings.extend(item.look(examination))
            except Unavailable as reason:
                not_run.append((item.label, str(reason)))
            # a subject's own code may raise anything; that is reported, not passed on
            except Exception as error:
                text = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
                if is_ours(error):
                    crashed.append((item.label, text))
                else:
                    not_run.append((item.label, f"it raised {text}"))
            else:
                ran.append(item.label)
        if subject.record is not None:
            findings = _once(findings)
        examination.allowed = "steps"
        facts = examination.facts(steps="steps" in wanted)
        sight = sight_of(examination, wanted)
    if not sight.blocked and not ran:
        sight = replace(sight, blocked=NOTHING)
    seconds = time.perf_counter() - started
    return Diagnosis(
        tuple(fold(findings)),
        tuple(ran),
        tuple(not_run),
        facts,
        seconds,
        tuple(crashed),
        sight,
    )


def is_ours(error: BaseException) -> bool:
    """Whether an error arose without any code of the subject taking part: then it is a bug of the
    doctor's.
    """
    frames = traceback.extract_tb(error.__traceback__)
    return all(frame.filename.startswith(OWN_CODE) for frame in frames)


def _left_out(subject: Subject) -> set[Phase]:
    """Phases that this subject has nothing for: without a record nothing was observed, and with
    one alone there is no model to be called by guess.
    """
    if subject.record is None:
        return {"observed", "variables", "later"}
    left_out: set[Phase] = {"batch", "steps"} if subject.model is None else set()
    return left_out | ({"later"} if subject.record.later is None else set())


def _once(findings: list[Finding]) -> list[Finding]:
    """One finding a code and part: what a table and a record both show is said once."""
    first: dict[tuple[str, str], Finding] = {}
    for item in findings:
        key = item.code, item.scope
        if key not in first or (item.severity == "error") > (first[key].severity == "error"):
            first[key] = item
    return list(first.values())

"""The checks: each is one contract, its code and the function that looks; packages add their own
with `quadlib.register_check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

from quadlib.diagnosis.entry import Entry
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import ORDER, STAGES, Finding
from quadlib.registry import CHECKS

Phase = Literal["before", "batch", "steps", "epoch", "observed"]
PHASES: tuple[Phase, ...] = ("before", "batch", "steps", "epoch", "observed")
Look = Callable[[Examination], Iterable[Finding]]

CODE = re.compile(rf"[A-Z]{{2}}-[{ORDER}]\d\d")


@dataclass(frozen=True)
class Check:
    """One contract: the code of what it finds, a name for people, and the function that looks.

    Args:
        code: two capitals, a hyphen, the letter of the stage, two digits; QL is quadlib's own.
        name: what holds where nothing is wrong: "no sample is silent".
        phase: what the look costs: "before" reads tables and settings alone; "batch" loads and
            embeds the first batch; "steps" takes a few optimiser steps on the subject (undone
            afterwards); "epoch" reads history, evaluation and checkpoint; "observed" reads the
            record of a watched loop.
        look: yields findings, and raises Unavailable with the reason where it cannot judge.
        entry: what `quadlib explain CODE` says; of quadlib's own codes it is in the catalogue.
    """

    code: str
    name: str
    phase: Phase
    look: Look
    entry: Entry | None = None

    def __post_init__(self) -> None:
        problems = []
        if not CODE.fullmatch(self.code):
            stages = ", ".join(f"{letter} {stage}" for letter, stage in STAGES.items())
            problems.append(
                f"code {self.code!r} is not two capitals, a hyphen, the letter of a stage "
                f"({stages}) and two digits, as XY-D01 is"
            )
        elif self.entry is None and not self.code.startswith("QL-"):
            problems.append(
                f"{self.code} is not explained; pass entry=Entry(title, what, why, ...)"
            )
        if self.phase not in PHASES:
            problems.append(f"phase {self.phase!r} is none of {', '.join(PHASES)}")
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def label(self) -> str:
        return f"{self.code} {self.name}"


def check(code: str, name: str, phase: Phase = "before") -> Callable[[Look], Look]:
    """Registers a function as the check of one of quadlib's own contracts."""

    def register(look: Look) -> Look:
        item = Check(f"QL-{code}", name, phase, look)
        CHECKS.register(item.label, item)
        return look

    return register


def checks() -> list[Check]:
    """Every check, quadlib's own and those of plugins, in the order of the stages."""
    found = [cast(Check, item) for _, item in CHECKS.items()]
    return sorted(found, key=lambda item: (ORDER.index(item.code[3]), item.code))

"""A finding: one violated contract, with its numbers, what it rules out, what it explains and one
way out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
STAGES = {
    "D": "data",
    "L": "labels",
    "S": "split",
    "B": "batch",
    "M": "modality",
    "N": "model",
    "P": "loss",
    "O": "optimiser",
    "E": "evaluation",
    "C": "checkpoint",
}
ORDER = "".join(STAGES)
# Stages whose output a later stage consumes: data, labels and split feed the batch; batch and
# modalities feed the model; and so on.


@dataclass(frozen=True)
class Finding:
    """One violated contract.

    code: QL-, the stage's letter, two digits; stable, never reused. severity: error (an exact
    contract), warning (statistical, with its p) or note (advice). title stands alone. evidence:
    numbers together with the formula that predicts them. consequences: codes of findings that this
    one predicts and would fold, as its contract says. scope: the part it is about (a modality, a
    module), so that a fault of one part does not explain another's. candidates: where the evidence
    cannot separate several faults, their names, and `decide` is the one observation that would.
    alike: names of samples that are copies of each other, for a viewer to put side by side.
    """

    code: str
    severity: Severity
    title: str
    where: str
    evidence: tuple[str, ...]
    help: str
    ruled_out: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    consequences: tuple[str, ...] = ()
    scope: str = ""
    candidates: tuple[str, ...] = ()
    decide: str = ""
    step: int | None = None
    symptom: bool = False
    alike: tuple[tuple[str, ...], ...] = ()
    folded: tuple[Finding, ...] = field(default=())

    @property
    def stage(self) -> str:
        """Name of the stage whose contract is violated."""
        return STAGES[self.code[3]]

    def predicts(self, other: Finding) -> bool:
        """Whether the other finding is a consequence of this one: named by code, or by stage letter
        and star ("QL-P*").

        A note explains notes alone, so that advice never hides an alarm.
        """
        if self.severity == "note" and other.severity != "note":
            return False
        named = any(
            other.code == code or (code.endswith("*") and other.code.startswith(code[:-1]))
            for code in self.consequences
        )
        return named and (not self.scope or not other.scope or self.scope == other.scope)

    def with_folded(self, folded: tuple[Finding, ...]) -> Finding:
        return replace(
            self, folded=folded, explains=(*self.explains, *(item.title for item in folded))
        )

    def alone(self) -> Finding:
        """This finding without what was folded under it."""
        causes = self.explains[: len(self.explains) - len(self.folded)]
        return replace(self, folded=(), explains=causes)

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "stage": self.stage,
            "title": self.title,
            "where": self.where,
            "evidence": list(self.evidence),
            "ruled_out": list(self.ruled_out),
            "explains": list(self.explains),
            "candidates": list(self.candidates),
            "decide": self.decide,
            "help": self.help,
            "scope": self.scope,
            "step": self.step,
            "alike": [list(names) for names in self.alike],
            "folded": [item.to_dict() for item in self.folded],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """The finding that `to_dict` wrote."""
        known: dict[str, Any] = {
            name: values[name]
            for name in ("code", "severity", "title", "where", "help", "decide", "scope", "step")
        }
        lists: dict[str, Any] = {
            name: tuple(values[name])
            for name in ("evidence", "ruled_out", "explains", "candidates")
        }
        alike = tuple(tuple(names) for names in values.get("alike", ()))
        return cls(
            **known,
            **lists,
            alike=alike,
            folded=tuple(cls.from_dict(item) for item in values["folded"]),
        )


def fold(found: list[Finding]) -> list[Finding]:
    """The roots, earliest stage first, each holding the findings that it predicts, directly or
    through another.

    A contract is judged given its actual input, so a violation is the stage's own fault unless a
    finding of an earlier stage predicts it, or one of its own stage that names its code; two that
    do not predict each other are two roots.
    """
    ordered = sorted(found, key=lambda item: (item.symptom, ORDER.index(item.code[3]), item.code))

    causes: dict[int, int] = {}

    def root_of(position: int) -> int:
        while position in causes:
            position = causes[position]
        return position

    for position, item in enumerate(ordered):
        for other, cause in enumerate(ordered):
            comes_first = other < position or _of_one_stage(cause, item)
            if comes_first and cause.predicts(item) and root_of(other) != position:
                causes[position] = other
                break
    return [
        item.with_folded(tuple(ordered[i] for i in sorted(causes) if root_of(i) == position))
        for position, item in enumerate(ordered)
        if position not in causes
    ]


def _of_one_stage(cause: Finding, item: Finding) -> bool:
    """Whether a finding follows from one of its own stage that names it by its code."""
    return (
        cause.symptom == item.symptom
        and cause.stage == item.stage
        and item.code in cause.consequences
    )

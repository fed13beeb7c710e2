"""A contract of the pipeline: what one stage owes the next, declared once; everything that is said
of its code comes from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from quadlib.diagnosis.finding import ORDER, STAGES, Finding, Severity

CODE = re.compile(rf"[A-Z]{{2}}-[{ORDER}]\d\d")


@dataclass(frozen=True)
class Contract:
    """One contract; its checks yield `broken(...)` where it does not hold.

    Args:
        code: two capitals, a hyphen, the letter of the stage, two digits; QL is quadlib's own.
            Stable, never reused.
        title: the breach in one line.
        what: what must hold, and how it is judged.
        why: why that matters and how a breach shows.
        fix: what to do.
        example: code that breaks it and leaves a `Diagnosis` that says so.
        predicts: codes of the breaches that follow from this one and are folded under it; a stage's
            letter and a star stand for all of that stage ("QL-P*"). A breach predicts nothing of an
            earlier stage, unless that is a mere symptom.

    Raises:
        ValueError: the code is not of that form.

    Example:
        >>> from quadlib.diagnosis import Contract
        >>> odd = Contract("XY-L01", title="a class is odd", what="Counts are even.",
        ...                why="Pairs are left over.", fix="Label one more.", example="...")
        >>> finding = odd.broken("note", "class a: 3 samples", where="labels", evidence=("odd",))
        >>> finding.stage, finding.help
        ('labels', 'Label one more.')
    """

    code: str
    title: str
    what: str
    why: str
    fix: str
    example: str
    predicts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not CODE.fullmatch(self.code):
            stages = ", ".join(f"{letter} {stage}" for letter, stage in STAGES.items())
            raise ValueError(
                f"code {self.code!r} is not two capitals, a hyphen, the letter of a stage "
                f"({stages}) and two digits, as XY-D01 is"
            )

    def broken(
        self,
        severity: Severity,
        title: str,
        where: str,
        evidence: tuple[str, ...],
        help: str = "",
        *,
        ruled_out: tuple[str, ...] = (),
        explains: tuple[str, ...] = (),
        predicts: tuple[str, ...] | None = None,
        scope: str = "",
        candidates: tuple[str, ...] = (),
        decide: str = "",
        step: int | None = None,
        symptom: bool = False,
        alike: tuple[tuple[str, ...], ...] = (),
    ) -> Finding:
        """A breach of this contract, as `Finding` describes it; help is the contract's fix and
        predicts its own list where they are left out.
        """
        return Finding(
            self.code,
            severity,
            title,
            where,
            evidence,
            help or self.fix,
            ruled_out=ruled_out,
            explains=explains,
            consequences=self.predicts if predicts is None else predicts,
            scope=scope,
            candidates=candidates,
            decide=decide,
            step=step,
            symptom=symptom,
            alike=alike,
        )

    def to_text(self) -> str:
        """What `quadlib explain CODE` says."""
        example = "\n".join(f"    {line}" for line in self.example.strip().splitlines())
        return (
            f"{self.code}: {self.title}\n\n{self.what}\n\nWhy it matters: {self.why}\n\n"
            f"What to do: {self.fix}\n\nAn example that triggers it:\n\n{example}\n"
        )

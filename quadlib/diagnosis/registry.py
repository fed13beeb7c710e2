"""The checks: each judges one contract; packages add their own with the same decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

from quadlib.diagnosis.contract import Contract
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import ORDER, Finding
from quadlib.registry import CHECKS

Phase = Literal["before", "batch", "steps", "epoch", "observed", "variables", "later"]
PHASES: tuple[Phase, ...] = get_args(Phase)
Look = Callable[[Examination], Iterable[Finding]]


@dataclass(frozen=True)
class Check:
    """One way to judge a contract.

    Args:
        contract: what is judged.
        name: what holds where nothing is wrong: "no sample is silent".
        phase: what the look costs: "before" reads tables and settings alone; "batch" loads a
            batch or two and looks at what the subject's step makes of them; "steps" reads a few of
            its steps (undone afterwards); "epoch" reads history, evaluation and checkpoint;
            "observed" reads the record of a watched loop, "variables" what its variables hold,
            after the watched steps and again at the end, "later" what it did afterwards.
        look: yields `contract.broken(...)`, and raises Unavailable with the reason where it cannot
            judge.
    """

    contract: Contract
    name: str
    phase: Phase
    look: Look

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(f"phase {self.phase!r} is none of {', '.join(PHASES)}")

    @property
    def code(self) -> str:
        return self.contract.code

    @property
    def label(self) -> str:
        return f"{self.code} {self.name}"


def check(contract: Contract, name: str, phase: Phase = "before") -> Callable[[Look], Look]:
    """Registers a function as a check of a contract; its arguments are those of `Check`.

    Raises:
        RegistryError: the contract has a check of this name.
    """

    def register(look: Look) -> Look:
        item = Check(contract, name, phase, look)
        CHECKS.register(item.label, item)
        return look

    return register


def checks() -> list[Check]:
    """Every check, quadlib's own and those of plugins, in the order of the stages."""
    entries = [cast(Check, item) for _, item in CHECKS.items()]
    return sorted(entries, key=lambda item: (ORDER.index(item.code[3]), item.code))


def contracts() -> dict[str, Contract]:
    """Every contract that a check judges, by code, in the order of the stages."""
    return {item.code: item.contract for item in checks()}

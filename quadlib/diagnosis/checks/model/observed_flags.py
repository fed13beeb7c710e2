"""Modules of a watched loop that were meant to be frozen or opened."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.model.watched_contracts import N22
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.roles import parts
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(N22, "no watched module has a flag of its own against its parameters'", phase="observed")
def flag_on_a_module(x: Examination) -> Iterator[Finding]:
    for flag in (False, True):
        modules = {
            name: module
            for name, module in x.record.modules.items()
            if vars(module).get("requires_grad") is flag
            and any(True for _ in module.parameters())
            and all(p.requires_grad is not flag for p in module.parameters())
        }
        if not modules:
            continue
        count = sum(p.numel() for module in modules.values() for p in module.parameters())
        meant = ("frozen", "trained") if not flag else ("trained", "frozen")
        yield N22.broken(
            "warning",
            f"{parts(set(modules))}: requires_grad = {flag} on a module does nothing",
            parts(set(modules)),
            (
                f"requires_grad is a plain attribute there ({flag}); all its parameters have "
                f"{not flag}",
                f"{count} numbers that seem meant to be {meant[0]} are {meant[1]}",
            ),
            f"module.requires_grad_({flag}); make the optimiser after it",
            ruled_out=("the optimiser: it takes what it is given",),
        )

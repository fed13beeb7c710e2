"""What was seen, as a picture: from batch to update, each link with the checks behind it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quadlib.diagnosis.finding import Finding

State = Literal["ok", "warning", "error", "not seen"]
# Link of the chain -> letters of the stages whose checks speak of it.
LINKS = {
    "data and labels": "DLS",
    "batch": "BM",
    "model": "N",
    "loss": "P",
    "gradient and update": "O",
    "evaluation": "E",
    "checkpoint": "C",
}
COLOURS: dict[State, str] = {
    "ok": "#009E73",
    "warning": "#E69F00",
    "error": "#D55E00",
    "not seen": "#999999",
}
SIGNS: dict[State, str] = {"ok": "✓", "warning": "!", "error": "✗", "not seen": "–"}


@dataclass(frozen=True)
class Link:
    """One link: its state, what was found in it, which checks passed and which could not judge."""

    name: str
    state: State
    found: tuple[str, ...]
    passed: tuple[str, ...]
    not_run: tuple[str, ...]


def chain_of(
    findings: Sequence[Finding], ran: Sequence[str], not_run: Sequence[tuple[str, str]]
) -> tuple[Link, ...]:
    """The links of the pipeline in the order in which data flow through them.

    A link is green when its checks passed, amber or red by the worst that was found in it, and grey
    when none of its checks could judge.
    """
    links = []
    for name, letters in LINKS.items():
        found = [item for item in findings if item.code[3] in letters]
        severities = {item.severity for item in found}
        passed = tuple(label for label in ran if label[3] in letters)
        state: State = (
            "error"
            if "error" in severities
            else "warning"
            if "warning" in severities
            else "ok"
            if passed
            else "not seen"
        )
        links.append(
            Link(
                name,
                state,
                tuple(f"{item.severity}[{item.code}]: {item.title}" for item in found),
                passed,
                tuple(f"{label}: {reason}" for label, reason in not_run if label[3] in letters),
            )
        )
    return tuple(links)


def chain_html(links: Sequence[Link]) -> str:
    """The chain as boxes in a row; each opens to its checks. Every text is escaped."""
    boxes = "".join(_box(link) for link in links)
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px;margin:8px 0">{boxes}</div>'


def _box(link: Link) -> str:
    lists = "".join(
        _list(title, lines)
        for title, lines in (
            ("found", link.found),
            ("passed", link.passed),
            ("could not judge", link.not_run),
        )
        if lines
    )
    return (
        f'<details style="border:2px solid {COLOURS[link.state]};border-radius:6px;'
        f'padding:4px 8px;max-width:30em"><summary>{SIGNS[link.state]} {html.escape(link.name)}: '
        f"{link.state}</summary>{lists}</details>"
    )


def _list(title: str, lines: tuple[str, ...]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<p>{title}</p><ul>{items}</ul>"

"""A verdict: what a reader sees first in each notebook, a sign, a word, the finding, and the few
numbers that carry it.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import Any, Literal

from quadlib.figures.style import ATTENTION, BROKEN, FINE
from quadlib.figures.terms import explained

Level = Literal["fine", "needs attention", "broken"]
MOST_NUMBERS = 3  # that are seen at once
_ROW = '<div style="display:flex;flex-wrap:wrap;gap:1em 2.2em;margin:.7em 0">'
SIGNS = {"fine": ("✓", FINE), "needs attention": ("▲", ATTENTION), "broken": ("✕", BROKEN)}


@dataclass(frozen=True)
class Verdict:
    """A finding in words with its level and numbers, of which three are seen at once; shows itself
    as HTML in a notebook and as plain text anywhere else.
    """

    level: Level
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{SIGNS[self.level][0]} {self.level}: {self.sentence}",
            *(f"  {name}: {value}" for name, value in self.numbers),
            *(f"  {note}" for note in (*self.notes, *self.steps)),
        ]
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Text and HTML for a notebook, and the parts themselves, which a report sets in its own
        head.
        """
        parts = {
            "level": self.level,
            "sentence": self.sentence,
            "numbers": [list(pair) for pair in self.numbers],
            "notes": list(self.notes),
            "steps": list(self.steps),
        }
        return {
            "text/plain": str(self),
            "text/html": self.to_html(),
            "application/vnd.quadlib.verdict+json": parts,
        }

    def noting(self, *notes: str) -> Verdict:
        """The same verdict with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def going_on(self, *steps: str) -> Verdict:
        """The same verdict with the next steps, such as commands, folded under it."""
        return replace(self, steps=(*self.steps, *steps))

    def warned(self, *signs: str) -> Verdict:
        """The verdict with these warning signs in its sentence: no longer fine where there is
        one.
        """
        level: Level = "needs attention" if signs and self.level == "fine" else self.level
        return replace(self, level=level, sentence=" ".join([self.sentence, *signs]))

    def to_html(self) -> str:
        """Self-contained HTML; every text that may come from the data is escaped."""
        sign, colour = SIGNS[self.level]
        first, further = (
            "".join(map(_tile, part))
            for part in (self.numbers[:MOST_NUMBERS], self.numbers[MOST_NUMBERS:])
        )
        steps = "".join(f"<p><code>{html.escape(step)}</code></p>" for step in self.steps)
        note, notes = ("".join(map(_note, part)) for part in (self.notes[:1], self.notes[1:]))
        return (
            '<div class="quad-verdict" role="note" style="border-left:5px solid '
            f'{colour};padding:.4em 1em;margin:.5em 0">'
            '<p style="font-size:1.15em;margin:.2em 0"><span aria-hidden="true" '
            f'style="color:{colour};font-weight:700">{sign}</span> '
            f"<strong>{html.escape(self.level)}</strong>: {explained(self.sentence)}</p>"
            + (f"{_ROW}{first}</div>" if first else "")
            + note
            + (_folded("Further notes", notes) if notes else "")
            + (_folded("More numbers", f"{_ROW}{further}</div>") if further else "")
            + (_folded("Next steps", steps) if steps else "")
            + "</div>"
        )


def _tile(pair: tuple[str, str]) -> str:
    name, value = explained(pair[0]), html.escape(pair[1])
    return (
        '<div class="quad-number" style="min-width:7em"><div '
        f'style="font-size:1.45em;font-weight:600">{value}</div><div '
        f'style="opacity:.75">{name}</div></div>'
    )


def _note(text: str) -> str:
    return f'<p style="margin:.3em 0;opacity:.85;white-space:pre-line">{html.escape(text)}</p>'


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>{content}</details>"

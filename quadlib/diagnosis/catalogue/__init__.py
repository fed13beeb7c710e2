"""What the contracts say to people: one code explained, and the tables of the page."""

from __future__ import annotations

from quadlib.diagnosis.registry import contracts


def explain(code: str) -> str:
    """The text for a code; raises KeyError that lists the known codes."""
    known = contracts()
    if code not in known:
        raise KeyError(f"{code!r} is no code of the doctor; known are {', '.join(known)}")
    return known[code].to_text()

"""The codes of findings that a run allows, checked before data are read or a kernel starts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from quadlib.config import SettingsError, TrainSettings
from quadlib.config.base import list_from_text


def unknown_codes(values: Mapping[str, Any]) -> list[str]:
    """One line for each code in `allow` that the doctor does not know, with those near it; values
    of a wrong type are left to the settings.
    """
    allow = values.get("allow", [])
    allow = list_from_text(allow) if isinstance(allow, str) else allow
    codes = [code for code in allow if isinstance(code, str)] if isinstance(allow, list) else []
    if not codes:
        return []
    # imported here: most runs allow nothing, and the doctor is slow to load
    from quadlib.diagnosis.registry import contracts

    known = list(contracts())
    return [
        f"allow: {code!r} is no code of the doctor; {_nearest(code, known)}"
        for code in codes
        if code not in known
    ]


def check_codes(settings: TrainSettings) -> None:
    """Raises SettingsError that lists every unknown code in `allow`."""
    problems = unknown_codes({"allow": settings.allow})
    if problems:
        raise SettingsError("\n".join(problems))


def _nearest(code: str, known: list[str]) -> str:
    near = difflib.get_close_matches(code.upper(), known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"

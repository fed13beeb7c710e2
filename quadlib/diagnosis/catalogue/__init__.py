"""Every code that the doctor may give, explained; one file a stage, and the entries of plugins."""

from __future__ import annotations

from importlib import import_module

from quadlib.diagnosis.entry import Entry
from quadlib.diagnosis.finding import STAGES
from quadlib.diagnosis.registry import checks


def catalogue() -> dict[str, Entry]:
    """All entries by code."""
    files = [import_module(f"quadlib.diagnosis.catalogue.{stage}") for stage in STAGES.values()]
    own: dict[str, Entry] = {code: entry for file in files for code, entry in file.ENTRIES.items()}
    return own | {item.code: item.entry for item in checks() if item.entry is not None}


def explain(code: str) -> str:
    """The text for a code; raises KeyError that lists the known codes."""
    entries = catalogue()
    if code not in entries:
        raise KeyError(f"{code!r} is no code of the doctor; known are {', '.join(entries)}")
    return entries[code].to_text(code)

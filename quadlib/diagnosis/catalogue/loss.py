"""The codes of the loss stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.entry import Entry

ENTRIES: dict[str, Entry] = {}

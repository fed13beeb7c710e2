"""What a run's record says of its status, and what is true now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quadlib.files import is_held

# Lock files in a run's folder; the system frees them when their holder dies, whatever killed it.
TRAINING_LOCK, NOTEBOOK_LOCK = ".lock", ".notebook.lock"
LOST = {
    "type": "Lost",
    "message": "the process that worked on it ended without a word: it was killed, or the machine "
    "stopped",
}


def as_it_is(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """A run's record with "killed" in the place of each "running" that no process stands for.

    Who works on a run holds one of its locks; one that was killed could not write that it ended.
    """
    record = dict(record)
    if record["status"] == "running" and not any(
        is_held(folder / name) for name in (TRAINING_LOCK, NOTEBOOK_LOCK)
    ):
        record |= _killed(record)
    running = [
        name for name, entry in record["notebooks"].items() if entry.get("status") == "running"
    ]
    if running and not is_held(folder / NOTEBOOK_LOCK):
        notebooks = record["notebooks"]
        record["notebooks"] = notebooks | {
            name: notebooks[name] | _killed(notebooks[name]) for name in running
        }
    return record


def _killed(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": "killed", "error": entry.get("error") or LOST}

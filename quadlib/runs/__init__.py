"""outputs/: one folder a run, with its record, and what is read from it.

.. include:: README.md
"""

from __future__ import annotations

from quadlib.runs.lines import lines_text, read_lines
from quadlib.runs.names import new_name
from quadlib.runs.run import (
    STATUSES,
    DamagedRun,
    Run,
    RunError,
    RunRecord,
    Status,
    damaged_runs,
    list_runs,
)

__all__ = [
    "DamagedRun",
    "Run",
    "RunError",
    "RunRecord",
    "STATUSES",
    "Status",
    "damaged_runs",
    "lines_text",
    "list_runs",
    "new_name",
    "read_lines",
]

"""The first screen of a report: the verdict in words with its numbers, or what failed, where, and
how to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from quadlib.runs import Run
from quadlib.runs.commands import notebook_command

# What figures.verdicts puts beside a verdict's HTML: {"level", "sentence", "numbers": [[name,
# value]], "notes": [...]}.
VERDICT_MIME = "application/vnd.quadlib.verdict+json"
LEVELS = {
    "fine": ("fine", "✓", "Fine"),
    "needs attention": ("look", "▲", "Needs attention"),
    "broken": ("broken", "✕", "Broken"),
}
ENDINGS = {
    "done": ("plain", "●", "Done"),
    "stopped": ("look", "▲", "Stopped"),
    "failed": ("broken", "✕", "Failed"),
    "killed": ("broken", "✕", "Killed"),
    "timed-out": ("broken", "✕", "Timed out"),
    "running": ("look", "▲", "Still running"),
    "queued": ("plain", "○", "Queued"),
}


@dataclass(frozen=True)
class Headline:
    """Tone (fine, look, broken, plain), sign and word of a verdict, its sentence, its numbers as
    (name, value), further notes, and the next steps.
    """

    tone: str
    sign: str
    word: str
    sentence: str
    numbers: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Where a notebook stopped, its last lines, and the way on."""

    where: str
    lines: tuple[str, ...]
    log: tuple[str, ...]
    remedy: str
    command: str


def headline(
    status: str, verdict: Mapping[str, Any] | None, error: Mapping[str, Any] | None
) -> Headline:
    """The verdict that the notebook gave; how it ended instead, when it did not end well."""
    if status in ("done", "stopped") and verdict is not None:
        ending = ENDINGS["stopped"] if status == "stopped" else LEVELS[verdict["level"]]
        return Headline(
            *ending,
            verdict["sentence"],
            tuple((str(name), str(value)) for name, value in verdict["numbers"]),
            tuple(verdict["notes"]),
            tuple(verdict.get("steps", ())),
        )
    sentence = (
        f"{error['type']}: {error['message']}"
        if error
        else "The notebook gave no verdict."
        if status == "done"
        else "No result yet."
    )
    return Headline(*ENDINGS[status], sentence)


def failure(run: Run, name: str, notebook: NotebookNode) -> Failure | None:
    """What a reader of a run that did not end well needs first; None for one that did."""
    entry = run.record.get("notebooks", {}).get(name, {})
    error, status = entry.get("error"), entry.get("status", "done")
    if error is None:
        return None
    remedy, command = _remedy(run, name, status)
    return Failure(
        _where(notebook, error.get("cell")),
        tuple(error.get("traceback") or ()),
        tuple(error.get("log") or ()),
        remedy,
        command,
    )


def _where(notebook: NotebookNode, cell: int | None) -> str:
    """The failing cell by the heading it stands under; cells that the runner put in do not
    count.
    """
    cells = [
        item
        for item in notebook.cells
        if "papermill-error-cell-tag" not in item.metadata.get("tags", [])
    ]
    if cell is None or cell >= len(cells):
        return ""
    headings = [
        line.lstrip("# ")
        for item in cells[:cell]
        if item.cell_type == "markdown"
        for line in item.source.splitlines()
        if line.startswith("#")
    ]
    number = sum(item.cell_type == "code" for item in cells[: cell + 1])
    return f"In code cell {number}" + (f", under “{headings[-1]}”." if headings else ".")


def _remedy(run: Run, name: str, status: str) -> tuple[str, str]:
    entry = run.record["notebooks"].get(name, {})
    given = entry.get("parameters", {}) if name.startswith(("03", "04")) else {}
    again = notebook_command(
        name, run, {key: value for key, value in given.items() if key not in ("run", "outputs")}
    )  # 01 and 02 read theirs back from run.json
    if run.trained and name.startswith("02"):
        kept = "The last complete checkpoint was kept; the same command resumes from it."
    else:
        kept = "The same command runs it again."
    hints = {
        "killed": "If memory ran out, use a smaller batch_size or fewer num_workers. ",
        "timed-out": "Allow more time with --timeout, or train fewer epochs. ",
        "failed": "Fix what the message names: a setting with -p name=value, or a file. ",
    }
    return hints.get(status, "") + kept, again

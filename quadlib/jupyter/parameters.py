"""A notebook's settings from its parameter cells, every mistake named before anything heavy is
imported.
"""

from __future__ import annotations

import ast
import difflib
import logging
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from quadlib import log_to_stdout
from quadlib.config import RunSettings, TrainSettings, read_settings
from quadlib.runs.memory import going_on, recall
from quadlib.runs.run import new_name, started_by_quadlib
from quadlib.training.names import unknown_codes

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=RunSettings)
INJECTED = "# Parameters"  # how the cell begins that papermill puts after the tagged one


def settings_from(model: type[Model], namespace: Mapping[str, Any]) -> Model:
    """The settings that the parameter cells left in a notebook's variables, papermill's values
    included; from here on the notebook shows what quadlib says while it works. A training run that
    has no name gets one, so that running a later cell again goes on with the same run.

    Args:
        model: Settings model of the notebook.
        namespace: The notebook's variables, `globals()`.

    Raises:
        SettingsError: Names or values are wrong, or parameters were removed from the cells; all are
            listed, a misspelt name with the nearest.

    Example:
        >>> from quadlib.config import DiagnoseSettings
        >>> run, outputs, seed, checkpoint, deep, media = "", "", 0, "best", False, False
        >>> settings_from(DiagnoseSettings, locals()).checkpoint
        'best'
    """
    log_to_stdout()
    fields = model.model_fields
    values = {name: namespace[name] for name in fields if name in namespace}
    problems = [*_wrong_names(model, namespace), *unknown_codes(values)]
    if values.get("fault"):  # imported here: the zoo is slow to load
        from quadlib.faults.lab import unknown_fault

        problems += unknown_fault(values)
    if problems or started_by_quadlib():  # which has read the run's settings back
        return read_settings(model, values, problems)
    given = {name: value for name, value in values.items() if value != fields[name].default}
    settings = recall(model, given)
    if isinstance(settings, TrainSettings) and not settings.run:
        settings = settings.model_copy(update={"run": new_name("train")})
    if before := going_on(settings):
        log.info(before)
    return settings


def _wrong_names(model: type[RunSettings], namespace: Mapping[str, Any]) -> list[str]:
    """A line for each parameter that is no setting, and for each setting that has no parameter."""
    known = list(model.model_fields)
    missing = [name for name in known if name not in namespace]
    lines = []
    for name in _parameters(namespace.get("In", []), set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        lines.append(f"{name}: no such setting; {hint}")
        missing = [other for other in missing if other not in near]
    if missing:
        lines.append(
            f"the notebook has no {', '.join(missing)}; run its parameter cells first, or restore "
            "the lines that were removed"
        )
    return lines


def _parameters(cells: list[str], known: set[str]) -> list[str]:
    """The names that the parameter cells give which are no settings, from the cells as they were
    run, the running one last.

    Those directly before it count, each in its latest version: a line that was corrected since is
    left alone.
    """
    strange: list[str] = []
    seen: set[str] = set()
    for source in reversed(cells[:-1]):
        names = _assigned(source)
        if not names:
            break
        ours = names & known
        if ours and ours <= seen:
            continue  # an earlier version of a cell that was run again
        seen |= ours
        strange += sorted(names - known)
    return list(dict.fromkeys(strange))


def _assigned(source: str) -> set[str]:
    """The names that a parameter cell assigns: one of annotated lines alone, or papermill's own;
    empty for any other cell.
    """
    try:
        lines = ast.parse(source).body
    except SyntaxError:  # a magic, for instance
        return set()
    annotated = [isinstance(line, ast.AnnAssign) for line in lines]
    plain = all(isinstance(line, ast.AnnAssign | ast.Assign) for line in lines)
    return (
        set(_targets(lines)) if source.startswith(INJECTED) or plain and any(annotated) else set()
    )


def _targets(lines: list[ast.stmt]) -> Iterator[str]:
    for line in lines:
        targets = line.targets if isinstance(line, ast.Assign) else []
        targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
        yield from (target.id for target in targets if isinstance(target, ast.Name))

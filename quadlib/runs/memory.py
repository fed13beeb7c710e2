"""What a run was started with, read back from run.json: naming the run is enough to go on with
it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from quadlib.config import DataSettings, RunSettings, SettingsError, read_settings
from quadlib.files import outputs_folder
from quadlib.runs.earlier import as_recorded
from quadlib.runs.run import Run

# Settings that may differ between the two halves of an interrupted run without changing its result.
FREE_TO_CHANGE = (
    *("run", "outputs", "path", "data_root"),
    *("checkpoint_every_seconds", "checkpoint_every_steps"),
    *("num_workers", "log_every_steps", "resume", "debug", "device", "allow", "refit"),
    *("micro_batch", "nproc"),
)
# of one start alone: a run that was begun anew is gone on with all the same
OF_ONE_START = ("run", "outputs", "resume")

Model = TypeVar("Model", bound=RunSettings)


def recall(model: type[Model], given: Mapping[str, Any], further: Sequence[str] = ()) -> Model:
    """The settings of a notebook: those given, and for the others what the named run was started
    with, or the defaults.

    Args:
        model: Settings model of the notebook. What 03 and 04 take is no part of a run, and is
            not remembered.
        given: Names and values, still as they were written; `run` is a name, or the folder of a
            run that exists.
        further: Problems that the caller saw in the values, to be listed with the others.

    Returns:
        The settings; of a run given by its folder, `run` is the name and `outputs` its place.

    Raises:
        SettingsError: Wrong values, all of them; or settings that differ from those with which the
            run would go on.

    Example:
        >>> from quadlib.config import TrainSettings
        >>> run = Run.create(TrainSettings(run="short", outputs="outputs"))
        >>> run.update(settings={"epochs": 3, "source": "mfeat"})
        >>> recall(TrainSettings, {"run": "short", "outputs": "outputs"}).epochs
        3
    """
    given = {**given, **_place(given)}
    run = _named(given)
    if run is None or not issubclass(model, DataSettings):
        return read_settings(model, given, further)
    before = {
        name: value for name, value in started_with(run).items() if name in model.model_fields
    }
    settings = read_settings(model, before | given, further)
    if run.trained and getattr(settings, "resume", "auto") != "never":
        _refuse_others(run, {name: getattr(settings, name) for name in given}, before)
    return settings


def started_with(run: Run) -> dict[str, Any]:
    """The settings that a run was started with: of its training, else those given to the notebooks
    that were started in it; empty for a new one.
    """
    record = run.record
    given: dict[str, Any] = {}
    for name, entry in record["notebooks"].items():
        given |= entry.get("parameters", {}) if name.startswith(("01", "02")) else {}
    return {
        name: value
        for name, value in (given | as_recorded(record["settings"])).items()
        if name not in OF_ONE_START
    }


def going_on(settings: RunSettings) -> str:
    """What is said of a run that goes on: the settings that are not defaults; empty where the run
    is new.
    """
    run = _named(settings.model_dump())
    if run is None or not isinstance(settings, DataSettings) or not started_with(run):
        return ""
    fields, values = type(settings).model_fields, settings.model_dump()
    changed = [
        f"{name}={value}"
        for name, value in values.items()
        if value != fields[name].default and name not in OF_ONE_START
    ]
    return f"run {run.name} goes on with {', '.join(changed) or 'default settings'}"


def _place(given: Mapping[str, Any]) -> dict[str, str]:
    """Name and outputs folder of a run that was given by its folder."""
    folder = Path(str(given.get("run") or "")).expanduser()
    if len(folder.parts) < 2 or not os.path.isfile(folder / "run.json"):
        return {}
    folder = folder.resolve()
    outputs = str(given.get("outputs") or "")
    if outputs and outputs_folder(outputs) != folder.parent:
        raise SettingsError(
            f"run: {folder} does not lie in outputs {outputs_folder(outputs)}; leave outputs out"
        )
    return {"run": folder.name, "outputs": str(folder.parent)}


def _named(given: Mapping[str, Any]) -> Run | None:
    """The run that is named, where it exists."""
    name = str(given.get("run") or "")
    run = Run(outputs_folder(str(given.get("outputs") or "")) / name)
    return run if name and os.path.isfile(run.path("run.json")) else None


def _refuse_others(run: Run, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    others = [
        f"  {name}: {before[name]!r} in run.json, {now[name]!r} given"
        for name in now
        if name in before and name not in FREE_TO_CHANGE and before[name] != now[name]
    ]
    if others:
        raise SettingsError(
            f"run {run.name} goes on with what it was started with, from which "
            f"{len(others)} given {'setting differs' if len(others) == 1 else 'settings differ'}:\n"
            + "\n".join(others)
            + "\nLeave them out to go on, name another run, or train this one anew with "
            "resume=never."
        )

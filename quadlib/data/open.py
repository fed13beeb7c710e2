"""From a source's name, or a run's settings, to a SampleTable."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import BatchesSettings, SettingsError, TrainSettings, read_fold
from quadlib.data.folds import assign_fold
from quadlib.data.kinds import kind_of
from quadlib.data.samples import SPLITS, SampleTable, TableError, raise_problems, some
from quadlib.data.splits import assign_splits
from quadlib.registry import SOURCES, RegistryError


def open_source(name: str, path: str | Path | None = None, **options: Any) -> SampleTable:
    """Reads the recordings of a source, and checks every row of its table.

    Args:
        name: "weldsim" (simulated, made on first use), "intel_weld" (the measured set), "mfeat"
            (digits), "table" (a file of your own), or one that `register_source` added.
        path: the folder of weldsim (made there) or intel_weld, the .csv, .parquet or .npz file of a
            table; None takes the source's own place.
        **options: of the reader: `size`, `seed` and the simulator's switches for weldsim, `views`
            and `seed` for mfeat.

    Returns:
        The table, in the source's order, with the split that it brings or "".

    Raises:
        SettingsError: no such source or option; the near names are in the message.
        TableError: all problems of the recordings at once.

    Example:
        >>> from quadlib import open_source
        >>> table = open_source("mfeat", views=("fou", "mor"))
        >>> len(table), list(table.modalities)
        (2000, ['fou', 'mor'])
    """
    try:
        reader = SOURCES[name]
    except RegistryError as error:
        raise SettingsError(str(error)) from None
    parameters = inspect.signature(reader).parameters.values()
    known = _keywords(reader)
    unknown = [
        f"{key}: {name} has no such option; {_nearest(key, known)}"
        for key in options
        if key not in known
    ]
    # the simulator's switches are checked by the simulator
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise SettingsError("\n".join(unknown))
    table: SampleTable = reader(path or None, **options)
    return table


def open_table(settings: TrainSettings | BatchesSettings) -> SampleTable:
    """The table of a run: its source, its modalities in the order asked for, and every recording in
    a split.

    split="source" keeps the split that the source brings, and makes one where it brings none;
    split="grouped" always makes one, and so does fold="2/5", of which every part is tested once.
    Whether the result is fit to train on is said by
    `check_trainable`.

    Args:
        settings: of a run; `source`, `path`, `size`, `seed`, `modalities`, `split` and `fractions`
            count.

    Returns:
        A table whose every recording is in train, val or test.

    Raises:
        SettingsError: fractions that a kept split would leave unread.
        TableError: all problems of the recordings at once.

    Example:
        >>> from quadlib import open_table
        >>> from quadlib.config import TrainSettings
        >>> table = open_table(TrainSettings(source="mfeat", modalities=["mor"], seed=1))
        >>> table.frame["split"].value_counts().to_dict()
        {'test': 1200, 'train': 480, 'val': 320}
    """
    table, problems = read_table(settings)
    raise_problems(f"{table.name} cannot be divided", problems)
    return table


def read_table(settings: TrainSettings | BatchesSettings) -> tuple[SampleTable, list[str]]:
    """The table of a run as `open_table` gives it, and why it cannot be divided; its recordings are
    then in no split.

    Raises SettingsError and TableError for all that is wrong before a split is made.
    """
    reader = SOURCES[settings.source]
    options = {
        name: getattr(settings, name)
        for name in _keywords(reader)
        if name in type(settings).model_fields
    }
    if "seed" in options and settings.data_seed >= 0:
        options["seed"] = settings.data_seed
    table = open_source(settings.source, settings.path, **options)
    if settings.modalities:
        table = table.with_modalities(settings.modalities)
    if settings.group:
        table = grouped_by(table, settings.group)
    table = with_encoders(table, getattr(settings, "encoders", {}), getattr(settings, "tune", {}))
    table = with_roles(table, settings.normal_class, settings.confounds)
    table = with_classes(table, settings.classes, settings.leave_out)
    if settings.fold or settings.split == "grouped" or (table.frame["split"] == "").all():
        table = _without_own_split(table, settings)
        try:
            return divided(table, settings), []
        except TableError as error:
            lines = [line.strip() for line in str(error).splitlines()[1:]]
            return table.with_columns(split=""), lines
    if settings.fractions != type(settings).model_fields["fractions"].default:
        raise SettingsError(
            f"fractions {settings.fractions}: {table.name} brings a split of its own, so they are "
            "not read; "
            'take split="grouped" to make a new one'
        )
    return table, []


def _without_own_split(
    table: SampleTable, settings: TrainSettings | BatchesSettings
) -> SampleTable:
    """The table with a note where it brings a split that the settings replace."""
    if (table.frame["split"] == "").all():
        return table
    counts = table.frame["split"].value_counts()
    was = ", ".join(f"{name} {counts[name]}" for name in SPLITS if name in counts)
    asked = f'fold="{settings.fold}"' if settings.fold else 'split="grouped"'
    note = f"the table's own split ({was}) is not used: {asked} divides it anew"
    return replace(table, notes=[*table.notes, note])


def divided(table: SampleTable, settings: TrainSettings | BatchesSettings) -> SampleTable:
    """The table in the fold, or else the split, that the settings ask for. Raises TableError."""
    first, second, third = settings.fractions
    choice, seed = settings.single_session, settings.division_seed
    if settings.fold:
        return assign_fold(
            table,
            *read_fold(settings.fold),
            val_share=second / (first + second),
            single_session=choice,
            seed=seed,
        )
    return assign_splits(table, (first, second, third), single_session=choice, seed=seed)


def grouped_by(table: SampleTable, columns: Sequence[str]) -> SampleTable:
    """The table with its sessions named by these columns, together. Raises SettingsError."""
    known = list(table.frame.columns)
    problems = [
        f"group: no column {name!r}; {_nearest(name, known)}"
        for name in columns
        if name not in known
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    parts = [table.frame[name].astype(str) for name in columns]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + " / " + part
    empty = joined.str.strip(" /") == ""
    if empty.any():
        raise SettingsError(
            f"group: {some(table.frame['sample_id'][empty])} have no {', '.join(columns)}; fill it "
            "in, or name another column"
        )
    return table.with_columns(group=joined.to_numpy(dtype=object))


def with_roles(table: SampleTable, normal_class: str, confounds: Sequence[str]) -> SampleTable:
    """The table with this normal class and these confounds, or its own where they are empty. Raises
    TableError.
    """
    return replace(
        table,
        normal_class=normal_class or table.normal_class,
        confounds={"confounds": confounds} if confounds else table.confounds,
    )


def with_encoders(
    table: SampleTable, encoders: Mapping[str, str], tune: Mapping[str, str] | None = None
) -> SampleTable:
    """The table with these modalities read by the encoders of these names, of whose networks these
    parts are trained. Raises SettingsError that lists everything that stands against it.
    """
    modalities, tune = dict(table.modalities), tune or {}
    problems = [
        f"tune: {name!r} has no encoder of its own; name one in encoders, or leave it out"
        for name in tune
        if name not in encoders
    ]
    for name, encoder in encoders.items():
        if name not in modalities:
            near = _nearest(name, list(modalities))
            problems.append(f"encoders: no modality {name!r}; {near}")
            continue
        modalities[name] = replace(modalities[name], encoder=encoder, tune=tune.get(name, ""))
        try:
            reads_files = bool(kind_of(modalities[name]).fixed)
        except ValueError as error:  # unknown, not for this kind, or without its weights
            problems.append(f"encoders: {name}={encoder}: {error}")
            continue
        if reads_files and name in table.arrays:
            problems.append(
                f"encoders: {name}={encoder}: it reads files, and {name} came as an array; leave "
                "it out"
            )
    if problems:
        raise SettingsError("\n".join(problems))
    return replace(table, modalities=modalities) if encoders else table


def with_classes(
    table: SampleTable, classes: Sequence[str], leave_out: Sequence[str]
) -> SampleTable:
    """The recordings of these classes, or of all but those left out. Raises SettingsError."""
    known = list(table.class_names)
    problems = [
        f"{setting}: no recording of class {name!r}; {_nearest(name, known)}"
        for setting, names in (("classes", classes), ("leave_out", leave_out))
        for name in names
        if name not in known
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    kept = [name for name in classes or known if name not in leave_out]
    if len(kept) == len(known):
        return table
    if table.normal_class not in kept:
        table = replace(table, normal_class="")
    taken = table.take(np.flatnonzero(table.frame["label"].isin(kept).to_numpy()))
    left = len(table) - len(taken)
    note = f"{left} recordings of other classes than {', '.join(kept)} are left out"
    return replace(
        taken,
        classes=[name for name in known if name in kept],
        notes=[*table.notes, note],
    )


def _keywords(reader: Callable[..., SampleTable]) -> list[str]:
    parameters = inspect.signature(reader).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"

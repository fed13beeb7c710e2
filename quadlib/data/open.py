"""From a source's name, or a run's settings, to a SampleTable."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import BatchesSettings, SettingsError, TrainSettings
from quadlib.data.samples import SampleTable, some
from quadlib.data.splits import assign_splits
from quadlib.registry import SOURCES, RegistryError

OF_SETTINGS = ("size", "seed", "outputs")  # what a reader may take from a run's settings


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
    split="grouped" always makes one. Whether the result is fit to train on is said by
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
    options = {
        name: getattr(settings, name)
        for name in _keywords(SOURCES[settings.source])
        if name in OF_SETTINGS
    }
    table = open_source(settings.source, settings.path, **options)
    if settings.modalities:
        table = table.with_modalities(settings.modalities)
    if settings.split == "grouped" or (table.frame["split"] == "").all():
        first, second, third = settings.fractions
        return assign_splits(table, (first, second, third), seed=settings.seed)
    if settings.fractions != type(settings).model_fields["fractions"].default:
        raise SettingsError(
            f"fractions {settings.fractions}: {table.name} brings a split of its own, so they are "
            "not read; "
            'take split="grouped" to make a new one'
        )
    return table


def check_trainable(table: SampleTable, settings: TrainSettings) -> list[str]:
    """Why this table's splits cannot train a contrastive model: one line a problem, with its
    remedy; empty when they can.

    A split of one class (QL-S01) and classes absent from train (QL-S02) pass where settings.allow
    names them.
    """
    problems: list[str] = []
    train, val = table.rows("train"), table.rows("val")
    counts = np.bincount(table.codes[train], minlength=len(table.class_names))
    everywhere = np.bincount(table.codes, minlength=len(table.class_names))
    taught = np.flatnonzero(counts)
    if not len(train):
        problems.append(
            'train holds no recording; take split="grouped", or give train a share in the table\'s '
            "split column"
        )
    elif len(taught) == 1 and "QL-S01" not in settings.allow:
        only = (
            f"train holds {len(train)} recordings of a single class, "
            f"{table.class_names[taught[0]]!r}, so no anchor has a negative"
        )
        if (everywhere > 0).sum() == 1:
            problems.append(
                f"{only}, and the table has no other class; add recordings of a second one"
            )
        else:
            problems.append(
                f"{only}, while the table has {(everywhere > 0).sum()} classes; take "
                'split="grouped"'
            )
    else:
        absent = [
            table.class_names[code] for code in np.flatnonzero((counts == 0) & (everywhere > 0))
        ]
        if absent and "QL-S02" not in settings.allow and len(taught) > 1:
            problems.append(
                f"train has no recording of {some(absent)}, which val or test have; take "
                'split="grouped" or leave them out'
            )
        few = [
            f"{table.class_names[code]} {counts[code]}"
            for code in taught
            if counts[code] < settings.min_per_class
        ]
        if few and settings.rare == "error":
            problems.append(
                f"train has fewer than min_per_class={settings.min_per_class} recordings of "
                f"{some(few)}; add recordings, "
                'or take rare="drop" or rare="oversample"'
            )
    if not len(val):
        problems.append(
            'val holds no recording, and the best model is chosen on it; take split="grouped" with '
            "a val share in fractions"
        )
    bare = table.frame["sample_id"].to_numpy()[~table.present.any(axis=1)]
    if len(bare):
        problems.append(
            f"{len(bare)} recording(s) have none of the modalities {', '.join(table.modalities)}: "
            f"{some(bare)}; leave them out or choose other modalities"
        )
    in_train = table.present[train].any(axis=0)
    unseen = [name for name, has in zip(table.modalities, in_train, strict=True) if not has]
    if unseen and len(train):
        problems.append(f"no recording of train has {some(unseen)}; choose modalities without it")
    return problems


def _keywords(reader: Callable[..., SampleTable]) -> list[str]:
    parameters = inspect.signature(reader).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"

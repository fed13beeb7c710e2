"""From a source's name, or a run's settings, to a SampleTable."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import BatchesSettings, SettingsError, TrainSettings
from quadlib.data.samples import SampleTable, some
from quadlib.data.sources import intel_weld, mfeat, tabular
from quadlib.data.splits import assign_splits
from quadlib.files import digest_bytes, outputs_folder


def open_source(name: str, path: str | Path | None = None, **options: Any) -> SampleTable:
    """Reads the recordings of a source, and checks every row of its table.

    name: "weldsim" (path: its folder, made on first use; options size, seed and the simulator's
    switches), "intel_weld" (path: the dataset's folder), "mfeat" (options views, seed; path
    optional) or "table" (path: a .csv, .parquet or .npz file). Raises SettingsError for an unknown
    name or option, TableError that lists all problems of the recordings.
    """
    if name not in READERS:
        raise SettingsError(f"source {name!r} is unknown; {_nearest(name, list(READERS))}")
    parameters = inspect.signature(READERS[name]).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    unknown = [
        f"{key}: {name} has no such option; {_nearest(key, known)}"
        for key in options
        if key not in known
    ]
    # the simulator's switches are checked by the simulator
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise SettingsError("\n".join(unknown))
    return READERS[name](path or None, **options)


def open_table(settings: TrainSettings | BatchesSettings) -> SampleTable:
    """The table of a run: its source, its modalities in the order asked for, and every recording in
    a split.

    split="source" keeps the split that the source brings, and makes one where it brings none;
    split="grouped" always makes one. Whether the result is fit to train on is said by
    `check_trainable`. Raises SettingsError for fractions that a kept split would leave unread.
    """
    known: dict[str, dict[str, Any]] = {
        "weldsim": {"size": settings.size, "seed": settings.seed},
        "mfeat": {"seed": settings.seed},
    }
    path: str | Path = settings.path
    if settings.source == "weldsim" and not path:
        path = default_folder(settings.size, settings.seed, settings.outputs)
    table = open_source(settings.source, path, **known.get(settings.source, {}))
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
    held = np.flatnonzero(counts)
    if not len(train):
        problems.append(
            'train holds no recording; take split="grouped", or give train a share in the table\'s '
            "split column"
        )
    elif len(held) == 1 and "QL-S01" not in settings.allow:
        only = (
            f"train holds {len(train)} recordings of a single class, "
            f"{table.class_names[held[0]]!r}, so no anchor has a negative"
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
        if absent and "QL-S02" not in settings.allow and len(held) > 1:
            problems.append(
                f"train has no recording of {some(absent)}, which val or test have; take "
                'split="grouped" or leave them out'
            )
        few = [
            f"{table.class_names[code]} {counts[code]}"
            for code in held
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
    unseen = [
        name
        for name, seen in zip(table.modalities, table.present[train].any(axis=0), strict=True)
        if not seen
    ]
    if unseen and len(train):
        problems.append(f"no recording of train has {some(unseen)}; choose modalities without it")
    return problems


def default_folder(size: str, seed: int, outputs: str = "") -> Path:
    """Where weldsim's recordings of a size and seed are kept when no path is given."""
    return outputs_folder(outputs) / "data" / f"weldsim-{size}-{seed}"


def _read_weldsim(
    path: str | Path | None = None, *, size: str = "demo", seed: int = 0, **switches: Any
) -> SampleTable:
    from quadlib.data.sources import (
        weldsim,
    )  # the simulator loads encoders that no other source needs

    folder = Path(path) if path else default_folder(size, seed)
    changed = {
        name: value for name, value in switches.items() if name != "processes"
    }  # which changes no byte
    if changed and not path:
        folder = folder.with_name(
            f"{folder.name}-{digest_bytes(json.dumps(changed, sort_keys=True).encode())[:8]}"
        )
    return intel_weld.read(weldsim.make(folder, size=size, seed=seed, **switches), name="weldsim")


READERS: dict[str, Callable[..., SampleTable]] = {
    "weldsim": _read_weldsim,
    "intel_weld": intel_weld.read,
    "mfeat": mfeat.read,
    "table": tabular.read,
}


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"

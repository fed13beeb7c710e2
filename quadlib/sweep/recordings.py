"""Whether the recordings of every point can be read, divided and drawn, before anything starts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from quadlib.config import (
    DataSettings,
    SamplerSettings,
    SettingsError,
    TrainSettings,
    read_settings,
)
from quadlib.data.batches import SplitBatches
from quadlib.data.open import open_table
from quadlib.data.samples import SampleTable, TableError
from quadlib.data.trainable import check_trainable
from quadlib.sampler import SamplerError


def unreadable(points: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What stands against the recordings of any point, and against their batches, a line each.

    Points that read and draw the same are asked once; settings that are wrong, which others name,
    are left at their defaults.

    Args:
        points: settings as they were written, by what a point is called.
    """
    tables: dict[str, SampleTable | None] = {}
    drawn = set()
    for name, values in points.items():
        settings = _as_far_as_right(values)
        if settings is None:
            continue
        read = _of(settings, DataSettings)
        draws = read + _of(settings, SamplerSettings)
        try:
            if read not in tables:
                tables[read] = None
                tables[read] = open_table(settings)
            if (table := tables[read]) is None or draws in drawn:
                continue
            drawn.add(draws)
            if problems := check_trainable(table, settings):
                yield f"{name or 'every point'}: {'; '.join(problems)}"
            else:
                SplitBatches(table, settings)
        except (SettingsError, TableError, SamplerError) as error:
            yield f"{name or 'every point'}: {error}"


def _as_far_as_right(values: Mapping[str, Any]) -> TrainSettings | None:
    """The settings without those that are wrong; None where the source is, or where they are wrong
    together.
    """
    try:
        return read_settings(TrainSettings, values)
    except SettingsError as error:
        wrong = {problem.partition(":")[0] for problem in error.problems}
    if "source" in wrong:
        return None
    try:
        kept = {name: value for name, value in values.items() if name not in wrong}
        return read_settings(TrainSettings, kept)
    except SettingsError:
        return None


def _of(settings: TrainSettings, model: type[DataSettings | SamplerSettings]) -> str:
    """Those of its settings that a model has, but for the seed of training."""
    names = [name for name in model.model_fields if name != "seed"]
    return json.dumps({name: getattr(settings, name) for name in names}, sort_keys=True)

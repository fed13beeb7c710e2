"""Everything that must hold before the first epoch, looked at once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from quadlib.config import TrainSettings
from quadlib.data.batches import SplitBatches
from quadlib.data.decoding.damage import Damage, report
from quadlib.data.logs.names import plain
from quadlib.data.open import read_table
from quadlib.data.samples import SampleTable, TableError
from quadlib.data.store.store import MediaStore, decode_table
from quadlib.data.trainable import check_trainable
from quadlib.sampler import SamplerError

EMPTY = hashlib.sha256().hexdigest()


@dataclass(frozen=True)
class Examination:
    """A run's table with its files decoded, and all that stands against training on it."""

    table: SampleTable
    store: MediaStore
    problems: list[str]
    damage: list[Damage]

    @property
    def ok(self) -> bool:
        """Whether the first epoch would run."""
        return not self.problems and not self.damage

    def report(self) -> str:
        """Every problem with its remedy."""
        lines = [f"  {problem}" for problem in self.problems]
        maskable = len(self.table.modalities) > 1
        damage = [report(self.damage, maskable=maskable)] if self.damage else []
        return "\n".join([*lines, *damage])

    def raise_problems(self) -> None:
        """Raises one TableError that holds them all; does nothing when there are none."""
        if not self.ok:
            count = len(self.problems) + len(self.damage)
            raise TableError(
                f"{self.table.name} cannot be trained on, {count} problem{'s' * (count != 1)}:\n"
                f"{self.report()}"
            )


def examine(settings: TrainSettings, *, verify: bool = False) -> Examination:
    """Reads the table of a run, decodes its files, and collects all that training would refuse.

    The files are opened whatever the split; with `verify` every byte of them and of what was
    decoded before is read again. Raises SettingsError and TableError for a table that
    cannot be read at all.
    """
    table, problems = read_table(settings)
    return examine_table(table, settings, problems, verify=verify)


def examine_table(
    table: SampleTable,
    settings: TrainSettings,
    problems: list[str] | None = None,
    *,
    verify: bool = False,
) -> Examination:
    """The same of a table that was read already; `problems` are those known of it."""
    problems = [*(problems or []), *check_trainable(table, settings)]
    if not problems:
        problems += _batches(table, settings)
    store = decode_table(table, settings, verify=verify)
    damage = [*_twice(table, store), *_channels(store)]
    if settings.on_damage == "error":
        damage += store.damage
    else:
        lost = ~store.present.any(axis=1) & table.present.any(axis=1)
        problems += [
            f"{sample_id} has no usable modality left; leave it out of the table"
            for sample_id in table.frame["sample_id"].to_numpy()[lost]
        ]
    return Examination(table, store, problems, damage)


def check_table(table: SampleTable, settings: TrainSettings) -> list[Damage]:
    """All that is wrong with a table and its files, in one list; empty when it can be trained on.

    Damaged files (all are decoded, in processes of their own, into the store that training then
    finds ready), splits that cannot train, channels that give the class away, and contents that
    stand twice: in two modalities, or under two recordings.
    """
    examined = examine_table(table, settings)
    return [Damage("", "", "", *_halves(line)) for line in examined.problems] + examined.damage


def _halves(line: str) -> tuple[str, str]:
    what, _, remedy = line.partition("; ")
    return what, remedy


def _batches(table: SampleTable, settings: TrainSettings) -> list[str]:
    """What the sampler says against the batches of the first epoch."""
    try:
        SplitBatches(table, settings)
    except SamplerError as error:
        return [str(error)]
    return []


def _channels(store: MediaStore) -> Iterator[Damage]:
    """Channels that are constant within every file and tell the classes apart, and channels whose
    unit differs between files.
    """
    labels, groups = store.table.frame["label"].to_numpy(), store.table.frame["group"].to_numpy()
    for name, facts in store.facts.items():
        rows = [row for row, fact in enumerate(facts) if fact.get("low")]
        channels = store.table.modalities[name].channels
        for place, channel in enumerate(channels):
            units: dict[str, list[str]] = defaultdict(list)
            for row in rows:
                if unit := facts[row]["units"][place]:
                    units[unit].append(str(store.table.frame["sample_id"].iat[row]))
            if len({plain(unit) for unit in units}) > 1:
                least = min(units, key=lambda unit: len(units[unit]))
                yield Damage(
                    "",
                    name,
                    "",
                    f"channel {channel} is in several units ({', '.join(units)}), in {least} for "
                    f"{', '.join(units[least][:5])}",
                    "write every file in one unit, or name the channels to read by series_channels",
                )
            low = np.array([facts[row]["low"][place] for row in rows])
            high = np.array([facts[row]["high"][place] for row in rows])
            if len(rows) > 1 and (low == high).all() and _tells(low, labels[rows], groups[rows]):
                others = [f'"{other}"' for other in channels if other != channel]
                yield Damage(
                    "",
                    name,
                    "",
                    f"channel {channel} is constant within every file, and its value alone tells "
                    "the class",
                    f"set series_channels=[{', '.join(others)}] to leave it out",
                )


def _tells(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> bool:
    """Whether each value stands for one class and is no mere mark of the session."""
    classes, sessions = defaultdict(set), defaultdict(set)
    for value, label, group in zip(values, labels, groups, strict=True):
        classes[value].add(label)
        sessions[value].add(group)
    return (
        len(classes) > 1
        and len(classes) < len(values)
        and len(set(labels)) > 1
        and all(len(names) == 1 for names in classes.values())
        and any(len(names) > 1 for names in sessions.values())
    )


def _twice(table: SampleTable, store: MediaStore) -> Iterator[Damage]:
    """Files, or whole arrays, of the same content in two places."""
    base = table.root or Path()
    places: dict[str, tuple[str, str]] = {}
    ids = table.frame["sample_id"].tolist()
    for name in table.modalities:
        if name not in table.arrays:
            for sample_id, parts in zip(ids, table.files(name), strict=True):
                for path in parts:
                    place = (sample_id, name)
                    if (other := places.setdefault(path, place)) is not place and other != place:
                        yield _same(sample_id, name, base / path, base / path, *other)
    first = {"": "", EMPTY: ""}  # what cannot be read or is empty is damage already
    digests = store.digests
    for path, place in places.items():
        other_path = first.setdefault(digests.get(path, ""), path)
        if other_path and other_path != path and places[other_path] != place:
            yield _same(*place, base / path, base / other_path, *places[other_path])
    names = [name for name in table.modalities if name in table.arrays]
    for first_name, name in combinations(names, 2):
        if np.array_equal(table.arrays[first_name], table.arrays[name]):
            yield Damage(
                "",
                name,
                "",
                f"holds the same values as {first_name}",
                "give each modality its own array",
            )


def _same(
    sample_id: str, name: str, path: Path, other_path: Path, other_id: str, other_name: str
) -> Damage:
    whose = "the same recording" if other_id == sample_id else f"recording {other_id}"
    return Damage(
        sample_id,
        name,
        str(path),
        f"has the same content as {other_name} of {whose} ({other_path})",
        "each recording and modality needs a file of its own; correct the table or leave one out",
    )

"""What every reader of logs gives: columns under their names, over one clock."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.decoding.damage import DamageError
from quadlib.data.logs.names import DATE, clock_of, plain

CLOCK_NAME = "time [s]"  # of a clock that no column holds


@dataclass(frozen=True)
class Columns:
    """A file's columns under their names, with units and the line or row of every reading."""

    names: list[str]
    units: list[str]
    columns: list[pd.Series]
    lines: np.ndarray
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Track:
    """One series of a file that may hold several clocks: its values (n,), their unit, and by what
    step and start their times run in seconds; step 0 where the file says none.
    """

    name: str
    values: np.ndarray
    unit: str = ""
    step_s: float = 0.0
    start_s: float = 0.0

    @property
    def seconds(self) -> np.ndarray:
        return self.start_s + self.step_s * np.arange(len(self.values))

    @property
    def clock(self) -> str:
        """Its clock in words, for messages."""
        if not self.step_s:
            return f"{len(self.values)} readings without a clock"
        start = f" from {self.start_s:.6g} s on" if self.start_s else ""
        return f"{len(self.values)} readings at {1 / self.step_s:.6g} Hz{start}"


def of_tracks(
    path: Path, tracks: Sequence[Track], chosen: Sequence[str], left_out: dict[str, str]
) -> Columns:
    """The tracks as columns over one clock.

    Tracks with other clocks are brought to the finest by linear interpolation, empty where they
    hold no reading, with a note. Those without a clock must be as long as the others.

    Args:
        path: for messages.
        tracks: what the file holds.
        chosen: the setting series_channels, which the way out of a refusal changes.
        left_out: what of the file is no track, and why.

    Raises:
        DamageError: no track, or lengths or clocks that do not fit together.
    """
    if not tracks:
        listed = ", ".join(f"{name} ({why})" for name, why in left_out.items()) or "nothing"
        raise DamageError(
            path, f"holds no series of readings; it has {listed}", "write one series a channel"
        )
    clocked = [track for track in tracks if track.step_s]
    longest = max(clocked or tracks, key=lambda track: len(track.values))
    rows = len(longest.values)
    odd = [track for track in tracks if not track.step_s and len(track.values) != rows]
    apart = [
        track
        for track in clocked
        if track.start_s > longest.seconds[-1] or track.seconds[-1] < longest.start_s
    ]
    if odd or apart:
        listed = "; ".join(f"{track.name}: {track.clock}" for track in tracks)
        first = next((name for name in chosen if name == longest.name), longest.name)
        raise DamageError(
            path,
            f"holds series that do not fit one clock ({listed})",
            f'name those of one clock, for example series_channels=["{first}"]',
        )
    names, units, columns, notes = [], [], [], []
    if clocked:
        names, units = [CLOCK_NAME], [""]
        columns = [pd.Series(longest.seconds - longest.start_s)]
        notes.append(f"clock: {longest.clock.split(' readings at ')[1]}, as the file says")
    for track in tracks:
        values = pd.Series(track.values)
        same = (track.step_s, track.start_s) == (longest.step_s, longest.start_s)
        if track.step_s and not (same and len(values) == rows):
            numbers = np.asarray(track.values, dtype=np.float64)
            values = pd.Series(
                np.interp(longest.seconds, track.seconds, numbers, left=np.nan, right=np.nan)
            )
            notes.append(f"{track.name} ({track.clock}) is brought to the clock of {longest.name}")
        names.append(track.name)
        units.append(track.unit)
        columns.append(values)
    return Columns(names, units, columns, np.arange(rows) + 1, notes, left_out)


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of every path a/b/c where no two share it, else the parts that tell it apart
    from the others of that name.
    """
    parts = [path.split("/") for path in paths]
    lasts = [part[-1] for part in parts]
    shared = len(paths) > 1 and len(set(lasts)) < len(lasts)
    depth = 0
    while shared and all(len(p) > depth + 1 and p[depth] == parts[0][depth] for p in parts):
        depth += 1
    return ["/".join(part[depth:]) if lasts.count(part[-1]) > 1 else part[-1] for part in parts]


def clocks_among(
    path: Path,
    values: Mapping[str, np.ndarray],
    names: dict[str, str],
    left_out: dict[str, str],
) -> list[str]:
    """Places a/b/c of the series that are called like a clock, one at most: it gets its last part
    for a name, and of several that are equal the others are left out. Raises DamageError where they
    differ.
    """
    lasts = {place: place.rpartition("/")[2] for place in values}
    clocks = [place for place, last in lasts.items() if clock_of(last)]
    clocks = clocks or [place for place, last in lasts.items() if plain(last) in DATE]
    if any(not np.array_equal(values[place], values[clocks[0]]) for place in clocks[1:]):
        others = ", ".join(names[place] for place in values if place not in clocks)
        raise DamageError(
            path,
            f"holds several clocks, {', '.join(names[place] for place in clocks)}, beside {others}",
            f'choose one by series_clock="{names[clocks[0]]}"',
        )
    left_out |= {names[place]: f"equals {names[clocks[0]]}" for place in clocks[1:]}
    names |= {place: lasts[place] for place in clocks[:1]}
    return clocks[:1]


def not_chosen(
    path: Path, names: Mapping[str, str], clocks: Sequence[str], chosen: Sequence[str]
) -> dict[str, str]:
    """Why each series beside the clocks is left out that series_channels does not name. Raises
    DamageError where it names none of them.
    """
    others = [name for place, name in names.items() if place not in clocks]
    wanted = {plain(name) for name in chosen or others}
    further = [name for name in others if plain(name) not in wanted]
    if others and len(further) == len(others):
        near = difflib.get_close_matches(chosen[0], others, n=1)
        raise DamageError(
            path,
            f"has no channel {', '.join(chosen)}, which series_channels asks for; it has "
            f"{', '.join(others)}",
            f"did you mean {near[0]}?" if near else "name one of these, or none to read all",
        )
    return dict.fromkeys(further, "not in series_channels")

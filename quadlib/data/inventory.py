"""What was understood of a table, as lines to read before anything is trained."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from quadlib.data.samples import SPLITS, SampleTable, some
from quadlib.data.store.store import MediaStore, clock_lines
from quadlib.registry import KINDS

MOST_NAMES = 12


def inventory(table: SampleTable, store: MediaStore | None = None) -> list[str]:
    """A block a modality (files, kind, shape, channels with unit and range, clock and rate, crop,
    what was left out and why), then notes, sessions, classes and splits.

    Args:
        table: as `open_table` gives it.
        store: its decoded files; without them, what the table alone tells.

    Example:
        >>> from quadlib import open_source
        >>> from quadlib.data.inventory import inventory
        >>> print(inventory(open_source("mfeat", views=("mor",)))[0])
        mor: vector, 2000 of 2000 recordings, shape (6,)
    """
    lines: list[str] = []
    for place, name in enumerate(table.modalities):
        lines += _modality(table if store is None else store.table, name, place, store)
    lines += [f"note: {note}" for note in table.notes]
    frame = table.frame
    sizes = frame["group"].value_counts()
    lines.append(
        f"sessions: {len(sizes)}, of {sizes.min()} to {sizes.max()} recordings"
        if len(sizes)
        else "sessions: none"
    )
    counts = frame["label"].value_counts()
    shown = ", ".join(f"{label} {count}" for label, count in counts.head(MOST_NAMES).items())
    more = f" and {len(counts) - MOST_NAMES} more" if len(counts) > MOST_NAMES else ""
    lines.append(f"classes: {len(counts)}: {shown}{more}")
    for split in SPLITS:
        rows = table.rows(split)
        part = frame.iloc[rows]
        lines.append(
            f"split {split}: {len(rows)} recordings, {part['label'].nunique()} classes, "
            f"{part['group'].nunique()} sessions"
        )
        if part["label"].nunique() == 1 < len(counts):
            lines.append(
                f"note: split {split} holds one class alone, {len(rows)} recordings of "
                f"{part['label'].iloc[0]!r}, so nothing can be mistaken in it"
            )
    if (without := int((frame["split"] == "").sum())) > 0:
        lines.append(f"no split: {without} recordings")
    return lines


def _modality(table: SampleTable, name: str, place: int, store: MediaStore | None) -> list[str]:
    modality, present = table.modalities[name], int(table.present[:, place].sum())
    shape = modality.shape if store is None else store.arrays[name].shape[1:]
    known = f", shape {tuple(shape)}" if shape else ""
    lines = [f"{name}: {modality.kind}, {present} of {len(table)} recordings{known}"]
    if name not in table.arrays:
        endings = Counter(
            path.suffix.lower() for row in range(len(table)) for path in table.paths(row, name)
        )
        lines.append("  files: " + ", ".join(f"{n} {ending}" for ending, n in endings.items()))
    if store is not None:
        lines += [f"  clock: {line}" for line in clock_lines({name: store.facts.get(name, [])})]
    facts = [fact for fact in (store.facts.get(name, []) if store else []) if fact]
    if facts and KINDS[modality.kind].channels is not None:
        lines += _series(modality.channels, facts)
        crop = modality.crop
        lines.append(f"  crop: {f'where {crop} is on' if crop else 'none, the whole recording'}")
    return lines


def _series(channels: tuple[str, ...], facts: list[dict[str, Any]]) -> list[str]:
    """Channels, clock, and what was left out, of all files together."""
    low = np.min([fact["low"] for fact in facts], axis=0)
    high = np.max([fact["high"] for fact in facts], axis=0)
    lines = []
    for place, channel in enumerate(channels):
        units = Counter(fact["units"][place] for fact in facts if fact["units"][place])
        unit = f" [{units.most_common(1)[0][0]}]" if units else ""
        lines.append(f"  channel {channel}{unit}: {low[place]:.4g} to {high[place]:.4g}")
    for clock, count in Counter(fact["clock"] for fact in facts).items():
        some_facts = [fact for fact in facts if fact["clock"] == clock]
        where = f" ({count} files)" if count < len(facts) else ""
        if not clock:
            lines.append(f"  clock: none, rows count as evenly spaced{where}")
            continue
        rates = [fact["rate_hz"] for fact in some_facts]
        seconds = [fact["seconds"] for fact in some_facts]
        lines.append(f"  clock: {clock}{where}, {_span(rates)} Hz, {_span(seconds)} s long")
    rows = [fact["rows"] for fact in facts]
    filled = sum(fact["filled"] for fact in facts)
    lines.append(
        f"  readings: {_span(rows)} a file" + (f", {filled} missing ones bridged" if filled else "")
    )
    left: dict[tuple[str, str], int] = Counter()
    notes: Counter[str] = Counter()
    for fact in facts:
        left.update(fact["left_out"].items())
        notes.update(fact["notes"])
    lines += [
        f"  left out: {name}: {why}" + (f" ({count} files)" if count < len(facts) else "")
        for (name, why), count in list(left.items())[:MOST_NAMES]
    ]
    if len(left) > MOST_NAMES:
        lines.append(f"  left out: {some([name for name, _ in left][MOST_NAMES:])}")
    lines += [
        f"  {note}" + (f" ({count} files)" if count < len(facts) else "")
        for note, count in notes.items()
    ]
    return lines


def _span(values: list[float]) -> str:
    least, most = min(values), max(values)
    return f"{least:.4g}" if np.isclose(least, most, rtol=0.01) else f"{least:.4g} to {most:.4g}"

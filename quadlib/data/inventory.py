"""What was understood of a table, as lines to read before anything is trained."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from quadlib.data.kinds import kind_of
from quadlib.data.samples import SPLITS, SampleTable, some
from quadlib.data.store.store import MediaStore, clock_lines
from quadlib.data.suspects import suspects

MOST_NAMES = 12
THINNED = 8  # readings a step, from which a log is hardly looked at


class Entry(NamedTuple):
    """One thing that was understood: of which modality (or of the whole table), which aspect, and
    what.
    """

    subject: str
    aspect: str
    text: str


def inventory(table: SampleTable, store: MediaStore | None = None) -> list[str]:
    """`understood` as lines: a block a modality, then notes, sessions, classes and splits.

    Args:
        table: as `open_table` gives it.
        store: its decoded files, or those of a part of its recordings; without them, what the table
            alone tells.

    Example:
        >>> from quadlib import open_source
        >>> from quadlib.data.inventory import inventory
        >>> print(inventory(open_source("mfeat", views=("mor",)))[0])
        mor: vector, 2000 of 2000 recordings, shape (6,)
    """
    return [
        f"  {entry.aspect}: {entry.text}" if entry.aspect else f"{entry.subject}: {entry.text}"
        for entry in understood(table, store)
    ]


def understood(table: SampleTable, store: MediaStore | None = None) -> list[Entry]:
    """Of each modality its files, kind, shape, channels with unit and range, clock and rate, crop,
    what was left out and why; then notes, sessions, classes and splits.
    """
    entries: list[Entry] = []
    for place, name in enumerate(table.modalities):
        entries += _modality(table, name, place, store)
    entries += [Entry("note", "", note) for note in table.notes]
    features = {} if store is None else {name: store.arrays[name] for name in table.arrays}
    read = table if store is None else store.table
    entries += [Entry("note", "", note) for note in suspects(read, features)]
    frame = table.frame
    sizes = frame["group"].value_counts()
    span = f"{len(sizes)}, of {sizes.min()} to {sizes.max()} recordings" if len(sizes) else "none"
    entries.append(Entry("sessions", "", span))
    counts = frame["label"].value_counts()
    shown = ", ".join(f"{label} {count}" for label, count in counts.head(MOST_NAMES).items())
    more = f" and {len(counts) - MOST_NAMES} more" if len(counts) > MOST_NAMES else ""
    entries.append(Entry("classes", "", f"{len(counts)}: {shown}{more}"))
    for split in SPLITS:
        part = frame.iloc[table.rows(split)]
        classes = part["label"].nunique()
        text = f"{len(part)} recordings, {classes} classes, {part['group'].nunique()} sessions"
        entries.append(Entry(f"split {split}", "", text))
        if classes == 1 < len(counts):
            text = (
                f"split {split} holds one class alone, {len(part)} recordings of "
                f"{part['label'].iloc[0]!r}, so nothing can be mistaken in it"
            )
            entries.append(Entry("note", "", text))
    if (without := int((frame["split"] == "").sum())) > 0:
        entries.append(Entry("no split", "", f"{without} recordings"))
    return entries


def _modality(
    table: SampleTable, name: str, place: int, store: MediaStore | None
) -> Iterator[Entry]:
    read = table if store is None else store.table
    whole, modality = len(read) == len(table), read.modalities[name]
    present = int((read if whole else table).present[:, place].sum())
    shape = modality.shape if store is None else store.arrays[name].shape[1:]
    known = f", shape {tuple(shape)}" if shape else ""
    read_by = f" read by {modality.encoder}" if modality.encoder else ""
    yield Entry(name, "", f"{modality.kind}{read_by}, {present} of {len(table)} recordings{known}")
    if name not in table.arrays:
        texts = table.frame[name].tolist()
        endings = (
            os.path.splitext(part)[1].lower() for text in texts if text for part in text.split("|")
        )
        counts = Counter(ending or "without an ending" for ending in endings)
        yield Entry(
            name, "files", ", ".join(f"{count} {ending}" for ending, count in counts.items())
        )
    if store is None:
        return
    if not whole:
        damaged = sum(item.modality == name for item in store.damage)
        text = f"{int(read.present[:, place].sum())} of these recordings"
        yield Entry(
            name,
            "looked at",
            text + (f", {damaged} more are damaged" if damaged else ""),
        )
    facts = [fact for fact in store.facts.get(name, []) if fact]
    yield from (Entry(name, "clock", line) for line in clock_lines({name: facts}))
    if facts and kind_of(modality).channels is not None:
        yield from (Entry(name, *pair) for pair in _series(modality.channels, facts))
        yield from (Entry(name, "note", text) for text in _thinned(facts, store.arrays[name]))
        crop = modality.crop
        yield Entry(name, "crop", f"where {crop} is on" if crop else "none, the whole recording")
    notes = Counter(note for fact in facts for note in fact.get("notes", []))
    for note, count in notes.items():
        where = f" ({count} files)" if count < len(facts) else ""
        yield Entry(name, "note", note + where)


def _thinned(facts: list[dict[str, Any]], array: np.ndarray) -> Iterator[str]:
    """That most readings of a log are passed over, where its steps are few beside them."""
    steps, readings = array.shape[-1], int(np.median([fact["rows"] for fact in facts]))
    if readings > THINNED * steps:
        yield (
            f"{steps} steps are taken of {readings} readings a file, one in {readings // steps}: "
            "what changes faster is lost, as vibrations are; take more by series_steps, or a table "
            "of features (levels by band, for example)"
        )


def _series(channels: tuple[str, ...], facts: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Channels, clock, and what was left out, of all files together: (aspect, what)."""
    low = np.min([fact["low"] for fact in facts], axis=0)
    high = np.max([fact["high"] for fact in facts], axis=0)
    for place, channel in enumerate(channels):
        units = Counter(fact["units"][place] for fact in facts if fact["units"][place])
        unit = f" [{units.most_common(1)[0][0]}]" if units else ""
        yield f"channel {channel}{unit}", f"{low[place]:.4g} to {high[place]:.4g}"
    for clock, count in Counter(fact["clock"] for fact in facts).items():
        some_facts = [fact for fact in facts if fact["clock"] == clock]
        where = f" ({count} files)" if count < len(facts) else ""
        if not clock:
            yield "clock", f"none, rows count as evenly spaced{where}"
            continue
        rates = [fact["rate_hz"] for fact in some_facts]
        seconds = [fact["seconds"] for fact in some_facts]
        yield "clock", f"{clock}{where}, {_span(rates)} Hz, {_span(seconds)} s long"
    filled = sum(fact["filled"] for fact in facts)
    bridged = f", {filled} missing ones bridged" if filled else ""
    yield "readings", f"{_span([fact['rows'] for fact in facts])} a file{bridged}"
    left: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        for name, why in fact["left_out"].items():
            left[name].append(why)
    for name, reasons in list(left.items())[:MOST_NAMES]:
        more = " and the like" if len(set(reasons)) > 1 else ""
        where = f" ({len(reasons)} files)" if len(reasons) < len(facts) else ""
        yield "left out", f"{name}: {reasons[0]}{more}{where}"
    if len(left) > MOST_NAMES:
        yield "left out", some(list(left)[MOST_NAMES:])


def _span(values: list[float]) -> str:
    least, most = min(values), max(values)
    return f"{least:.4g}" if np.isclose(least, most, rtol=0.01) else f"{least:.4g} to {most:.4g}"

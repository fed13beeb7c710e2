"""One recording opened for a human: what of each modality can be seen and heard, on the clock of
its log.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.clocks import Window
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.look import Look
from quadlib.data.kinds import kind_of
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.store.store import MediaStore


@dataclass(frozen=True)
class Part:
    """One modality: what can be seen of it, or why nothing can; `problem` may also say why its
    clock is not known.
    """

    name: str
    kind: str
    look: Look | None = None
    problem: str = ""


@dataclass(frozen=True)
class Recording:
    """A row of a table, opened. `missing` are the modalities that it lacks, `arc` the window that
    its log marks, in seconds after the log's first reading.
    """

    sample_id: str
    label: str
    group: str
    split: str
    parts: tuple[Part, ...]
    missing: tuple[str, ...] = ()
    arc: Window | None = None


def open_recording(table: SampleTable, row: int, settings: MediaSettings) -> Recording:
    """Reads the files of one recording, whole; takes a second or less, and keeps nothing.

    Args:
        table: of the recordings.
        row: position in the table.
        settings: how files are read; a run's own settings are ones.

    Returns:
        The recording. A file that cannot be read is a part with its problem; nothing is raised for
        it.

    Example:
        >>> from quadlib import open_source
        >>> from quadlib.config import MediaSettings
        >>> recording = open_recording(open_source("mfeat"), 0, MediaSettings())
        >>> recording.label, [part.kind for part in recording.parts], recording.missing
        ('0', ['vector', 'vector', 'vector', 'vector'], ())
    """
    present = dict(zip(table.modalities, table.present[row], strict=True))
    arc: Window | None = None
    parts: dict[str, Part] = {}
    # Series first: the window of a recording's log tells where its video and its sound start.
    for name in sorted(
        (name for name, there in present.items() if there),
        key=lambda name: not kind_of(table.modalities[name]).gives_arc,
    ):
        parts[name] = _part(table, row, name, settings, arc)
        arc = arc or getattr(parts[name].look, "arc", None)
    return _recording(table, row, [parts[name] for name in present if name in parts], arc)


def decoded_recording(store: MediaStore, row: int) -> Recording:
    """A row of a store as its arrays hold it, which is what the model is given: at once, and
    without sound to play.
    """
    table = store.table
    present = dict(zip(table.modalities, table.present[row], strict=True))
    parts = [
        _of_array(name, table.modalities[name], np.asarray(store.arrays[name][row]))
        for name, there in present.items()
        if there
    ]
    return _recording(table, row, parts, None)


def _recording(table: SampleTable, row: int, parts: list[Part], arc: Window | None) -> Recording:
    names = ("sample_id", "label", "group", "split")
    sample_id, label, group, split = (str(table.frame[name].iloc[row]) for name in names)
    missing = [
        name for name, there in zip(table.modalities, table.present[row], strict=True) if not there
    ]
    return Recording(sample_id, label, group, split, tuple(parts), tuple(missing), arc)


def _of_array(name: str, modality: Modality, array: np.ndarray) -> Part:
    look_at, kind = kind_of(modality).look_at, modality.kind
    if look_at:
        return Part(name, kind, look_at(array))
    read = f"kept as what {modality.encoder} says of it, of which nothing is seen"
    return Part(name, kind, None, read if modality.encoder else _blind(kind))


def _part(
    table: SampleTable, row: int, name: str, settings: MediaSettings, arc: Window | None
) -> Part:
    modality = table.modalities[name]
    kind = kind_of(modality)
    if name in table.arrays:
        array = np.asarray(table.arrays[name][table.frame[name].to_numpy()[row]])
        return _of_array(name, modality, array)
    if kind.look is None:
        return Part(name, modality.kind, None, _blind(modality.kind))
    job = Job(
        modality.kind,
        kind.decode,
        tuple(table.paths(row, name)),
        settings,
        arc if kind.takes_arc else None,
        settings.clock_offset_s.get(name),
        (),
        settings.series_crop or modality.crop,
    )
    try:
        return Part(name, modality.kind, kind.look(job))
    except DamageError as error:
        problem = str(error)
    if job.arc is None:
        return Part(name, modality.kind, None, problem)
    try:  # the file may be whole, and only its clock unknown
        return Part(name, modality.kind, kind.look(replace(job, arc=None)), problem)
    except DamageError as error:
        return Part(name, modality.kind, None, str(error))


def _blind(kind: str) -> str:
    return f"nothing shows a {kind}; give its Kind a `look` or a `look_at`"

"""What the variables of an observed loop hold, beside the parts that took part in its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import CodeType, FrameType, ModuleType
from typing import Any

from torch.utils.data import DataLoader

from quadlib.diagnosis.conventions import BATCH_LABELS, EPOCHS, RUN_STEPS
from quadlib.diagnosis.observe.arrays import arrays_among, arrays_at_hand
from quadlib.diagnosis.observe.frames import OURS, is_library, is_ours, own_frames
from quadlib.diagnosis.observe.record import Record


def note_at_hand(record: Record, frames: Iterable[FrameType]) -> None:
    """What the variables of these frames hold beside the parts that took part."""
    frames = list(frames)
    pairs = variables_at_hand(frames)
    record.named_loaders = loaders_at_hand(pairs)
    record.bystanders = record.unused_loaders()
    record.counts = counts_at_hand(pairs, (*EPOCHS, *RUN_STEPS))
    record.named_labels = labels_at_hand(pairs)
    note_arrays(record, frames)


def note_arrays(record: Record, frames: Iterable[FrameType]) -> None:
    """The arrays of these frames' variables that are not known by their names."""
    _note(record, arrays_at_hand(frames))


def note_variables(record: Record, variables: Mapping[str, Any]) -> None:
    """The same of the variables that a script ended with."""
    _note(record, arrays_among(variables.items()))


def _note(record: Record, found: list[tuple[str, Any]]) -> None:
    known = {(name, id(array)) for name, array in record.named_arrays}
    record.named_arrays += [(n, array) for n, array in found if (n, id(array)) not in known]


def names_at_hand(frames: Iterable[FrameType], training: set[CodeType]) -> set[str]:
    """What the functions that do not take part in training are given: its names there, and those
    that it has in the functions around.
    """
    own = own_frames(frames)
    inner = [frame for frame in own if frame.f_code not in training]
    given = {id(v): n for f in inner for n, v in f.f_locals.items() if not _is_plain(v)}
    around = (pair for f in own for pair in (*f.f_globals.items(), *f.f_locals.items()))
    return {*given.values(), *(name for name, value in around if id(value) in given)}


def _is_plain(value: Any) -> bool:
    """Whether equal values may be one object, whoever holds them."""
    return value is None or issubclass(type(value), (int, float, str, bytes, type, ModuleType))


def variables_at_hand(frames: Iterable[FrameType]) -> list[tuple[str, Any]]:
    """The variables of these frames, and what their values hold, by name."""
    pairs: list[tuple[str, Any]] = []
    for frame in frames:
        if is_ours(frame):
            continue
        around = {} if is_library(frame) else frame.f_globals
        for name, value in {**around, **frame.f_locals}.items():
            pairs.append((name, value))
            module = type(value).__module__
            if module.startswith(OURS):
                continue
            if module.split(".")[0] not in ("torch", "numpy", "builtins"):
                pairs += list(getattr(value, "__dict__", {}).items())
            elif type(value) is dict:
                pairs += [(key, item) for key, item in value.items() if isinstance(key, str)]
    return pairs


def loaders_at_hand(pairs: list[tuple[str, Any]]) -> list[tuple[str, DataLoader[Any]]]:
    """The loaders among the loop's variables, by name."""
    return [(name, value) for name, value in pairs if issubclass(type(value), DataLoader)]


def labels_at_hand(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The columns among the loop's variables whose name has a word for labels in it."""
    return [
        (name, value)
        for name, value in pairs
        if set(name.lower().split("_")) & set(BATCH_LABELS) and getattr(value, "ndim", 0) == 1
    ]


def counts_at_hand(pairs: list[tuple[str, Any]], names: Iterable[str]) -> dict[str, int]:
    """The positive whole numbers among the loop's variables that have these names; a name with two
    values says nothing.
    """
    wanted, values = set(names), dict[str, set[int]]()
    for name, value in pairs:
        number = type(value) is int or (type(value) is float and value.is_integer())
        if name in wanted and number and value > 0:
            values.setdefault(name, set()).add(int(value))
    return {name: next(iter(kept)) for name, kept in values.items() if len(kept) == 1}

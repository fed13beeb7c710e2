"""Readings in TDMS, as LabVIEW writes them: channels with a step and a start of their own. Needs
the extra tdms.
"""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import RESTORE, DamageError
from quadlib.data.logs.clock import ROWS
from quadlib.data.logs.columns import (
    Columns,
    Track,
    clocks_among,
    not_chosen,
    of_tracks,
    short_names,
)
from quadlib.data.logs.names import plain

LEAD_IN = struct.Struct("<4sIIQQ")  # tag, contents, version, bytes of the segment, of its metadata
UNKNOWN = 2**64 - 1  # in place of a segment's length, where LabVIEW was killed
KILLED = "its recorder was killed, so it is read as far as it goes"
BROKEN = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(struct.error, NotImplementedError, AssertionError, RuntimeError),
)


def read_tdms(path: Path, content: bytes, settings: MediaSettings) -> Columns:
    """The channels of a TDMS file over one clock: wf_increment, wf_start_offset and wf_start_time
    where it has them, else a channel that is called like a clock. Raises DamageError.
    """
    try:
        from nptdms import TdmsFile
        from nptdms.log import log_manager
    except ImportError:
        raise DamageError(
            path,
            "is a TDMS file, which needs the extra tdms",
            "pip install 'quadlib[tdms]', or export it as CSV",
        ) from None
    log_manager.set_level(logging.CRITICAL)  # what it says is said here
    killed = _killed(path, content)
    try:
        file = TdmsFile.read(io.BytesIO(content))
        channels = {
            f"{group.name}/{channel.name}": (np.asarray(channel[:]), dict(channel.properties))
            for group in file.groups()
            for channel in group.channels()
        }
        tracks, left_out = _tracks(path, channels, settings)
        columns = of_tracks(path, tracks, settings.series_channels, left_out)
    except DamageError:
        raise
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DamageError(path, f"is not a readable TDMS file ({reason})", RESTORE) from None
    if killed:
        columns.notes.append(KILLED)
    return columns


def _tracks(
    path: Path, channels: dict[str, tuple[np.ndarray, dict[str, Any]]], settings: MediaSettings
) -> tuple[list[Track], dict[str, str]]:
    names = dict(zip(channels, short_names(list(channels)), strict=True))
    left_out = {names[place]: "holds no value" for place in channels if not len(channels[place][0])}
    asked = [plain(name) for name in settings.series_clock.split(",") if settings.series_clock]
    clocks = [place for place in channels if plain(names[place]) in asked]
    if not settings.series_clock:
        filled = {place: values for place, (values, _) in channels.items() if len(values)}
        clocks = clocks_among(path, filled, names, left_out)
    left_out |= not_chosen(path, names, clocks, settings.series_channels)
    stepped = not clocks and not settings.series_clock
    times = {
        place: _times(path, names[place], properties) if stepped else (0.0, 0.0)
        for place, (_, properties) in channels.items()
        if names[place] not in left_out
    }
    earliest = min((start for _, start in times.values()), default=0.0)
    tracks = []
    for place, (values, properties) in channels.items():
        if names[place] not in left_out:
            unit = str(properties.get("unit_string") or properties.get("NI_UnitDescription") or "")
            step, start = times[place]
            tracks.append(Track(names[place], values, unit, step, start - earliest))
    return tracks, left_out


def _times(path: Path, name: str, properties: dict[str, Any]) -> tuple[float, float]:
    """Step and start of a channel, s; step 0 where it says none. Raises DamageError."""
    step = float(properties.get("wf_increment") or 0)
    start = float(properties.get("wf_start_offset") or 0)
    moment = properties.get("wf_start_time")
    if step and isinstance(moment, np.datetime64):
        start += float(moment.astype("datetime64[us]").astype(np.int64)) * 1e-6
    if step < 0 or not np.isfinite((step, start)).all():
        raise DamageError(
            path,
            f"its channel {name} has the step wf_increment={step:g}, a number above 0 was expected",
            f'correct it, or set series_clock="{ROWS}" to count its rows as evenly spaced',
        )
    return step, start


def _killed(path: Path, content: bytes) -> bool:
    """Whether the last segment is one that a killed recorder left open. Raises DamageError where a
    segment promises more than there is.
    """
    place = 0
    while place + LEAD_IN.size <= len(content):
        tag, _, _, size, _ = LEAD_IN.unpack_from(content, place)
        if tag != b"TDSm":
            break
        if size == UNKNOWN:
            return True
        place += LEAD_IN.size + size
    if place > len(content):
        raise DamageError(
            path,
            f"holds {len(content)} bytes where its header promises {place}: it is cut short",
        )
    return False

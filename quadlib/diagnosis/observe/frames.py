"""Frames of an observed loop, told from those of libraries and of what watches it."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType

LIBRARIES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib"))
FROZEN = "<frozen "  # what Python is started with: runpy, importlib
OURS = "quadlib.diagnosis"  # what watches the loop has variables of its own


def is_ours(frame: FrameType) -> bool:
    return bool(frame.f_globals.get("__name__", "").startswith(OURS))


def is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith((*LIBRARIES, FROZEN))


def own_frames(frames: Iterable[FrameType]) -> list[FrameType]:
    """Those of the observed loop itself."""
    return [frame for frame in frames if not is_ours(frame) and not is_library(frame)]


def is_own(kind: type) -> bool:
    """Whether a class is of the observed script, and of no library."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    in_script = kind.__module__ == "__main__"
    return in_script or (file is not None and not file.startswith(LIBRARIES))


def frames_of(traceback: TracebackType | None) -> Iterator[FrameType]:
    """The frames that an exception left, outermost first."""
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def frames_within(frame: FrameType | None, outermost: FrameType) -> list[FrameType]:
    """The frames from the outermost one inwards to this one."""
    frames: list[FrameType] = []
    while frame is not None:
        frames.append(frame)
        frame = None if frame is outermost else frame.f_back
    return frames[::-1]

"""How an observed loop is left, and that one alone is observed at a time."""

from __future__ import annotations

import threading


class EnoughSeen(BaseException):
    """Leaves the observed loop; derived from BaseException so that no `except Exception` in it
    swallows this.
    """


class AlreadyObserving(RuntimeError):
    """A loop is being observed already; end that first."""


observing = threading.Lock()

"""How processes end together: the signals that announce it, and a child that does not outlive the
one that started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Ctrl-C, and what schedulers and closed terminals send before they kill.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def die_with_parent(parent: int | None = None) -> None:
    """Asks Linux to kill this process when the thread that started it ends; elsewhere the child
    has to notice by itself. Where `parent` is given and is gone already, it ends at once.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)

"""Equal bins over an axis of time."""

from __future__ import annotations

import numpy as np


def bin_edges(first: int, last: int, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops of `bins` equal bins over the steps first..last-1; a bin never holds less
    than one step.

    With fewer steps than bins neighbouring bins share a step, so that none is empty.
    """
    edges = first + np.arange(bins + 1) * (last - first) / bins
    starts = np.minimum(np.floor(edges[:-1]).astype(np.int64), last - 1)
    stops = np.maximum(np.floor(edges[1:]).astype(np.int64), starts + 1)
    return starts, stops


def window_steps(steps: int, arc: tuple[float, float] | None) -> tuple[int, int]:
    """First and one-past-last step of the window [on, off) of a record, at least one step; None is
    the whole.
    """
    if arc is None:
        return 0, steps
    first = min(max(int(arc[0] * steps), 0), steps - 1)
    return first, min(max(int(np.ceil(arc[1] * steps)), first + 1), steps)

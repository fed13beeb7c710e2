"""Clocks that begin again or stand still: the time of day at midnight, a counter at the end of its
bits, stamps of whole seconds.
"""

from __future__ import annotations

import numpy as np

DAY_SECONDS = 86400.0
ENDS = (2.0**16, 2.0**32)  # of the counters of microcontrollers
MANY = 3  # readings of one stamp, from which a clock is too coarse
NEAR = 10  # usual steps within which a counter that begins again goes on


def past_midnight(seconds: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Times of day that rise over midnight, and a note where they do: a step back by more than half
    a day is the next day. All else stays as it is.
    """
    known = np.flatnonzero(np.isfinite(seconds))
    whole = seconds[known]
    days = np.cumsum(np.diff(whole, prepend=whole[:1]) < -DAY_SECONDS / 2)
    if not len(whole) or not days[-1] or whole.min() < 0 or whole.max() > DAY_SECONDS:
        return seconds, ()
    risen = seconds.copy()
    risen[known] = whole + days * DAY_SECONDS
    return risen, (f"its clock passes midnight {_times(days[-1])}",)


def past_overflow(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """A counter of 16 or 32 bits that begins again at 0, made to rise, and a note where it does:
    only where it then goes on by about its usual step. All else stays as it is.
    """
    known = np.flatnonzero(np.isfinite(values))
    whole = values[known]
    steps = np.diff(whole)
    back = steps < 0
    if not back.any() or back.all() or (whole < 0).any() or (whole % 1 != 0).any():
        return values, ()
    usual = float(np.median(steps[~back]))
    for end in ENDS:
        over = steps[back] + end
        if whole.max() < end and (over > 0).all() and (over <= NEAR * max(usual, 1.0)).all():
            rounds = np.cumsum(np.concatenate([[False], back]))
            risen = values.copy()
            risen[known] = whole + rounds * end
            return risen, (f"its clock runs over at {end:.0f} {_times(rounds[-1])}",)
    return values, ()


def between_stamps(seconds: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rising times, and a note, where the clock is coarser than the readings: those of one stamp
    are spread evenly until the next. Stamps that only now and then stand twice stay as they are.
    """
    stamps, count = np.unique(seconds, return_counts=True)
    if len(stamps) < 3 or count[1:-1].min() < MANY or (np.diff(seconds) < 0).any():
        return seconds, ()
    usual = float(np.median(count[1:-1]))
    widths = np.diff(stamps, append=stamps[-1])
    widths[-1] = np.median(widths[:-1]) * min(count[-1] / usual, 1.0)
    # The first and the last stamp hold a part of their readings: of the first, the later ones.
    part = min(count[0] / usual, 1.0)
    starts = stamps.copy()
    starts[0] += widths[0] * (1 - part)
    widths[0] *= part
    place = np.arange(len(seconds)) - np.repeat(np.cumsum(count) - count, count)
    spread = np.repeat(starts, count) + place * np.repeat(widths / count, count)
    each = f"{usual:.0f} readings have the same time stamp, spread evenly until the next"
    return spread, (each,)


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"

"""The clocks of one recording: where the time that a sensor marks lies in its video and its sound.

Camera, microphone and log are started by hand and end when they like. A window therefore goes from
one to another in seconds, with an offset: how long after the log the file starts. It is given, or
found as the place where the file's level agrees best with the window.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job

Window = tuple[float, float]
Envelope = Callable[[], tuple[np.ndarray, np.ndarray]]
STEP_SECONDS = 0.01
LEAST_AGREEMENT = 0.5  # correlation; noise of a file without the event stays below 0.35
SLACK_SHARE = 0.03  # of the window, by which it may reach over the ends of a file
REMEDY = (
    "check that file and log are of one recording; then give how many seconds after the log it "
    "starts by clock_offset_s, or leave the file out"
)


def window_of(
    job: Job, length: float, envelope: Envelope
) -> tuple[Window | None, dict[str, float]]:
    """The window of a job on its file's own clock, and the offset as a fact of it.

    `length`: of the file, s. `envelope` gives times, s, and one or more rows of levels, of which
    the one counts that agrees best; it is called only where no offset is given. Raises DamageError
    where the window does not fit into the file, or where its place cannot be told.
    """
    if job.arc is None:
        return None, {}
    on, off = job.arc
    slack = SLACK_SHARE * (off - on)
    if length + 2 * slack < off - on:
        raise DamageError(
            job.path,
            f"its {length:.2f} s cannot hold the {off - on:.2f} s for which the log's channel is "
            "on",
            REMEDY,
        )
    offset = job.offset
    if offset is None:
        times, levels = envelope()
        found = [find_offset(times, row, (on, off), length) for row in np.atleast_2d(levels)]
        offset, agreement = max(found, key=lambda place: place[1])
        if agreement < LEAST_AGREEMENT:
            raise DamageError(
                job.path,
                "its level does not follow the log's channel, so that their clocks cannot be "
                "matched",
                REMEDY,
            )
    start, stop = on - offset, off - offset
    if start < -slack or stop > length + slack:
        raise DamageError(
            job.path,
            f"holds 0 to {length:.2f} s, but with its clock_offset_s of {offset:g} s "
            f"the log's channel is on from {start:.2f} to {stop:.2f} s of it",
            "correct the offset, or leave it out to have it found",
        )
    return (start, stop), {"offset_s": offset}


def find_offset(
    times: np.ndarray, levels: np.ndarray, window: Window, length: float
) -> tuple[float, float]:
    """How many seconds after the window's clock a file starts, and the correlation of its level
    with the window there, from -1 to 1.

    Levels count between their fifth and ninety-fifth percentile, so that no burst decides. Of
    places that agree equally well the middle one counts.

    Example:
        >>> import numpy as np
        >>> times = np.arange(0, 30, 0.01)
        >>> offset, agreement = find_offset(times, (times > 3) & (times < 23), (5.0, 25.0), 30.0)
        >>> round(offset, 2), round(agreement, 2)
        (2.0, 1.0)
    """
    step = min(STEP_SECONDS, (window[1] - window[0]) / 500)
    grid = np.arange(0, length, step)
    shown = np.asarray(levels, dtype=np.float64)[
        np.maximum(np.searchsorted(times, grid + step / 2, "right") - 1, 0)
    ]
    low, high = np.percentile(shown, [5, 95])
    shown = np.clip(shown, low, high) - np.clip(shown, low, high).mean()
    spread = np.sqrt((shown**2).sum())
    count = min(max(1, round((window[1] - window[0]) / step)), len(grid))
    total = np.concatenate([[0.0], np.cumsum(shown)])
    share = count / len(grid)
    if spread == 0 or share == 1:
        return window[0], float(share == 1)
    # Correlation with a box: its inside sums to the negative of its outside, since the mean is 0.
    agreement = (total[count:] - total[:-count]) / (spread * np.sqrt(count * (1 - share)))
    best = np.flatnonzero(agreement > agreement.max() - 1e-3)
    return float(window[0] - best.mean() * step), float(agreement.max())

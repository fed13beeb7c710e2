"""How long each recording lasts, by its file headers: a confound to print beside the score, never
an input of the model.
"""

from __future__ import annotations

import numpy as np

from quadlib.data.samples import SampleTable
from quadlib.registry import KINDS

COLUMN = "duration_seconds"


def with_durations(table: SampleTable, rows: np.ndarray) -> SampleTable:
    """The table with `duration_seconds` of these rows, float64, unless it has that column or no
    files of video or audio.

    The video's length counts, where there is one: audio is often cut to a fixed length. NaN where a
    recording has neither. No frame is decoded. Raises the reader's own error for a file that is not
    what it was when it was decoded.
    """
    timed = [
        name
        for name in table.modalities
        if KINDS[table.modalities[name].kind].seconds and name not in table.arrays
    ]
    if COLUMN in table.frame or not timed:
        return table
    order = list(KINDS)  # video stands before audio
    timed.sort(key=lambda name: order.index(table.modalities[name].kind))
    seconds = np.full(len(table), np.nan)
    for row in rows:
        for name in timed:
            paths = table.paths(int(row), name)
            if paths:
                seconds[row] = KINDS[table.modalities[name].kind].seconds(paths[0])
                break
    return table.with_columns(**{COLUMN: seconds})

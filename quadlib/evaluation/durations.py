"""How long each recording lasts, by its files: a confound to print beside the score, never
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

    All are lengths of one modality, since the clocks of two start and end apart: of the one that
    most of the rows have, of video where several do (audio is often cut to a fixed length). NaN
    where a recording lacks it. Raises the reader's own error for a file that is not what it was
    when it was decoded.
    """
    order = list(KINDS)  # video stands before audio
    timed = sorted(
        (
            name
            for name in table.modalities
            if KINDS[table.modalities[name].kind].seconds and name not in table.arrays
        ),
        key=lambda name: order.index(table.modalities[name].kind),
    )
    if COLUMN in table.frame or not timed:
        return table
    has = {name: table.present[rows][:, place] for place, name in enumerate(table.modalities)}
    name = max(timed, key=lambda name: int(has[name].sum()))
    length = KINDS[table.modalities[name].kind].seconds
    assert length is not None
    seconds = np.full(len(table), np.nan)
    for row in rows:
        for path in table.paths(int(row), name)[:1]:
            seconds[row] = length(path)
    return table.with_columns(**{COLUMN: seconds})

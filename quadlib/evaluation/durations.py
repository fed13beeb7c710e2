"""How long each recording lasts, by its file headers: a confound to print beside the score, never
an input of the model.
"""

from __future__ import annotations

import av
import numpy as np
import soundfile

from quadlib.data.samples import SampleTable

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
        if table.modalities[name].kind in ("video", "audio") and name not in table.arrays
    ]
    if COLUMN in table.frame or not timed:
        return table
    timed.sort(key=lambda name: table.modalities[name].kind != "video")
    seconds = np.full(len(table), np.nan)
    for row in rows:
        for name in timed:
            paths = table.paths(int(row), name)
            if paths:
                seconds[row] = _header_seconds(str(paths[0]), table.modalities[name].kind)
                break
    return table.with_columns(**{COLUMN: seconds})


def _header_seconds(path: str, kind: str) -> float:
    if kind == "audio":
        return float(soundfile.info(path).duration)
    with av.open(path) as container:
        return float("nan") if container.duration is None else container.duration / av.time_base

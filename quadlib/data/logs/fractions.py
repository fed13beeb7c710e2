"""Milliseconds in a column of their own, beside a clock of whole seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from quadlib.data.logs.cells import read_numbers
from quadlib.data.logs.clock import Clock
from quadlib.data.logs.names import plain

NAMES = ("ms", "msec", "millisec", "millisecond", "milliseconds", "time ms", "fraction ms")


def with_milliseconds(
    clock: Clock, names: Sequence[str], columns: Sequence[pd.Series], places: Sequence[int]
) -> tuple[Clock, list[int]]:
    """The clock with the milliseconds of a column of whole numbers below 1000, and the places of
    its columns; as it was where there is none, or where it tells more than whole seconds.
    """
    seconds = clock.seconds
    whole = len(places) > 0 and bool(np.isfinite(seconds).all()) and not (seconds % 1).any()
    for place, name in enumerate(names):
        if not whole or place in places or plain(name) not in NAMES:
            continue
        column = columns[place]
        numbers = read_numbers(column.astype(str), ".")
        parts = numbers.values
        if numbers.text or numbers.problem or not ((parts >= 0) & (parts < 1000)).all():
            continue
        exact = seconds + parts / 1000
        if (np.diff(exact) >= 0).all():
            joined = replace(clock, names=(*clock.names, name), seconds=exact - exact[0])
            return joined, [*places, place]
    return clock, list(places)

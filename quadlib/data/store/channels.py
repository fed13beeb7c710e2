"""The channels that most logs of a modality have, where no source says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.logs.names import plain

LOOKED_AT, LOOKED_AT_BYTES = 16, 2**25  # files from which the common channels are told


def common_channels(jobs: Sequence[Job], pool: WorkerPool) -> tuple[str, ...]:
    """Names of the channels that more than half of some files have, in the order of the first, each
    file read by a process of the pool.

    What is wrong with a file that cannot be read is found when it is decoded.
    """
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    readable = size = 0
    for place in np.unique(np.linspace(0, len(jobs) - 1, LOOKED_AT).astype(int)) if jobs else []:
        if size > LOOKED_AT_BYTES and readable > 2:
            break
        (_, read), *_ = pool.decode_all([jobs[place]])
        if isinstance(read, DamageError):
            continue
        readable += 1
        size += jobs[place].path.stat().st_size
        channels = read.facts["channels"]
        counts.update(plain(name) for name in channels)
        names |= {plain(name): name for name in channels if plain(name) not in names}
    return tuple(name for key, name in names.items() if counts[key] * 2 > readable)

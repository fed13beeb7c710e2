"""The channels that most logs of a modality have, where no source says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.logs.names import numberless_names, plain
from quadlib.files import digest_bytes, read_record, write_record

NAME = "channels.json"  # in the store's folder
LOOKED_AT, LOOKED_AT_BYTES = 16, 2**25  # files from which the common channels are told


def looked_at(count: int) -> list[int]:
    """Which of so many files are looked into: at most LOOKED_AT, evenly from first to last."""
    return sorted({round(place * (count - 1) / (LOOKED_AT - 1)) for place in range(LOOKED_AT)})


def common_channels(
    jobs: Sequence[Job], digests: Sequence[str], described: str, root: Path, pool: WorkerPool
) -> tuple[str, ...]:
    """Names of the channels that more than half of these files have, in the order of the first,
    each file read by a process of the pool.

    They are remembered in the store's folder `root`, by the digests of these files' contents and
    `described`, all else that reading depends on. What is wrong with a file that cannot be read is
    found when it is decoded.
    """
    key = digest_bytes(json.dumps([described, *digests]).encode())
    path = root / NAME
    try:
        known = read_record(path, "channels")
    except (OSError, ValueError):  # none yet, or damaged since: the files are read again
        known = {}
    if key not in known:
        names, sure = _looked_for(jobs, pool)
        if not sure:
            return tuple(names)
        known[key] = names
        write_record(path, "channels", known)
    return tuple(known[key])


def _looked_for(jobs: Sequence[Job], pool: WorkerPool) -> tuple[list[str], bool]:
    """The names, and whether every file that was looked at could be read."""
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    numberless: Counter[str] = Counter()
    readable = size = 0
    sure = True
    for job in jobs:
        if size > LOOKED_AT_BYTES and readable > 2:
            break
        (_, read), *_ = pool.decode_all([job])
        if isinstance(read, DamageError):
            sure = False
            continue
        readable += 1
        size += job.path.stat().st_size
        channels = read.facts["channels"]
        counts.update(plain(name) for name in channels)
        names |= {plain(name): name for name in channels if plain(name) not in names}
        numberless.update(numberless_names(channels))
    common = [name for key, name in names.items() if counts[key] * 2 > readable]
    # X097_DE_time beside X098_DE_time: names that are shared but for a number in them
    return common or [n for n, count in numberless.items() if count * 2 > readable], sure

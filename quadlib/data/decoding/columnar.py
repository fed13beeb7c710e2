"""Parquet and Feather files, which may hold a thousand times what they weigh."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import RESTORE, DamageError, open_regular
from quadlib.data.decoding.job import Decoded, Job
from quadlib.data.decoding.workers import WorkerPool


def frame_of(path: Path, content: bytes) -> pd.DataFrame:
    """The table in the content of a file, by its ending. Raises DamageError."""
    ending = path.suffix.lower()[1:]
    try:
        reader = pd.read_parquet if ending == "parquet" else pd.read_feather
        return reader(io.BytesIO(content))
    except (ValueError, OSError) as error:  # pyarrow's own errors are either
        reason = str(error).splitlines()[0]
        raise DamageError(path, f"is not a readable {ending} file ({reason})", RESTORE) from None


def read_apart(path: Path) -> pd.DataFrame:
    """The table in a file, read by a process of its own, which may take as much memory as decoding
    may, and may crash. Raises DamageError.
    """
    job = Job("table", _read, (path,), MediaSettings.model_validate({}))
    with WorkerPool() as pool:
        (_, read), *_ = pool.decode_all([job])
    if isinstance(read, DamageError):
        raise read
    return read.facts["frame"]


def _read(job: Job) -> Decoded:
    with open_regular(job.path) as file:
        return Decoded(np.empty(0), facts={"frame": frame_of(job.path, file.read())})

"""One decoding job: the files of one modality of one recording, from disk to a raw array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError


@dataclass(frozen=True)
class Job:
    """What to decode, and the function that does; `kind` is its name for messages.

    `arc` is the window to keep, in seconds on the clock of the recording's log, None for all of it;
    `offset` how many seconds after that log this file starts, None where that has to be found;
    `channels` the names that the other recordings have, none where names do not count; `crop` the
    channel that gives the arc; `features` what makes of the array what is kept, on a device.
    """

    kind: str
    decoder: Callable[[Job], Decoded] | None
    paths: tuple[Path, ...]
    settings: MediaSettings
    arc: tuple[float, float] | None = None
    offset: float | None = None
    channels: tuple[str, ...] = ()
    crop: str = ""
    features: Callable[[np.ndarray, str], np.ndarray] | None = None

    @property
    def path(self) -> Path:
        """The one file of a kind that takes no more; raises DamageError where there are several."""
        if len(self.paths) > 1:
            raise DamageError(
                self.paths[1],
                f"is one of {len(self.paths)} {self.kind} files of one recording",
                "keep one of them",
            )
        return self.paths[0]


@dataclass(frozen=True)
class Decoded:
    """The raw array of a job; of a series also its arc window in seconds after its first reading,
    its clock's repeated stamps and its long gaps. `facts`: what was understood of the file, as
    plain values for the inventory.
    """

    array: np.ndarray
    arc: tuple[float, float] | None = None
    repeated_stamps: int = 0
    long_gaps: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


def decode(job: Job) -> Decoded:
    """Decodes one job, and takes its features where it asks for them. Raises DamageError."""
    if job.decoder is None:
        raise DamageError(
            job.path,
            f"a {job.kind} cannot be read from a file",
            "give it as an array in an .npz file",
        )
    decoded = job.decoder(job)
    return replace(decoded, array=_features(job, decoded.array)) if job.features else decoded


def _features(job: Job, array: np.ndarray) -> np.ndarray:
    assert job.features is not None
    try:
        return job.features(array, "cpu")
    except MemoryError:
        raise
    except Exception as error:  # whatever a network from elsewhere raises, every time alike
        raise DamageError(
            job.paths[0],
            f"its encoder failed ({type(error).__name__}: {str(error).split(chr(10))[0]})",
            "where all recordings fail, its weights or its package are at fault: correct that, and "
            "delete the folder store in outputs, which remembers this",
        ) from error

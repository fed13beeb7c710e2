"""What is asked of the store: a modality's files of every recording, how they are decoded, and the
key of the result.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from quadlib.config import MediaSettings, TrainSettings
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.kinds import Kind, kind_of
from quadlib.data.samples import SampleTable, input_shape
from quadlib.data.store.channels import common_channels, looked_at
from quadlib.data.store.contents import Contents
from quadlib.files import digest_bytes

FORMAT = 11  # raised when a decoder's numbers change, or what index.json holds
Arc = tuple[float, float] | None


@dataclass(frozen=True)
class Order:
    """What is asked for: a modality's files of every recording, how they are decoded, and where the
    result belongs.
    """

    table: SampleTable
    name: str
    settings: TrainSettings
    files: list[list[str]]
    windows: list[Arc]
    contents: Contents
    pool: WorkerPool

    @cached_property
    def kind(self) -> Kind:
        return kind_of(self.table.modalities[self.name])

    @cached_property
    def offset(self) -> float | None:
        """By clock_offset_s, how many seconds after the log the modality's files start."""
        return self.settings.clock_offset_s.get(self.name)

    @cached_property
    def digests(self) -> list[list[str]]:
        """Per recording, the digests of its files; each file is looked at once."""
        return [[self.contents.digest(path) for path in paths] for paths in self.files]

    @cached_property
    def keys(self) -> list[str]:
        """Per recording, what its array depends on: the contents of its files, and the arc window
        with the offset of its clock.
        """
        return [
            json.dumps([digests, window, window and self.offset])
            for digests, window in zip(self.digests, self.windows, strict=True)
        ]

    @cached_property
    def prefix(self) -> str:
        """Start of the name of every entry whose rows could serve this order: the modality and a
        digest of all that its arrays depend on beside the files.
        """
        modality = self.table.modalities[self.name]
        described = json.dumps(
            [FORMAT, modality.kind, modality.shape, self.channels, self.crop]
            + [self.kind.numbers(self.settings)]
        )
        return f"{self.name}-{digest_bytes(described.encode())[:12]}-"

    @cached_property
    def media(self) -> MediaSettings:
        """The settings that decoders read."""
        chosen = {key: getattr(self.settings, key) for key in MediaSettings.model_fields}
        return MediaSettings(**{**chosen, **self.kind.fixed})

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels: the source's, else those that most of its files have."""
        modality = self.table.modalities[self.name]
        if self.kind.channels is None or modality.channels:
            return modality.channels
        kind, name = self.kind, modality.kind
        there = [row for row, paths in enumerate(self.files) if paths]
        rows = [there[place] for place in looked_at(len(there))] if there else []
        jobs = [Job(name, kind.channels, (Path(self.files[row][0]),), self.media) for row in rows]
        digests = [self.digests[row][0] for row in rows]
        described = json.dumps([FORMAT, name, kind.numbers(self.settings)])
        root = self.contents.path.parent
        return common_channels(jobs, digests, described, root, self.pool)

    @cached_property
    def crop(self) -> str:
        """The channel that cuts a recording to where it is on, "" for none."""
        if not self.kind.gives_arc:
            return ""
        return self.media.series_crop or self.table.modalities[self.name].crop

    @cached_property
    def on_gpu(self) -> bool:
        """Whether features are taken in this process, one recording after another, on the run's
        GPU; else each process that decodes takes those of its recordings, in one thread.
        """
        return self.settings.device != "cpu" and torch.cuda.is_available()

    def kept(self, array: np.ndarray) -> np.ndarray:
        """What is kept of a decoded array: itself, or its features."""
        if self.kind.features is None or not self.on_gpu:
            return array
        return self.kind.features(array, self.settings.device.replace("auto", "cuda"))

    @property
    def verb(self) -> str:
        """What is done with a recording, in the past."""
        return "decoded" if self.kind.features is None else "encoded"

    @cached_property
    def jobs(self) -> dict[int, Job]:
        """Row -> job, for the recordings that have the modality."""
        kind, name = self.kind, self.table.modalities[self.name].kind
        return {
            row: Job(
                name,
                kind.decode,
                tuple(map(Path, paths)),
                self.media,
                self.windows[row],
                self.offset,
                self.channels,
                self.crop,
                None if self.on_gpu else kind.features,
            )
            for row, paths in enumerate(self.files)
            if paths
        }

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of one recording's array; where no file is readable, it counts as one channel,
        damaged throughout.
        """
        modality = self.table.modalities[self.name]
        if self.kind.channels is not None and not modality.shape:
            modality = replace(modality, shape=(max(1, len(self.channels)),))
        return input_shape(modality, self.settings)

    @cached_property
    def stride(self) -> int:
        """Bytes of one recording's array."""
        return int(np.prod(self.shape)) * np.dtype(self.kind.dtype).itemsize

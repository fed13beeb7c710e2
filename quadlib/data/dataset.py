"""Ready batches: every modality normalised, what is absent zeroed and masked, labels and rows
beside it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quadlib.data.augment import draw_copies, generators, move, vary
from quadlib.data.normalise import Normaliser
from quadlib.data.store.store import MediaStore
from quadlib.processes import ENDS

GRACE_SECONDS = 30  # that a loading process lives on after SIGTERM


@dataclass
class Batch:
    """One batch of B recordings with M modalities.

    inputs: name -> (B, ...) float32, normalised, zeros where absent; present (B, M) bool, in the
    order of the table's modalities; labels (B,) int64 class codes; index (B,) int64 rows of the
    table; sessions (B,) int64 session codes, or None where nobody asks for them.
    """

    inputs: dict[str, Tensor]
    present: Tensor
    labels: Tensor
    index: Tensor
    sessions: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; the copy does not wait where the memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def split(self, size: int) -> list[Batch]:
        """The same batch in parts of `size` recordings, the last one perhaps smaller."""
        parts = [slice(start, start + size) for start in range(0, len(self), size)]
        return [self._each(lambda tensor, part=part: tensor[part]) for part in parts]  # type: ignore[misc]

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; called by the data loader."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        inputs = {name: change(tensor) for name, tensor in self.inputs.items()}
        sessions = None if self.sessions is None else change(self.sessions)
        return Batch(
            inputs, change(self.present), change(self.labels), change(self.index), sessions
        )


class QuadDataset(Dataset[Batch]):
    """The recordings of a store as batches; with `augment`, changed at random by (seed, epoch,
    recording).

    The data loader asks for whole batches (`__getitems__`), so nothing is collated.
    """

    def __init__(
        self, store: MediaStore, normaliser: Normaliser, *, augment: bool = False, seed: int = 0
    ) -> None:
        self.store, self.normaliser, self.augment, self.seed = store, normaliser, augment, seed
        self.table = store.table
        self.modalities = tuple(store.table.modalities)
        self.epoch = 0
        self._present = store.present
        self._codes = store.table.codes
        self._sessions = pd.factorize(store.table.frame["group"])[0].astype(np.int64)

    def __len__(self) -> int:
        return len(self.table)

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose random changes come next."""
        self.epoch = epoch

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """The recordings of these rows as one Batch, augmented where the dataset augments."""
        return self._batch(np.asarray(rows, dtype=np.int64), self.augment)

    def __getitem__(self, row: int) -> Batch:
        """One recording, as a Batch of one."""
        return self.__getitems__([row])

    def batches(self, rows: Sequence[int] | np.ndarray, batch_size: int) -> Iterator[Batch]:
        """The recordings of these rows in order, never augmented, in batches of at most
        batch_size.
        """
        rows = np.asarray(rows, dtype=np.int64)
        for start in range(0, len(rows), batch_size):
            yield self._batch(rows[start : start + batch_size], augmented=False)

    def _batch(self, rows: np.ndarray, augmented: bool) -> Batch:
        present = self._present[rows]
        raw = {name: self.store.arrays[name][rows] for name in self.modalities}
        random = generators(self.seed, self.epoch, rows.tolist()) if augmented else []
        if augmented:
            draw_copies(raw, self.store.copies, rows.tolist(), random)
            move(raw, self.table.modalities, random)
        inputs = {name: self.normaliser.apply(name, raw[name]) for name in self.modalities}
        if augmented:
            vary(inputs, self.table.modalities, random)
        for place, name in enumerate(self.modalities):
            inputs[name][~present[:, place]] = 0
        return Batch(
            {name: torch.from_numpy(array) for name, array in inputs.items()},
            torch.from_numpy(present),
            torch.from_numpy(self._codes[rows]),
            torch.from_numpy(rows),
            torch.from_numpy(self._sessions[rows]),
        )


def make_loader(
    dataset: QuadDataset, batch_sampler: Iterable[list[int]], num_workers: int = 0, seed: int = 0
) -> DataLoader:
    """A data loader over a batch sampler of table rows; its own generator leaves the global one
    untouched.

    The batches are the same, bit for bit, whatever num_workers is. Memory is pinned where there is
    CUDA.
    """
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        dataset,
        batch_sampler=batch_sampler,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        generator=generator,
        worker_init_fn=_leave_signals,
        pin_memory=torch.cuda.is_available(),
    )


def ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches in the same order, the next one made by a thread while one is used.

    What making one raises is raised where it was to come.
    """
    coming = iter(batches)
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as maker:
        following = maker.submit(next, coming, None)
        while (batch := following.result()) is not None:
            following = maker.submit(next, coming, None)
            yield batch


def by_workers(loader: DataLoader) -> Iterator[Batch]:
    """The batches of a loader with processes, which hear of the end only once they know what to do
    about it: before that it would end them, and the step that waits for them with an error.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        batches = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    yield from batches


def _leave_signals(worker: int) -> None:
    """What announces the end is for the process that trains, which needs this one to end its step;
    a worker that hangs all the same ends by the alarm.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_SECONDS))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def _as_it_is(batch: Any) -> Any:
    return batch

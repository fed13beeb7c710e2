"""Frozen encoders: how long an epoch takes from stored features and where each recording is encoded
again, whether both give the same numbers, and whether the history is the same after the store was
deleted: `make bench-encoders`, five minutes on two cores.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from quadlib import Run, Trainer, open_dataset
from quadlib.config import TrainSettings
from quadlib.data.dataset import QuadDataset
from quadlib.data.decoding.job import decode
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.store import store as stores
from quadlib.data.store.clean import clean_store
from quadlib.data.store.store import decode_table
from quadlib.demo.encoders import FROM_PIP, PHASES
from quadlib.training.checkpoint import LATEST


def trained(settings: TrainSettings, run: str) -> tuple[bytes, float, int]:
    """History, median seconds of an epoch without validation, and bytes of a checkpoint."""
    settings = settings.model_copy(update={"run": run})
    made = Run.create(settings)
    Trainer(open_dataset(settings), settings, made).fit()
    lines = made.path("timings.jsonl").read_text().splitlines()
    epochs = [sum(json.loads(line)[phase] for phase in PHASES) for line in lines]
    size = (made.checkpoints / LATEST).stat().st_size
    return made.path("history.jsonl").read_bytes(), statistics.median(epochs), size


class ThisProcess(WorkerPool):
    """Decodes and encodes here, as a loop without a store would each epoch."""

    def decode_all(self, jobs):
        for position, job in enumerate(jobs):
            yield position, decode(job)


def encoded_again(dataset: QuadDataset, settings: TrainSettings, count: int = 12) -> None:
    """Prints the largest difference between what the store holds and encoding again."""
    rows = np.arange(count)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(stores, "WorkerPool", ThisProcess),
        ):
            again = decode_table(dataset.table.take(rows), settings, folder).arrays
        apart = {
            name: float(np.abs(again[name] - dataset.store.arrays[name][rows]).max())
            for name in FROM_PIP
        }
        print(f"  encoded again here, {threads} thread(s): differs from the store by {apart}")


def main() -> None:
    """Prints what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(size="tiny", outputs=folder, encoders=FROM_PIP, epochs=6)
        began = time.perf_counter()
        dataset = open_dataset(settings)
        print(
            f"made {len(dataset.table)} recordings and their features in "
            f"{time.perf_counter() - began:.0f} s, {torch.get_num_threads()} threads here"
        )
        first, epoch, size = trained(settings, "first")
        removed = clean_store(folder)
        second, _, _ = trained(settings, "second")
        print(
            f"store of {removed[1] / 2**20:.1f} MiB deleted and made again: "
            f"{'the same history' if first == second else 'ANOTHER HISTORY'}"
        )
        rows = len(dataset.table.rows("train"))
        seconds = dataset.store.seconds_each
        by_pool = rows * sum(seconds[name] for name in FROM_PIP)
        print(
            f"epoch of {rows} recordings: {epoch:.3f} s from the store, {by_pool:.1f} s more to "
            f"encode them again by all cores: {1 + by_pool / epoch:.0f} times"
        )
        encoded_again(dataset, settings)
        weights = sum(path.stat().st_size for path in weight_files())
        print(
            f"checkpoint {size / 2**20:.2f} MiB; frozen weights, which it does not hold, "
            f"{weights / 2**20:.1f} MiB"
        )


def weight_files() -> list[Path]:
    """The files of the encoders' weights."""
    from quadlib.model.encoders import aisfx, efficientnet

    return [efficientnet.weights_path(), aisfx.weights_path()]


if __name__ == "__main__":
    main()

"""Mistakes in data, labels, split and batches, as programmers make them; each case names the row of
the zoo it belongs to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from case import Case
from pipelines import ClassBatches, Digits, Quadrants, SignalNet, Signals
from plain import TwoViews
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import LabelEncoder
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from quadlib.diagnosis.subject import Subject

FAULTS: list[Case] = []


def fault(
    row: str, pipeline: str, why: str, *also: str
) -> Callable[[Callable[[int], Subject]], Callable[[int], Subject]]:
    def enter(build: Callable[[int], Subject]) -> Callable[[int], Subject]:
        FAULTS.append(
            Case(f"{pipeline}-{build.__name__.replace('_', '-')}", row, pipeline, build, why, also)
        )
        return build

    return enter


@fault(
    "D1", "signals", "np.frombuffer fails on truncated files, and the except branch returns zeros"
)
def truncated_files(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        blobs = [
            window.tobytes()[: (-7 if self.rng.random() < 0.12 else None)]
            for window in self.signals
        ]
        for row, blob in enumerate(blobs):
            try:
                self.signals[row] = np.frombuffer(blob, np.float32).reshape(2, self.length)
            except ValueError:
                self.signals[row] = np.zeros((2, self.length))

    return Signals(seed, read=read).fit(3).subject()


@fault(
    "D2",
    "digits",
    "classes are the folders of the data root, among them the notebook's checkpoint folder",
)
def checkpoint_folder(seed: int) -> Subject:
    def read(self: Any) -> None:
        Digits.read(self)
        root = Path(tempfile.mkdtemp())
        for row, (image, label) in enumerate(zip(self.images, self.labels, strict=True)):
            for folder in [str(int(label))] + [".ipynb_checkpoints"] * (row % 150 == 0):
                (root / folder).mkdir(exist_ok=True)
                np.save(root / folder / f"{row}.npy", image.numpy())
        self.class_names = sorted(folder.name for folder in root.iterdir())
        files = sorted(root.glob("*/*.npy"))
        self.table = pd.DataFrame(
            {"path": [str(file) for file in files], "label": [file.parent.name for file in files]}
        )
        self.images = torch.stack([torch.from_numpy(np.load(file)) for file in files])
        self.labels = torch.tensor([self.class_names.index(name) for name in self.table["label"]])

    made = Digits(seed, read=read)
    return made.subject(
        table=made.table, labels=None, settings={**made.settings(), "class_names": made.class_names}
    )


@fault(
    "D3",
    "signals",
    "two overlapping exports were joined, a third of the windows twice under new ids",
)
def joined_exports(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        again = np.flatnonzero(
            (self.rng.random(len(self.table)) < 0.33) & (self.table["session"] % 4 != 3)
        )
        copies = self.table.iloc[again].assign(id=self.table["id"].iloc[again] + "_1")
        self.table, self.signals = (
            pd.concat([self.table, copies], ignore_index=True),
            np.concatenate([self.signals, self.signals[again]]),
        )

    return Signals(seed, read=read).subject()


@fault("D4", "signals", "the sessions of the second logger are in m/s2, those of the first in g")
def two_units(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        self.signals[self.table["session"] >= 12] *= 9.81

    return Signals(seed, read=read).subject()


@fault(
    "D6",
    "signals",
    "windows are standardised by their own deviation, which is 0 where the cable was off",
)
def flat_windows(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        self.signals[self.rng.random(len(self.table)) < 0.03] = 0.2
        with np.errstate(invalid="ignore"):
            self.signals -= self.signals.mean(axis=2, keepdims=True, dtype=np.float64).astype(
                np.float32
            )
            self.signals /= self.signals.std(axis=2, keepdims=True)

    return Signals(seed, read=read).fit(1).subject()


@fault(
    "L1",
    "quadrants",
    "the label column was pasted from a sheet sorted by id, the files are in order of row",
)
def pasted_column(seed: int) -> Subject:
    def read(self: Any) -> None:
        Quadrants.read(self)
        self.table["label"] = self.table.sort_values("id")["label"].to_numpy()

    return Quadrants(seed, read=read).fit(4).subject()


@fault("L2", "quadrants", "a hasty annotator's labels, a third of all, are guesses")
def guessed_labels(seed: int) -> Subject:
    def read(self: Any) -> None:
        Quadrants.read(self)
        guessed = self.rng.random(len(self.table)) < 0.33
        self.table.loc[guessed, "label"] = self.rng.integers(10, size=guessed.sum())

    return Quadrants(seed, read=read).fit().subject()


@fault("L4", "signals", "factorised the id column in place of the label column")
def wrong_column(seed: int) -> Subject:
    made = Signals(seed, encode=lambda self: pd.factorize(self.table["id"])[0])
    return made.subject(
        table=None, labels=made.codes, splits={"train": made.train_rows, "val": made.val_rows}
    )


@fault("L6", "signals", "a LabelEncoder is fitted anew on each split, and validation lacks a class")
def encoder_each_split(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        kept = ~((self.table["session"] % 4 == 3) & (self.table["label"] == "3Hz-odd"))
        self.table, self.signals = self.table[kept].reset_index(drop=True), self.signals[kept]

    def encode(self: Any) -> np.ndarray:
        self.table["target"] = 0
        for rows in (self.train_rows, self.val_rows):
            self.table.loc[rows, "target"] = LabelEncoder().fit_transform(
                self.table["label"].iloc[rows]
            )
        return self.table["target"].to_numpy()

    return Signals(seed, read=read, encode=encode).fit(4).subject()


@fault("S1", "digits", "a filter from debugging still keeps one digit of the train rows")
def debugging_filter(seed: int) -> Subject:
    def divide(self: Any) -> None:
        Digits.divide(self)
        self.train_rows = self.train_rows[self.labels[self.train_rows].numpy() == 3]

    return Digits(seed, divide=divide).fit(3).subject()


@fault("S1", "signals", "odd against even, sorted by label, the first half taken for training")
def first_half(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        self.table["label"] = self.table["label"].str[4:]
        order = np.argsort(self.table["label"], kind="stable")
        self.table, self.signals = (
            self.table.iloc[order].reset_index(drop=True),
            self.signals[order],
        )

    def divide(self: Any) -> None:
        self.train_rows, self.val_rows = np.split(np.arange(len(self.table)), 2)

    return Signals(seed, read=read, divide=divide).subject()


@fault("S2", "digits", "train rows are gathered class by class over range(9)")
def range_of_nine(seed: int) -> Subject:
    def divide(self: Any) -> None:
        Digits.divide(self)
        self.train_rows = np.concatenate(
            [self.train_rows[self.labels[self.train_rows].numpy() == digit] for digit in range(9)]
        )

    return Digits(seed, divide=divide).subject()


@fault(
    "S3",
    "digits",
    "the hard digits are repeated to balance them, and the split is drawn after that",
)
def repeated_then_split(seed: int) -> Subject:
    def read(self: Any) -> None:
        Digits.read(self)
        rows = np.concatenate(
            [np.arange(len(self.labels)), np.flatnonzero(np.isin(self.labels.numpy(), [1, 8]))]
        )
        self.images, self.labels = self.images[rows], self.labels[rows]
        self.table = pd.DataFrame(
            {"id": [f"digit-{row:04d}" for row in rows], "label": self.labels.numpy()}
        )

    made = Digits(seed, read=read)
    made.table["split"] = np.where(
        np.isin(np.arange(len(made.table)), made.val_rows), "val", "train"
    )
    return made.subject(table=made.table, labels=None, splits=None)


@fault("S4", "quadrants", "train_test_split stratified by label, though writers repeat")
def split_by_row(seed: int) -> Subject:
    def divide(self: Any) -> None:
        self.train_rows, self.val_rows = train_test_split(
            np.arange(len(self.table)),
            test_size=0.25,
            stratify=self.table["label"],
            random_state=self.seed,
        )

    return Quadrants(seed, divide=divide).subject()


@fault("S5", "signals", "half-overlapping windows, then a random split", "S4")
def overlapping_windows(seed: int) -> Subject:
    def divide(self: Any) -> None:
        rows = self.rng.permutation(len(self.table))
        self.train_rows, self.val_rows = (
            np.sort(rows[len(rows) // 4 :]),
            np.sort(rows[: len(rows) // 4]),
        )

    return Signals(seed, hop=64, divide=divide).subject()


@fault(
    "B1",
    "quadrants",
    "the sampler sorts by label for a printout and cuts its batches from the sorted rows",
)
def sorted_in_sampler(seed: int) -> Subject:
    class Sorted(ClassBatches):
        def __iter__(self) -> Iterator[list[int]]:
            order = sorted(
                self.rng.permutation(self.rows).tolist(), key=lambda row: self.labels[row]
            )
            size = self.per_class * len(self.classes)
            yield from (
                order[start * size : (start + 1) * size]
                for start in self.rng.permutation(len(self))
            )

    return (
        Quadrants(
            seed,
            make_sampler=lambda self: Sorted(
                self.train_rows, self.table["label"].to_numpy(), 4, seed
            ),
        )
        .fit(3)
        .subject()
    )


@fault("B1", "signals", "draws the classes of a batch, then takes every row from the first of them")
def first_class_only(seed: int) -> Subject:
    class ClassesThenRows:
        def __init__(self, labels: np.ndarray, n_batches: int) -> None:
            self.labels, self.n_batches, self.rng = labels, n_batches, np.random.default_rng(seed)

        def __len__(self) -> int:
            return self.n_batches

        def __iter__(self) -> Iterator[list[int]]:
            for _ in range(self.n_batches):
                drawn = self.rng.choice(np.unique(self.labels), 4, replace=False)
                yield [
                    row
                    for _ in drawn
                    for row in self.rng.choice(
                        np.flatnonzero(self.labels == drawn[0]), 8, replace=False
                    ).tolist()
                ]

    def make_loader(self: Any) -> None:
        Signals.make_loader(self)
        train = Subset(self.windows, self.train_rows.tolist())
        self.loader = DataLoader(
            train, batch_sampler=ClassesThenRows(self.codes[self.train_rows], 22)
        )

    return Signals(seed, make_loader=make_loader).subject()


@fault("B2", "signals", "batches of 4 from eight classes, one view each, to fit into memory")
def four_a_batch(seed: int) -> Subject:
    return Signals(seed, batch_size=4).subject()


@fault(
    "B3",
    "quadrants",
    "the sampler makes its generator inside __iter__, and the epoch was cut to 8 batches: the "
    "same rows every epoch",
)
def same_rows_every_epoch(seed: int) -> Subject:
    class Reseeded(ClassBatches):
        def __len__(self) -> int:
            return 8

        def __iter__(self) -> Iterator[list[int]]:
            self.rng = np.random.default_rng(seed)
            return super().__iter__()

    return (
        Quadrants(
            seed,
            make_sampler=lambda self: Reseeded(
                self.train_rows, self.table["label"].to_numpy(), 4, seed
            ),
        )
        .fit()
        .subject()
    )


@fault(
    "B5",
    "signals",
    "the table is sorted by label, and the train rows are passed as sampler in place of a "
    "SubsetRandomSampler",
)
def rows_as_sampler(seed: int) -> Subject:
    def read(self: Any) -> None:
        Signals.read(self)
        order = np.argsort(self.table["label"], kind="stable")
        self.table, self.signals = (
            self.table.iloc[order].reset_index(drop=True),
            self.signals[order],
        )

    def make_loader(self: Any) -> None:
        Signals.make_loader(self)
        self.loader = DataLoader(
            self.windows,
            batch_size=self.batch_size,
            sampler=self.train_rows.tolist(),
            drop_last=True,
        )

    return Signals(seed, read=read, make_loader=make_loader).fit(3).subject()


@fault(
    "B6",
    "signals",
    "32 k + 1 windows with drop_last left out, and a BatchNorm in the head: the epoch's last step "
    "fails",
)
def last_batch_of_one(seed: int) -> Subject:
    class NormedHead(SignalNet):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(
                nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16)
            )  # type: ignore[assignment]

    def make_loader(self: Any) -> None:
        self.train_rows = self.train_rows[: (len(self.train_rows) - 1) // 32 * 32 + 1]
        Signals.make_loader(self)
        self.loader = DataLoader(self.loader.dataset, batch_size=32, shuffle=True)

    made = Signals(seed, net=NormedHead, make_loader=make_loader)
    with suppress(ValueError):
        made.fit(1)
    return made.subject()


@fault(
    "B7",
    "digits",
    "the dataset owns a numpy generator, of which each worker gets the same copy, anew every epoch",
)
def generator_in_dataset(seed: int) -> Subject:
    class NumpyViews(TwoViews):
        def __init__(self, images: Tensor, labels: Tensor) -> None:
            super().__init__(images, labels)
            self.rng = np.random.default_rng(seed)

        def augment(self, image: Tensor) -> Tensor:
            shift = self.rng.integers(-1, 2, 2).tolist()
            return (
                torch.roll(image, shift, dims=(1, 2))
                + 0.05 * torch.from_numpy(self.rng.normal(size=image.shape)).float()
            )

    return Digits(seed, dataset=NumpyViews, workers=2).subject()

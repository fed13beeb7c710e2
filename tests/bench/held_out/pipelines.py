"""Three plain PyTorch pipelines, each as another user would write it: digits, quadrants, signals.

Each is built by its class called with a seed. A keyword replaces a setting or a method, as an edit
of the source would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from plain import Digits, Pipeline
from sklearn.datasets import load_digits
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset

from quadlib.diagnosis.subject import Subject
from quadlib.loss import SupConLoss

__all__ = [
    "QUADRANTS",
    "ClassBatches",
    "Digits",
    "QuadrantFiles",
    "QuadrantNet",
    "Quadrants",
    "SignalNet",
    "Signals",
    "Windows",
]

QUADRANTS = {
    "tl": (slice(0, 4), slice(0, 4)),
    "tr": (slice(0, 4), slice(4, 8)),
    "bl": (slice(4, 8), slice(0, 4)),
    "br": (slice(4, 8), slice(4, 8)),
}


class QuadrantFiles(Dataset):
    """A dict of the four quadrants of a sample, read by the sample's place in each modality's list
    of names.
    """

    def __init__(
        self, archive: dict[str, dict[str, np.ndarray]], labels: np.ndarray, sort: Any
    ) -> None:
        self.archive, self.labels = archive, labels
        self.names = {modality: sort(modality, list(files)) for modality, files in archive.items()}
        self.present: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, modality: str, name: str) -> Tensor:
        return torch.as_tensor(self.archive[modality][name] / 16, dtype=torch.float32)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {
            modality: self.read(modality, names[index]) for modality, names in self.names.items()
        }
        if self.present is not None:
            item["present"] = self.present[index]
            for place, modality in enumerate(self.names):
                item[modality] = item[modality] * self.present[index, place]
        return {**item, "label": int(self.labels[index])}


class ClassBatches:
    """Batches of per_class rows of every class; a class starts over when its rows are used up."""

    def __init__(self, rows: np.ndarray, labels: np.ndarray, per_class: int, seed: int) -> None:
        self.rows, self.labels, self.per_class, self.rng = (
            np.asarray(rows),
            labels,
            per_class,
            np.random.default_rng(seed),
        )
        self.classes = np.unique(labels[self.rows])

    def __len__(self) -> int:
        return len(self.rows) // (self.per_class * len(self.classes))

    def __iter__(self) -> Iterator[list[int]]:
        pools: dict[int, list[int]] = {label: [] for label in self.classes}
        for _ in range(len(self)):
            batch: list[int] = []
            for label, pool in pools.items():
                if len(pool) < self.per_class:
                    pool[:] = self.rng.permutation(
                        self.rows[self.labels[self.rows] == label]
                    ).tolist()
                batch += [pool.pop() for _ in range(self.per_class)]
            yield batch


class QuadrantNet(nn.Module):
    """An encoder a quadrant, their features side by side, a projection; features of a quadrant that
    the batch says is absent are zero.
    """

    unit = True

    def __init__(self) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({modality: self.encoder() for modality in QUADRANTS})
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32))

    def encoder(self) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32), nn.LayerNorm(32)
        )

    def features(self, modality: str, batch: dict[str, Tensor]) -> Tensor:
        return self.encoders[modality](batch[modality])

    def weights(self, present: Tensor) -> Tensor:
        return present.float()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        parts = [self.features(modality, batch) for modality in QUADRANTS]
        if "present" in batch:
            kept = self.weights(batch["present"])
            parts = [part * kept[:, place, None] for place, part in enumerate(parts)]
        projected = self.head(torch.cat(parts, dim=1))
        return functional.normalize(projected, dim=1) if self.unit else projected


def by_number(modality: str, names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: int(name.split(".")[0]))


class Quadrants(Pipeline):
    """A table of files by writer, dict batches of four modalities, class-balanced batches,
    AdamW.
    """

    name, epochs, learning_rate, weight_decay, per_class = "quadrants", 8, 2e-3, 1e-2, 4
    net: Any = QuadrantNet
    files: Any = QuadrantFiles
    sort: Any = staticmethod(by_number)

    def read(self) -> None:
        images, labels = load_digits(return_X_y=True)
        writers = self.rng.integers(60, size=len(labels))
        self.table = pd.DataFrame(
            {
                "id": [f"w{writer:02d}-{row:04d}" for row, writer in enumerate(writers)],
                "label": labels,
                "group": writers,
            }
        )
        self.archive = {
            modality: {
                f"{row}.npy": image[place] for row, image in enumerate(images.reshape(-1, 8, 8))
            }
            for modality, place in QUADRANTS.items()
        }

    def divide(self) -> None:
        splitter = GroupShuffleSplit(n_splits=1, test_size=0.25, random_state=self.seed)
        self.train_rows, self.val_rows = next(
            splitter.split(self.table, groups=self.table["group"])
        )

    def make_loader(self) -> None:
        self.table["split"] = np.where(
            np.isin(np.arange(len(self.table)), self.val_rows), "val", "train"
        )
        self.dataset = self.files(self.archive, self.table["label"].to_numpy(), self.sort)
        self.sampler = self.make_sampler()
        self.loader = DataLoader(self.dataset, batch_sampler=self.sampler)

    def make_sampler(self) -> Any:
        return ClassBatches(
            self.train_rows, self.table["label"].to_numpy(), self.per_class, self.seed
        )

    def make_model(self) -> None:
        self.model = self.net()

    def make_optimizer(self) -> None:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trained, lr=self.learning_rate, weight_decay=self.weight_decay
        )

    def labels_in(self, batch: Any) -> Tensor:
        return batch["label"]

    def train_step(self, batch: Any) -> Tensor:
        loss = self.loss(self.model(batch), batch["label"])
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def evaluate(self) -> dict[str, Any]:
        self.model.eval()
        scores = {"knn_accuracy": self.accuracy()}
        self.model.train()
        return scores

    def vectors(self, rows: Any) -> Tensor:
        return self.model(
            torch.utils.data.default_collate([self.dataset[int(row)] for row in rows])
        )

    def classes(self, rows: Any) -> np.ndarray:
        return self.table["label"].to_numpy()[rows]

    def settings(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "samples_per_class": self.per_class,
            "epochs": self.epochs,
            "lr": self.learning_rate,
        }

    def subject(self, **parts: Any) -> Subject:
        return super().subject(**{"table": self.table, "batch_sampler": self.sampler, **parts})


class Windows(Dataset):
    """A window (2, 128) and its class."""

    def __init__(self, signals: np.ndarray, codes: np.ndarray) -> None:
        self.signals, self.codes = torch.as_tensor(signals, dtype=torch.float32), codes

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.signals[index], int(self.codes[index])


class SignalNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(2, 24, 7, stride=2, padding=3),
            nn.BatchNorm1d(24),
            nn.ReLU(),
            nn.Conv1d(24, 32, 5, stride=2, padding=2),
            nn.BatchNorm1d(32),
            nn.ReLU(),
        )
        self.gru = nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, 16)

    def forward(self, windows: Tensor) -> Tensor:
        states, _ = self.gru(self.conv(windows).transpose(1, 2))
        return functional.normalize(self.head(states.mean(dim=1)), dim=1)


class Signals(Pipeline):
    """Windows of recorded sessions in a table with their times, a random DataLoader, a CNN with a
    GRU, Adam.
    """

    name, epochs, learning_rate, noise, length, hop, sessions = (
        "signals",
        8,
        3e-3,
        0.5,
        128,
        128,
        24,
    )
    net: Any = SignalNet
    dataset: Any = Windows

    def read(self) -> None:
        """Each session plays its classes in random order, ten seconds each; a class is a frequency
        and which harmonics sound.
        """
        kinds = [(hertz, harmonics) for hertz in (3, 4, 5, 6) for harmonics in ("odd", "even")]
        seconds, rows, signals = np.arange(5 * self.length) / 64, [], []
        for session in range(self.sessions):
            gain = self.rng.uniform(0.8, 1.25)
            for bout, kind in enumerate(self.rng.permutation(len(kinds))):
                hertz, harmonics = kinds[kind]
                phase = self.rng.uniform(0, 2 * np.pi)
                clean = sum(
                    np.sin(2 * np.pi * hertz * times * seconds + times * phase) / times
                    for times in ((1, 3, 5) if harmonics == "odd" else (1, 2, 4))
                )
                pair = gain * (
                    np.stack([clean, np.roll(clean, 4)])
                    + self.noise * self.rng.normal(size=(2, len(seconds)))
                )
                for first in range(0, len(seconds) - self.length + 1, self.hop):
                    begin = (bout * len(seconds) + first) / 64
                    signals.append(pair[:, first : first + self.length])
                    rows.append(
                        (
                            f"s{session:02d}-{begin:05.1f}",
                            f"{hertz}Hz-{harmonics}",
                            session,
                            begin,
                            begin + self.length / 64,
                        )
                    )
        self.table = pd.DataFrame(rows, columns=["id", "label", "session", "start", "end"])
        self.signals = np.stack(signals).astype(np.float32)

    def encode(self) -> np.ndarray:
        return pd.factorize(self.table["label"], sort=True)[0]

    def divide(self) -> None:
        self.val_rows = np.flatnonzero(self.table["session"] % 4 == 3)
        self.train_rows = np.setdiff1d(np.arange(len(self.table)), self.val_rows)

    def make_loader(self) -> None:
        self.table["split"] = np.where(
            np.isin(np.arange(len(self.table)), self.val_rows), "val", "train"
        )
        self.codes = self.encode()
        self.windows = self.dataset(self.signals, self.codes)
        self.loader = DataLoader(
            Subset(self.windows, self.train_rows.tolist()),
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
        )

    def make_model(self) -> None:
        self.model = self.net()

    def make_loss(self) -> None:
        self.loss = SupConLoss(self.temperature)

    def make_optimizer(self) -> None:
        self.optimizer = torch.optim.Adam(
            [p for p in self.model.parameters() if p.requires_grad], lr=self.learning_rate
        )

    def vectors(self, rows: Any) -> Tensor:
        return self.model(self.windows.signals[rows])

    def classes(self, rows: Any) -> np.ndarray:
        return self.codes[rows]

    def subject(self, **parts: Any) -> Subject:
        return super().subject(**{"table": self.table, **parts})

"""Three more pipelines in plain PyTorch, as three users would write them: shapes (image folders),
tokens (texts), lab (measurements).

Each is built by its class called with a seed. A keyword replaces a setting or a method, as an edit
of the source would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from second_shapes import (
    PairSupCon,
    Pictures,
    Script,
    ShapeNet,
    Shapes,
    neighbour_accuracy,
    new_folder,
)
from sklearn.datasets import load_breast_cancer, load_wine, make_classification
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from quadlib import StratifiedBatchSampler
from quadlib.diagnosis.subject import Subject
from quadlib.loss import SupConLoss

__all__ = [
    "Lab",
    "LabNet",
    "PairSupCon",
    "Pictures",
    "ShapeNet",
    "Shapes",
    "TokenNet",
    "Tokens",
    "ViewSupCon",
]


class TokenNet(nn.Module):
    """Views (B, V, L) of token numbers to unit vectors (B, V, D)."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(64, 32), nn.Parameter(0.02 * torch.randn(24, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 32)

    def encode(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.words(tokens) + self.places).mean(dim=1))

    def forward(self, views: Tensor) -> Tensor:
        return functional.normalize(
            self.encode(views.flatten(0, 1)).unflatten(0, views.shape[:2]), dim=-1
        )


class ViewSupCon(nn.Module):
    """loss(features, labels) of unit features (B, V, D); without labels the positives are the other
    views.
    """

    def __init__(self, temperature: float = 0.1, base_temperature: float | None = None) -> None:
        super().__init__()
        self.temperature, self.scale = temperature, temperature / (base_temperature or temperature)

    def log_prob(self, rows: Tensor, itself: Tensor) -> Tensor:
        logits = (rows @ rows.T / self.temperature).masked_fill(itself, -torch.inf)
        return (logits - logits.logsumexp(1, keepdim=True)).masked_fill(itself, 0)

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        samples, views = features.shape[:2]
        classes = (torch.arange(samples) if labels is None else labels).repeat(views)
        rows, itself = (
            features.transpose(0, 1).flatten(0, 1),
            torch.eye(samples * views, dtype=torch.bool),
        )
        positive = ((classes[:, None] == classes) & ~itself).float()
        return (
            -self.scale * ((positive * self.log_prob(rows, itself)).sum(1) / positive.sum(1)).mean()
        )


class Tokens(Script):
    """Documents cut into windows, two views by dropped words, Adam with a warm-up from zero,
    gradients of several batches added up.
    """

    name, epochs, dropped, hop, accumulate, warmup, documents = "tokens", 8, 0.15, 24, 1, 20, 240
    net: Any = TokenNet
    criterion: Any = ViewSupCon

    def read(self) -> None:
        """A topic has its own mixture of words and a step by which one word often follows
        another.
        """
        mixtures = 0.25 / 63 + 0.75 * self.rng.dirichlet(np.full(63, 0.3), size=10)
        windows, rows = [], []
        for document in range(self.documents):
            topic = document % 10
            words = self.rng.choice(63, size=96, p=mixtures[topic])
            follows = self.rng.random(95) < 0.3
            words[1:][follows] = (words[:-1][follows] + 3 * topic + 1) % 63
            for start in range(0, 96 - 24 + 1, self.hop):
                windows.append(1 + words[start : start + 24])
                rows.append(
                    (f"d{document:03d}-{start:02d}", f"topic{topic}", document, start, start + 24)
                )
        self.table = pd.DataFrame(rows, columns=["id", "label", "group", "start", "end"])
        self.windows = torch.as_tensor(np.stack(windows))
        self.collect()
        self.codes = self.encode()
        self.table["split"] = np.where(
            np.isin(np.arange(len(self.table)), self.divide()), "train", "val"
        )

    def collect(self) -> None: ...

    def encode(self) -> Tensor:
        return torch.as_tensor(pd.factorize(self.table["label"], sort=True)[0])

    def divide(self) -> np.ndarray:
        return next(
            StratifiedGroupKFold(4, shuffle=True, random_state=self.seed).split(
                self.table, self.codes, self.table["group"]
            )
        )[0]

    def two_views(self, items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        tokens, labels = (torch.stack(column) for column in zip(*items, strict=True))
        views = [tokens.masked_fill(torch.rand(tokens.shape) < self.dropped, 0) for _ in range(2)]
        return torch.stack(views, dim=1), labels

    def make_loader(self) -> None:
        self.corpus = TensorDataset(self.windows, self.codes)
        self.loader = DataLoader(
            Subset(self.corpus, self.rows("train").tolist()),
            self.batch_size,
            shuffle=True,
            drop_last=True,
            collate_fn=self.two_views,
        )

    def make_model(self) -> None:
        self.model = self.net()

    def make_loss(self) -> None:
        self.loss = self.criterion(self.temperature)

    def make_optimizer(self) -> None:
        self.calls = 0
        self.optimizer = torch.optim.Adam(self.trained(), lr=self.learning_rate)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.warm)

    def warm(self, step: int) -> float:
        return min(1.0, step / self.warmup)

    def compute(self, batch: Any) -> Tensor:
        return self.loss(self.model(batch[0]), batch[1])

    def train_step(self, batch: Any) -> Tensor:
        self.model.train()
        loss = self.compute(batch)
        (loss / self.accumulate).backward()
        self.calls += 1
        if self.calls % self.accumulate == 0:
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()
        return loss.detach()

    def fit(self) -> Any:
        for _ in range(self.epochs):
            for batch in self.loader:
                rate = self.optimizer.param_groups[0]["lr"]
                self.history.append(
                    {
                        "step": len(self.history),
                        "epoch": self.epoch,
                        "loss": float(self.train_step(batch)),
                        "lr": rate,
                    }
                )
            self.epoch += 1
        return self

    @torch.no_grad()
    def score(self) -> dict[str, float]:
        vectors = self.model(self.windows[:, None]).squeeze(1)
        train, val = self.rows("train"), self.rows("val")
        return {
            "knn_accuracy": neighbour_accuracy(
                vectors[val], self.codes[val], vectors[train], self.codes[train]
            )
        }

    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        return self.score()

    def subject(self, **parts: Any) -> Subject:
        usual = {
            "table": self.table,
            "loader": self.loader,
            "model": self.model,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "settings": self.settings(),
            "history": self.history or None,
            "evaluate": self.evaluate,
            "train_step": self.train_step,
            "name": self.name,
        }
        return Subject(**{**usual, **parts})


class LabSet(Dataset):
    """((x1, x2, x3), label); with absences a dict of the parts, which of them are there, and the
    label.
    """

    def __init__(self, parts: list[Tensor], codes: Tensor, present: Tensor | None = None) -> None:
        self.parts, self.codes, self.present = parts, codes, present

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> Any:
        parts = tuple(part[index] for part in self.parts)
        if self.present is None:
            return parts, self.codes[index]
        return {
            "x1": parts[0],
            "x2": parts[1],
            "x3": parts[2],
            "present": self.present[index],
            "label": self.codes[index],
        }


class LabNet(nn.Module):
    """A small encoder a modality, a gate that weighs them, a projection to unit vectors."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 48), nn.ReLU(), nn.Linear(48, 24)) for width in widths
        )
        self.gate = nn.Linear(24, 1)
        self.head = nn.Sequential(nn.Linear(24 * len(widths), 48), nn.ReLU(), nn.Linear(48, 16))

    def encode(self, place: int, part: Tensor) -> Tensor:
        return self.encoders[place](part)

    def forward(self, batch: Any) -> Tensor:
        parts = [batch["x1"], batch["x2"], batch["x3"]] if isinstance(batch, dict) else batch
        features = torch.stack(
            [self.encode(place, part) for place, part in enumerate(parts)], dim=1
        )  # (B, 3, 24)
        scores = self.gate(torch.tanh(features))
        if isinstance(batch, dict):
            scores = scores.masked_fill(~batch["present"].bool()[:, :, None], -1e9)
        return functional.normalize(self.head((scores.softmax(dim=1) * features).flatten(1)), dim=1)


class Lab(Script):
    """Measurements of three kinds in one table, StratifiedBatchSampler, RMSprop or SGD, a record
    and a checkpoint an epoch.
    """

    name, epochs, source, missing, momentum = "lab", 12, "generated", 0.0, 0.9
    net: Any = LabNet

    def read(self) -> None:
        """24 (12) batches of the lab, each measured on some samples of every class."""
        if self.source == "generated":
            values, codes = make_classification(
                720,
                24,
                n_informative=18,
                n_redundant=6,
                n_classes=6,
                n_clusters_per_class=1,
                class_sep=2.5,
                flip_y=0,
                shuffle=True,
                random_state=self.seed,
            )
            values, cuts, batches = values + 8, (8, 16), 24
        else:
            values, codes = (load_wine if self.source == "wine" else load_breast_cancer)(
                return_X_y=True
            )
            cuts, batches = ((4, 8), 12) if self.source == "wine" else ((10, 20), 24)
        self.columns = np.split(
            np.array([f"m{column:02d}" for column in range(values.shape[1])]), cuts
        )
        self.table = pd.DataFrame(values, columns=np.concatenate(self.columns))
        self.table.insert(0, "id", [f"p{row:04d}" for row in range(len(codes))])
        self.table.insert(1, "label", [f"type{code}" for code in codes])
        self.table.insert(2, "group", self.rng.integers(batches, size=len(codes)))
        self.collect()
        self.table.insert(
            3, "split", np.where(np.isin(np.arange(len(self.table)), self.divide()), "train", "val")
        )
        self.codes = self.encode()

    def collect(self) -> None: ...

    def divide(self) -> np.ndarray:
        split = StratifiedGroupKFold(4, shuffle=True, random_state=self.seed).split(
            self.table, self.table["label"], self.table["group"]
        )
        return next(split)[0]

    def encode(self) -> np.ndarray:
        return pd.factorize(self.table["label"], sort=True)[0]

    def scale(self, columns: Any) -> np.ndarray:
        train = self.table.loc[self.rows("train"), columns]
        return ((self.table[columns] - train.mean()) / train.std()).to_numpy()

    def flags(self, absent: Tensor) -> Tensor:
        return ~absent

    def set_of(self, split: str) -> Any:
        rows = self.rows(split)
        parts = [
            torch.as_tensor(self.scale(list(columns))[rows], dtype=torch.float32)
            for columns in self.columns
        ]
        if not self.missing:
            return LabSet(parts, torch.as_tensor(self.codes[rows]))
        absent = (
            torch.rand(len(rows), 3, generator=torch.Generator().manual_seed(len(rows)))
            < self.missing
        )
        absent[absent.all(dim=1)] = False
        parts = [
            part.masked_fill(gone[:, None], 0) for part, gone in zip(parts, absent.T, strict=True)
        ]
        return LabSet(parts, torch.as_tensor(self.codes[rows]), self.flags(absent))

    def make_loader(self) -> None:
        self.train_set, self.val_set = self.set_of("train"), self.set_of("val")
        self.sampler = StratifiedBatchSampler(self.train_set.codes, self.batch_size, seed=self.seed)
        self.loader = DataLoader(self.train_set, batch_sampler=self.sampler)

    def make_model(self) -> None:
        self.model, self.folder = self.net([len(columns) for columns in self.columns]), new_folder()

    def make_loss(self) -> None:
        self.loss = SupConLoss(self.temperature)

    def make_optimizer(self) -> None:
        self.optimizer = torch.optim.RMSprop(self.trained(), lr=self.learning_rate)

    def after_epoch(self) -> None:
        torch.save(
            {"model": self.model.state_dict(), "epoch": self.epoch, **self.rest()},
            self.folder / "last.pt",
        )
        if self.scheduler is not None:
            self.scheduler.step()

    def rest(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "sampler": self.sampler.state_dict(),
            "rng": torch.get_rng_state(),
        }

    def inputs(self, batch: Any) -> Any:
        return batch if isinstance(batch, dict) else batch[0]

    def train_step(self, batch: Any) -> Tensor:
        self.model.train()
        loss = self.loss(
            self.model(self.inputs(batch)), batch["label"] if isinstance(batch, dict) else batch[1]
        )
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def fit(self) -> Any:
        for _ in range(self.epochs):
            self.sampler.set_epoch(self.epoch)
            losses, rate = [], self.optimizer.param_groups[0]["lr"]
            for batch in self.loader:
                losses.append(float(self.train_step(batch)))
            self.history.append(
                {"epoch": self.epoch, "loss": float(np.mean(losses)), "lr": rate, **self.evaluate()}
            )
            self.after_epoch()
            self.epoch += 1
        return self

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        vectors = [
            self.model(self.inputs(torch.utils.data.default_collate(list(split))))
            for split in (self.val_set, self.train_set)
        ]
        return {
            "knn_accuracy": neighbour_accuracy(
                vectors[0], self.val_set.codes, vectors[1], self.train_set.codes
            )
        }

    def subject(self, **parts: Any) -> Subject:
        usual = {
            "table": self.table,
            "batch_sampler": self.sampler,
            "loader": self.loader,
            "model": self.model,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "settings": self.settings(),
            "history": self.history or None,
            "evaluate": self.evaluate,
            "train_step": self.train_step,
            "name": self.name,
        }
        return Subject(**{**usual, **parts})

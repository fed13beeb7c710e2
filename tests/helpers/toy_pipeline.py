"""A small healthy pipeline in plain PyTorch, to be spoiled one part at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quadlib import StratifiedBatchSampler, SupConLoss
from quadlib.diagnosis import Diagnosis, Subject, diagnose

CLASSES, FEATURES, DIMENSIONS = 4, 12, 16


class Encoder(nn.Module):
    """A perceptron with batch norm and dropout; rows of unit norm unless `unit` is False."""

    def __init__(self, unit: bool = True, dropout: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(FEATURES, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(32, DIMENSIONS),
        )
        self.unit = unit

    def forward(self, inputs: Tensor) -> Tensor:
        rows = self.body(inputs)
        return nn.functional.normalize(rows, dim=1) if self.unit else rows


class Toy:
    """Data, model, loss, optimiser and evaluation; `subject(**parts)` hands them to the doctor."""

    def __init__(
        self, *, model: nn.Module | None = None, rate: float = 1e-3, seed: int = 0
    ) -> None:
        random = np.random.default_rng(seed)
        self.labels = np.arange(160) % CLASSES
        means = random.normal(size=(CLASSES, FEATURES)) * 1.5
        self.inputs = torch.tensor(
            means[self.labels] + random.normal(size=(160, FEATURES)), dtype=torch.float32
        )
        self.splits = {"train": np.arange(112), "val": np.arange(112, 160)}
        torch.manual_seed(seed)
        self.model = model if model is not None else Encoder()
        self.loss: Any = SupConLoss(0.1)
        self.optimiser: Any = torch.optim.AdamW(self.model.parameters(), lr=rate)
        train = self.labels[self.splits["train"]]
        self.sampler = StratifiedBatchSampler(train, 16, seed=seed)
        data = TensorDataset(self.inputs[self.splits["train"]], torch.as_tensor(train))
        self.loader = DataLoader(data, batch_sampler=self.sampler)
        self.settings: dict[str, Any] = {"batch_size": 16, "temperature": 0.1, "epochs": 10}

    def train_step(self, batch: Any) -> Tensor:
        self.model.train()
        self.optimiser.zero_grad()
        value = self.loss(self.model(batch[0]), batch[1])
        value.backward()
        self.optimiser.step()
        return value.detach()

    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        with torch.no_grad():
            gallery, queries = (
                self.model(self.inputs[self.splits[name]]) for name in ("train", "val")
            )
        self.model.train()
        nearest = (queries @ gallery.T).argmax(dim=1).numpy()
        hits = self.labels[self.splits["train"]][nearest] == self.labels[self.splits["val"]]
        return {"val_accuracy": float(hits.mean())}

    def subject(self, **parts: Any) -> Subject:
        given = {
            "labels": self.labels,
            "splits": self.splits,
            "batch_sampler": self.sampler,
            "loader": self.loader,
            "model": self.model,
            "loss": self.loss,
            "optimizer": self.optimiser,
            "settings": self.settings,
            "train_step": self.train_step,
            "evaluate": self.evaluate,
        }
        return Subject(**{**given, **parts})

    def diagnose(self, **parts: Any) -> Diagnosis:
        return diagnose(self.subject(**parts))


def alarms(diagnosis: Diagnosis) -> list[str]:
    """Codes of the roots that are errors or warnings."""
    return [root.code for root in diagnosis.roots if root.severity != "note"]


def codes(diagnosis: Diagnosis) -> list[str]:
    return [item.code for item in diagnosis.findings]


def severity(diagnosis: Diagnosis, code: str) -> str:
    return next(item.severity for item in diagnosis.findings if item.code == code)

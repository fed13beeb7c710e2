"""What the pipelines share (a loss after SupContrast, the order of building, the loop, the score),
and the plainest of them: digits.
"""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from quadlib.diagnosis.subject import Subject


class SupCon(nn.Module):
    """Supervised contrastive loss in the form of github.com/HobbitLong/SupContrast: unit (B, D) or
    (B, V, D), mean of all anchors.
    """

    def __init__(self, temperature: float = 0.1, base_temperature: float | None = None) -> None:
        super().__init__()
        self.temperature, self.base_temperature = temperature, base_temperature or temperature

    def similarity(self, anchors: Tensor) -> Tensor:
        logits = anchors @ anchors.T / self.temperature
        return logits - logits.detach().max(dim=1, keepdim=True).values

    def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
        features = features.unsqueeze(1) if features.ndim == 2 else features
        n, n_views = features.shape[:2]
        logits = self.similarity(torch.cat(features.unbind(1)))
        same = torch.eye(n) if labels is None else (labels[:, None] == labels[None, :]).float()
        others = 1 - torch.eye(n * n_views)
        positives = same.repeat(n_views, n_views) * others
        log_prob = logits - (logits.exp() * others).sum(1, keepdim=True).log()
        per_anchor = (positives * log_prob).sum(1) / positives.sum(1).clamp(min=1)
        return -(self.temperature / self.base_temperature) * per_anchor.mean()


class Pipeline:
    """The order of building, the loop and the score that the three share."""

    name = ""
    batch_size = 32
    epochs = 10
    learning_rate = 1e-3
    temperature = 0.1
    scheduler: Any = None
    table: Any
    loader: Any
    model: Any
    loss: Any
    optimizer: Any
    train_rows: Any
    val_rows: Any

    def __init__(self, seed: int = 0, **edits: Any) -> None:
        for key, value in edits.items():
            if not hasattr(type(self), key):
                raise AttributeError(f"{type(self).__name__} has no {key!r} to replace")
            setattr(
                self, key, MethodType(value, self) if isinstance(value, FunctionType) else value
            )
        torch.manual_seed(seed)
        self.seed, self.rng, self.history = (
            seed,
            np.random.default_rng(seed),
            list[dict[str, Any]](),
        )
        for part in (
            self.read,
            self.divide,
            self.make_loader,
            self.make_model,
            self.make_loss,
            self.make_optimizer,
        ):
            part()

    def read(self) -> None: ...
    def divide(self) -> None: ...
    def make_loader(self) -> None: ...
    def make_model(self) -> None: ...
    def make_optimizer(self) -> None: ...
    def after_epoch(self) -> None: ...

    def make_loss(self) -> None:
        self.loss = SupCon(self.temperature)

    def embed(self, model: Any, batch: Any) -> Tensor:
        return model(batch[0])

    def labels_in(self, batch: Any) -> Tensor:
        return batch[1]

    def train_step(self, batch: Any) -> Tensor:
        self.model.train()
        loss = self.loss(self.embed(self.model, batch), self.labels_in(batch))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def fit(self, epochs: int | None = None) -> Any:
        for epoch in range(epochs or self.epochs):
            for batch in self.loader:
                rate = self.optimizer.param_groups[0]["lr"]
                loss = float(self.train_step(batch))
                self.history.append(
                    {"step": len(self.history), "epoch": epoch, "loss": loss, "learning_rate": rate}
                )
            self.after_epoch()
        return self

    def vectors(self, rows: Any) -> Tensor: ...  # type: ignore[empty-body]
    def classes(self, rows: Any) -> np.ndarray: ...  # type: ignore[empty-body]

    @torch.no_grad()
    def accuracy(self) -> float:
        """Accuracy of the five nearest train neighbours on the validation rows; the caller chooses
        the model's mode.
        """
        nearest = (
            (self.vectors(self.val_rows) @ self.vectors(self.train_rows).T)
            .topk(5, dim=1)
            .indices.numpy()
        )
        votes = self.classes(self.train_rows)[nearest]
        voted = np.array([np.bincount(row).argmax() for row in votes])
        return float((voted == self.classes(self.val_rows)).mean())

    def evaluate(self) -> dict[str, Any]:
        self.model.eval()
        return {"knn_accuracy": self.accuracy()}

    def settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "temperature": self.temperature,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
        }

    def subject(self, **parts: Any) -> Subject:
        """What this pipeline's user has at hand for the doctor; parts replace or take away."""
        usual: dict[str, Any] = {
            "loader": self.loader,
            "model": self.model,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "settings": self.settings(),
            "history": self.history or None,
            "train_step": self.train_step,
            "evaluate": self.evaluate,
            "name": self.name,
        }
        return Subject(**{**usual, **parts})


class TwoViews(Dataset):
    """Two augmented views of an image, (2, 1, 8, 8), and its label."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def augment(self, image: Tensor) -> Tensor:
        shift = torch.randint(-1, 2, (2,)).tolist()
        return torch.roll(image, shift, dims=(1, 2)) + 0.05 * torch.randn(image.shape)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        return torch.stack([self.augment(image), self.augment(image)]), self.labels[index]


class DigitNet(nn.Module):
    unit = True

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(512, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32)
        )

    def forward(self, images: Tensor) -> Tensor:
        projected = self.head(self.encoder(images))
        return functional.normalize(projected, dim=1) if self.unit else projected


class Digits(Pipeline):
    """Arrays, a shuffled DataLoader of two views, a CNN, SGD with momentum and a cosine over
    epochs.
    """

    name, batch_size, epochs, learning_rate, weight_decay, workers = "digits", 64, 8, 0.03, 5e-4, 0
    net: Any = DigitNet
    dataset: Any = TwoViews
    class_names: Any = None

    def read(self) -> None:
        images, labels = load_digits(return_X_y=True)
        self.images = torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
        self.labels = torch.tensor(labels, dtype=torch.int64)

    def divide(self) -> None:
        rows = np.arange(len(self.labels))
        self.train_rows, self.val_rows = train_test_split(
            rows, test_size=0.3, stratify=self.labels, random_state=self.seed
        )

    def make_loader(self) -> None:
        dataset = self.dataset(self.images[self.train_rows], self.labels[self.train_rows])
        self.loader = DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.workers,
        )

    def make_model(self) -> None:
        self.model = self.net()

    def make_optimizer(self) -> None:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            trained, lr=self.learning_rate, momentum=0.9, weight_decay=self.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, T_max=self.epochs
        )

    def after_epoch(self) -> None:
        self.scheduler.step()

    def embed(self, model: Any, batch: Any) -> Tensor:
        views = batch[0]
        first, second = model(torch.cat([views[:, 0], views[:, 1]])).chunk(2)
        return torch.stack([first, second], dim=1)

    def vectors(self, rows: Any) -> Tensor:
        return functional.normalize(self.model(self.images[rows]), dim=1)

    def classes(self, rows: Any) -> np.ndarray:
        return self.labels[rows].numpy()

    def subject(self, **parts: Any) -> Subject:
        return super().subject(
            **{
                "labels": self.labels.numpy(),
                "splits": {"train": self.train_rows, "val": self.val_rows},
                **parts,
            }
        )

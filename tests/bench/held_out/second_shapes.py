"""What the pipelines share (the order of building, the score), and the one on image folders:
shapes.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from quadlib.diagnosis.subject import Subject


def new_folder() -> Path:
    """A folder that lasts as long as the process: a loader reads from it after the pipeline object
    is gone.
    """
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def neighbour_accuracy(queries: Tensor, wanted: Any, gallery: Tensor, known: Any) -> float:
    near = (
        (functional.normalize(queries, dim=1) @ functional.normalize(gallery, dim=1).T)
        .topk(5, dim=1)
        .indices
    )
    return float(
        (torch.as_tensor(known)[near].mode(dim=1).values == torch.as_tensor(wanted)).float().mean()
    )


class Script:
    """Builds the parts in their order; an edit takes the place of the attribute or method of its
    name.
    """

    name, epochs, learning_rate, temperature, batch_size = "", 6, 3e-3, 0.1, 32
    parts: tuple[str, ...] = ("read", "make_loader", "make_model", "make_loss", "make_optimizer")
    loader: Any
    model: Any
    loss: Any
    optimizer: Any
    scheduler: Any = None
    table: Any
    declared: Any = {}

    def __init__(self, seed: int = 0, **edits: Any) -> None:
        for key, value in edits.items():
            if not hasattr(self, key):
                raise AttributeError(f"{type(self).__name__} has no {key!r} to edit")
            setattr(
                self, key, MethodType(value, self) if isinstance(value, FunctionType) else value
            )
        torch.manual_seed(seed)
        self.seed, self.rng, self.epoch = seed, np.random.default_rng(1000 + seed), 0
        self.history: list[dict[str, Any]] = []
        for part in self.parts:
            getattr(self, part)()

    def trained(self) -> list[Any]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def rows(self, split: str) -> np.ndarray:
        return np.flatnonzero(self.table["split"] == split)

    def settings(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "lr": self.learning_rate,
            "temperature": self.temperature,
            "epochs": self.epochs,
            **self.declared,
        }


KINDS = ("bar", "box", "cross", "disc", "dots", "pole", "ring", "saltire")


def draw(kind: str, rng: np.random.Generator, noise: float) -> np.ndarray:
    y, x = np.mgrid[:16, :16] - 7.5 + rng.uniform(-2, 2, size=(2, 1, 1))
    radius, box = np.hypot(x, y), np.maximum(abs(x), abs(y))
    bar, pole = (abs(y) < 1.6) & (abs(x) < 6), (abs(x) < 1.6) & (abs(y) < 6)
    ink = {
        "bar": bar,
        "pole": pole,
        "cross": bar | pole,
        "disc": radius < 4.5,
        "ring": (radius > 3.2) & (radius < 5.4),
        "box": (box > 3.5) & (box < 5.5),
        "saltire": ((abs(x - y) < 2) | (abs(x + y) < 2)) & (box < 5),
        "dots": (np.floor(x / 2.5) + np.floor(y / 2.5)) % 2 * (box < 5.5),
    }[kind]
    return (rng.uniform(0.7, 1.3) * ink + noise * rng.normal(size=ink.shape)).astype(np.float32)


class Pictures(Dataset):
    """A folder a class, as torchvision's ImageFolder: classes, samples, targets."""

    def __init__(self, root: Path, augment: bool) -> None:
        self.root, self.augment, self.classes = root, augment, self.find_classes(root)
        self.samples = [
            (file, code)
            for code, name in enumerate(self.classes)
            for file in sorted((root / name).glob("*.npy"))
        ]
        self.targets = [code for _, code in self.samples]

    def find_classes(self, root: Path) -> list[str]:
        return sorted(folder.name for folder in root.iterdir() if not folder.name.startswith("."))

    def load(self, file: Path) -> np.ndarray:
        return np.load(file)

    def change(self, image: Tensor) -> Tensor:
        return torch.roll(image, torch.randint(-1, 2, (2,)).tolist(), dims=(1, 2)) * (
            0.8 + 0.4 * torch.rand(1)
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        file, target = self.samples[index]
        image = torch.from_numpy(self.load(file))[None]
        return self.change(image) if self.augment else image, target


class Block(nn.Module):
    """A residual block; the gain of its last norm starts at zero, as in Goyal et al. 2017."""

    def __init__(self, wide: int, out: int, stride: int, norm: Any) -> None:
        super().__init__()
        last = norm(out)
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(
            nn.Conv2d(wide, out, 3, stride, 1, bias=False),
            norm(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            last,
        )
        self.skip = nn.Identity() if wide == out else nn.Conv2d(wide, out, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.body(maps) + self.skip(maps))


def group_norm(width: int) -> Any:
    return nn.GroupNorm(4, width)


class ShapeNet(nn.Module):
    def __init__(self, norm: Any = group_norm) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), norm(16), nn.ReLU())
        self.stages = nn.Sequential(
            Block(16, 16, 1, norm), Block(16, 32, 2, norm), Block(32, 48, 2, norm)
        )
        self.projector = nn.Sequential(nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.stages(self.stem(images)).mean(dim=(2, 3)))


class PairSupCon(nn.Module):
    """loss(embeddings, labels) as in pytorch-metric-learning: cosines of unscaled embeddings; 0
    where no anchor has a positive.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def similarity(self, embeddings: Tensor) -> Tensor:
        unit = functional.normalize(embeddings, dim=1)
        return unit @ unit.T

    def reduce(self, log_prob: Tensor) -> Tensor:
        return -log_prob.mean()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        itself = torch.eye(len(labels), dtype=torch.bool)
        logits = self.similarity(embeddings) / self.temperature
        same = (labels[:, None] == labels[None, :]) & ~itself
        if not same.any():
            return embeddings.sum() * 0
        log_prob = logits - logits.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        anchors = same.any(dim=1)
        return self.reduce(
            (log_prob.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1))[anchors]
        )


class Shapes(Script):
    """Image folders, AdamW with OneCycleLR stepped per batch, a record a step."""

    name, epochs, weight_decay, noise, counts, workers, drop_last = (
        "shapes",
        7,
        1e-2,
        0.2,
        (80,) * 8,
        0,
        True,
    )
    net: Any = ShapeNet
    pictures: Any = Pictures
    criterion: Any = PairSupCon

    def read(self) -> None:
        self.root = new_folder()
        for split, counts in (("train", self.counts), ("val", (25,) * 8)):
            for kind, count in zip(KINDS, counts, strict=True):
                (self.root / split / kind).mkdir(parents=True)
                for number in range(count):
                    np.save(
                        self.root / split / kind / f"{number:03d}.npy",
                        draw(kind, self.rng, self.noise),
                    )
        self.damage()
        self.train_set, self.val_set = (
            self.pictures(self.root / "train", True),
            self.pictures(self.root / "val", False),
        )

    def damage(self) -> None: ...

    def make_loader(self) -> None:
        self.loader = DataLoader(
            self.train_set,
            self.batch_size,
            shuffle=True,
            drop_last=self.drop_last,
            num_workers=self.workers,
        )

    def make_model(self) -> None:
        self.model = self.net()

    def make_loss(self) -> None:
        self.loss = self.criterion(self.temperature)

    def make_optimizer(self) -> None:
        self.optimizer = torch.optim.AdamW(
            self.trained(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        steps = self.epochs * len(self.loader)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=self.learning_rate, total_steps=steps
        )

    def train_step(self, batch: Any) -> Tensor:
        images, labels = batch
        self.optimizer.zero_grad()
        loss = self.loss(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def fit(self) -> Any:
        self.model.train()
        for _ in range(self.epochs):
            for batch in self.loader:
                rate = self.scheduler.get_last_lr()[0]
                self.history.append(
                    {"step": len(self.history), "loss": float(self.train_step(batch)), "lr": rate}
                )
                self.scheduler.step()
            self.history[-1].update(self.evaluate())
        return self

    def vectors(self, dataset: Any) -> tuple[Tensor, list[int]]:
        images = torch.stack(
            [torch.from_numpy(dataset.load(file))[None] for file, _ in dataset.samples]
        )
        return self.model(images), dataset.targets

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self.model.eval()
        accuracy = neighbour_accuracy(*self.vectors(self.val_set), *self.vectors(self.train_set))
        self.model.train()
        return {"knn_accuracy": accuracy}

    def subject(self, **parts: Any) -> Subject:
        usual = {
            "labels": np.array(self.train_set.targets),
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

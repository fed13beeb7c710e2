"""The edits that put a fault into shapes, tokens or lab: each a part of the source as a programmer
could have written it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from second_pipelines import (
    Lab,
    LabNet,
    PairSupCon,
    Pictures,
    ShapeNet,
    Shapes,
    TokenNet,
    ViewSupCon,
)
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, SubsetRandomSampler


class ForgivingPictures(Pictures):
    def load(self, file: Path) -> np.ndarray:
        try:
            return np.load(file)
        except (ValueError, EOFError):
            return np.zeros((16, 16), dtype=np.float32)


def cut_files(self: Any) -> None:
    """An interrupted copy left one file in ten with its first 200 bytes."""
    files = sorted((self.root / "train").glob("*/*.npy"))
    for place in self.rng.choice(len(files), len(files) // 10, replace=False):
        files[place].write_bytes(files[place].read_bytes()[:200])


class ListedPictures(Pictures):
    def find_classes(self, root: Path) -> list[str]:
        return sorted(os.listdir(root))


class WeaklyLabelled(Pictures):
    def __init__(self, root: Path, augment: bool) -> None:
        super().__init__(root, augment)
        rng = np.random.default_rng(len(self.samples))
        if augment:  # only the training labels came from the crowd
            self.targets = [
                int(rng.integers(8)) if rng.random() < 0.35 else code for code in self.targets
            ]
            self.samples = [
                (file, code) for (file, _), code in zip(self.samples, self.targets, strict=True)
            ]


class NumberedPictures(Pictures):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, _ = super().__getitem__(index)
        return image, index


class OneRngPictures(Pictures):
    """Draws from a generator of its own, which every worker copies as it starts."""

    def __init__(self, root: Path, augment: bool) -> None:
        super().__init__(root, augment)
        self.rng = np.random.default_rng(0)

    def change(self, image: Tensor) -> Tensor:
        return torch.roll(image, self.rng.integers(-1, 2, size=2).tolist(), dims=(1, 2)) * float(
            self.rng.uniform(0.8, 1.2)
        )


class ClassRuns:
    """Batches cut from each class in turn, then put in random order."""

    def __init__(self, targets: list[int], batch_size: int) -> None:
        self.targets, self.batch_size, self.rng = (
            np.array(targets),
            batch_size,
            np.random.default_rng(len(targets)),
        )

    def __iter__(self) -> Any:
        runs = [
            self.rng.permutation(np.flatnonzero(self.targets == code))
            for code in np.unique(self.targets)
        ]
        batches = [
            run[first : first + self.batch_size].tolist()
            for run in runs
            for first in range(0, len(run), self.batch_size)
        ]
        return iter([batches[place] for place in torch.randperm(len(batches))])

    def __len__(self) -> int:
        return sum(-(-count // self.batch_size) for count in np.bincount(self.targets))


def half_loader(self: Any) -> None:
    half = torch.randperm(len(self.train_set))[: len(self.train_set) // 2]
    self.loader = DataLoader(
        self.train_set, self.batch_size, sampler=SubsetRandomSampler(half.tolist()), drop_last=True
    )


def unshuffled(self: Any) -> None:
    self.loader = DataLoader(self.train_set, self.batch_size, drop_last=self.drop_last)


def runs_loader(self: Any) -> None:
    self.loader = DataLoader(self.train_set, batch_sampler=ClassRuns(self.train_set.targets, 16))  # type: ignore[arg-type]


def zero_last(self: Any) -> nn.Module:
    net = ShapeNet()
    nn.init.zeros_(net.projector[2].weight)  # type: ignore[arg-type]
    return net


def constant_linear(self: Any) -> nn.Module:
    net = ShapeNet()
    for layer in net.projector:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, 0.05)
    return net


class StillNormNet(ShapeNet):
    """Batch norm that never trains, a habit from fine-tuned detectors; here nothing was trained
    before.
    """

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d)

    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
        return self


class DotSupCon(PairSupCon):
    def similarity(self, embeddings: Tensor) -> Tensor:
        return embeddings @ embeddings.T


class RisingSupCon(PairSupCon):
    def reduce(self, log_prob: Tensor) -> Tensor:
        return log_prob.mean()


def model_cell_again(self: Any) -> None:
    Shapes.make_optimizer(self)
    self.make_model()


@torch.no_grad()
def recall_at_one(self: Any) -> dict[str, float]:
    """Recall among the validation images; a query meets itself there."""
    self.model.eval()
    vectors, targets = self.vectors(self.val_set)
    unit, codes = functional.normalize(vectors, dim=1), torch.tensor(targets)
    self.model.train()
    return {"recall@1": float((codes[(unit @ unit.T).argmax(dim=1)] == codes).float().mean())}


@torch.no_grad()
def stays_in_eval(self: Any) -> dict[str, float]:
    accuracy = Shapes.evaluate(self)
    self.model.eval()
    return accuracy


def last_topic(self: Any) -> np.ndarray:
    for topic in self.table["label"].unique():
        documents = self.table.loc[self.table["label"] == topic, "group"].unique()
        train = documents[len(documents) // 4 :]  # was to be added to the other topics' documents
    return np.flatnonzero(self.table["group"].isin(train))


def mirrored(self: Any) -> None:
    """The crawl met sixty documents a second time, under another address."""
    again = self.table[self.table["group"] < 60]
    copies = again.assign(group=again["group"] + 500, id="m" + again["id"].str[1:])
    self.windows = torch.cat([self.windows, self.windows[again.index.tolist()]])
    self.table = pd.concat([self.table, copies], ignore_index=True)


class ViewedNet(TokenNet):
    """The two views one after the other through the encoder, then viewed as (B, V, D)."""

    def forward(self, views: Tensor) -> Tensor:
        vectors = self.encode(torch.cat(views.unbind(dim=1)))
        return functional.normalize(vectors.view(*views.shape[:2], -1), dim=-1)


class AxisNet(TokenNet):
    def forward(self, views: Tensor) -> Tensor:
        return functional.normalize(
            self.encode(views.flatten(0, 1)).unflatten(0, views.shape[:2]), dim=1
        )


def norms_only(self: Any) -> nn.Module:
    net = TokenNet()
    for name, parameter in net.named_parameters():
        parameter.requires_grad = "norm" in name
    return net


class HalfSupCon(ViewSupCon):
    """The matrix in half precision to save memory, the softmax as it is written in the paper."""

    def log_prob(self, rows: Tensor, itself: Tensor) -> Tensor:
        logits = rows.half() @ rows.half().T / self.temperature
        return (
            (logits - logits.exp().masked_fill(itself, 0).sum(1, keepdim=True).log())
            .float()
            .masked_fill(itself, 0)
        )


@torch.no_grad()
def score_as_it_is(self: Any) -> dict[str, float]:
    vectors = self.model(self.windows[:200, None]).squeeze(1)
    return {**self.score(), "mean_cosine": float((vectors @ vectors.T).mean())}


def exported_twice(self: Any) -> None:
    again = self.table.sample(frac=0.3, random_state=self.seed)
    self.table = pd.concat(
        [self.table, again.assign(id="q" + again["id"].str[1:])], ignore_index=True
    )


def milligrams(self: Any) -> None:
    """Half the lab batches wrote the second group of columns in thousandths."""
    self.table.loc[self.table["group"] % 2 == 0, self.columns[1]] *= 1000


def failed_sensor(self: Any) -> None:
    self.table.loc[self.rng.choice(len(self.table), 8, replace=False), self.columns[1][2]] = np.nan


def labels_before_sorting(self: Any) -> None:
    """The labels were kept aside, then the table was shuffled, then they were put back."""
    labels = self.table["label"].to_numpy()
    self.table = (
        self.table.sample(frac=1, random_state=self.seed)
        .reset_index(drop=True)
        .assign(label=labels)
    )


def codes_by_split(self: Any) -> np.ndarray:
    for _, rows in self.table.groupby("split"):
        self.table.loc[rows.index, "target"] = pd.factorize(rows["label"])[0]
    return self.table["target"].astype(int).to_numpy()


def late_campaign(self: Any) -> None:
    late = self.table["label"] == "type5"
    self.table["group"] = np.where(late, 20 + self.table["group"] % 4, self.table["group"] % 20)


def by_row(self: Any) -> np.ndarray:
    return train_test_split(
        np.arange(len(self.table)),
        test_size=0.25,
        stratify=self.table["label"],
        random_state=self.seed,
    )[0]


def name_order(self: Any, columns: Any) -> np.ndarray:
    """The second group comes from files read in the order of their names: 0, 1, 10, 100, ..."""
    values = Lab.scale(self, columns)
    return (
        values[np.argsort([str(row) for row in range(len(values))])]
        if columns == list(self.columns[1])
        else values
    )


def whole_numbers(self: Any, columns: Any) -> np.ndarray:
    if columns != list(self.columns[1]):
        return Lab.scale(self, columns)
    return (self.table[columns] / (self.table[columns].max() + 1)).to_numpy().astype(np.int16)


class CachedNet(LabNet):
    def encode(self, place: int, part: Tensor) -> Tensor:
        features = super().encode(place, part)
        return features.detach() if place == 1 else features


class LoudNet(LabNet):
    """A logit scale of 100 that was meant for the cosines, on one encoder's features."""

    def encode(self, place: int, part: Tensor) -> Tensor:
        return super().encode(place, part) * (100 if place == 2 else 1)


def two_encoders(self: Any) -> None:
    model = self.model
    parts = [model.encoders[0], model.encoders[1], model.gate, model.head]
    self.optimizer = torch.optim.RMSprop(
        [p for part in parts for p in part.parameters()], lr=self.learning_rate
    )


def step_decay(self: Any) -> None:
    self.optimizer = torch.optim.RMSprop(self.trained(), lr=self.learning_rate)
    self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=4, gamma=0.1)


def step_then_schedule(self: Any, batch: Any) -> Tensor:
    loss = Lab.train_step(self, batch)
    self.scheduler.step()
    return loss


def sgd(momentum: float) -> Any:
    def make_optimizer(self: Any) -> None:
        self.optimizer = torch.optim.SGD(
            self.trained(), lr=0.05, momentum=momentum, weight_decay=1e-4
        )

    return make_optimizer


def by_position(self: Any) -> None:
    """Momentum in the place of the weight decay."""
    self.optimizer = torch.optim.SGD(self.trained(), 0.05, 0, 0, 0.9)

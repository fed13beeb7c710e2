"""Mistakes in modalities, model, loss, optimiser, evaluation and checkpoint, as programmers make
them.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fault_data import fault
from pipelines import Digits, QuadrantFiles, QuadrantNet, Quadrants, SignalNet, Signals, by_number
from plain import DigitNet, SupCon
from torch import Tensor, nn
from torch.nn import functional

from quadlib.diagnosis.subject import Subject


@fault("M1", "quadrants", "one modality's file names are sorted as text: 10.npy comes before 2.npy")
def names_sorted_as_text(seed: int) -> Subject:
    return Quadrants(
        seed,
        sort=lambda self, modality, names: (
            sorted(names) if modality == "br" else by_number(modality, names)
        ),
    ).subject()


@fault(
    "M4",
    "quadrants",
    "one modality is divided by 255 though it reaches 16, and cast back to whole numbers: all "
    "zeros",
)
def cast_to_zeros(seed: int) -> Subject:
    class Cast(QuadrantFiles):
        def read(self, modality: str, name: str) -> Tensor:
            if modality == "tr":
                return torch.as_tensor(
                    (self.archive[modality][name] / 255).astype(np.uint8), dtype=torch.float32
                )
            return super().read(modality, name)

    return Quadrants(seed, files=Cast).fit(3).subject()


def with_gaps(self: Any) -> None:
    """A fifth of the recordings lack each quadrant but the first."""
    Quadrants.make_loader(self)
    self.dataset.present = torch.from_numpy(
        self.rng.random((len(self.table), 4)) > [0.0, 0.2, 0.2, 0.2]
    )


@fault("M5", "quadrants", "masked_fill takes True for 'hide', the mask says True for 'present'")
def hides_the_present(seed: int) -> Subject:
    class Inverted(QuadrantNet):
        def weights(self, present: Tensor) -> Tensor:
            return torch.ones(present.shape).masked_fill(present, 0.0)

    return Quadrants(seed, net=Inverted, make_loader=with_gaps).fit(3).subject()


@fault("M7", "digits", "the views are joined one after the other and read back with view(b, 2, -1)")
def views_read_as_pairs(seed: int) -> Subject:
    def embed(self: Any, model: Any, batch: Any) -> Tensor:
        views = batch[0]
        return model(torch.cat([views[:, 0], views[:, 1]])).view(len(views), 2, -1)

    return Digits(seed, embed=embed).fit(3).subject()


@fault("N1", "digits", "a loop that was to freeze the normalisation layers freezes all others")
def frozen_but_norms(seed: int) -> Subject:
    def make_model(self: Any) -> None:
        self.model = DigitNet()
        for layer in self.model.modules():
            if not isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                for parameter in layer.parameters(recurse=False):
                    parameter.requires_grad = False

    return Digits(seed, make_model=make_model).fit(4).subject()


@fault(
    "N2", "quadrants", "the fourth encoder was added later, below the line that makes the optimiser"
)
def encoder_added_after(seed: int) -> Subject:
    def make_optimizer(self: Any) -> None:
        encoder = self.model.encoders.pop("br")
        Quadrants.make_optimizer(self)
        self.model.encoders["br"] = encoder

    return Quadrants(seed, make_optimizer=make_optimizer).subject()


@fault(
    "N2",
    "signals",
    "parameters are chosen by name, and the GRU that replaced a linear layer is in neither group",
)
def group_without_gru(seed: int) -> Subject:
    def make_optimizer(self: Any) -> None:
        slow, fast = [], []
        for name, parameter in self.model.named_parameters():
            if name.startswith("conv"):
                slow.append(parameter)
            elif name.startswith("head"):
                fast.append(parameter)
        self.optimizer = torch.optim.Adam(
            [{"params": slow, "lr": 1e-3}, {"params": fast, "lr": 3e-3}]
        )

    return Signals(seed, make_optimizer=make_optimizer).fit(3).subject()


@fault("N3", "quadrants", "features of one encoder pass through .data on their way into a cache")
def cached_by_data(seed: int) -> Subject:
    class Caching(QuadrantNet):
        def features(self, modality: str, batch: dict[str, Tensor]) -> Tensor:
            if modality != "bl":
                return super().features(modality, batch)
            self.last_features = super().features(modality, batch).data
            return self.last_features

    return Quadrants(seed, net=Caching).subject()


@fault("N3", "signals", "the convolution's output is smoothed in numpy and brought back")
def smoothed_in_numpy(seed: int) -> Subject:
    class Smoothing(SignalNet):
        def forward(self, windows: Tensor) -> Tensor:
            curves = self.conv(windows).detach().numpy()
            smooth = torch.from_numpy((curves + np.roll(curves, 1, axis=2)) / 2)
            states, _ = self.gru(smooth.transpose(1, 2))
            return functional.normalize(self.head(states.mean(dim=1)), dim=1)

    return Signals(seed, net=Smoothing).subject()


@fault(
    "N4",
    "digits",
    "the head's last layer starts at zero weights, as in a residual branch, but there is no "
    "shortcut",
)
def zero_last_layer(seed: int) -> Subject:
    def make_model(self: Any) -> None:
        self.model = DigitNet()
        nn.init.zeros_(self.model.head[-1].weight)

    return Digits(seed, make_model=make_model).subject()


@fault(
    "N5",
    "digits",
    "train() is overridden to hold every BatchNorm in eval, a rest of fine-tuning; this net "
    "starts from nothing",
)
def norms_held_in_eval(seed: int) -> Subject:
    class Held(DigitNet):
        def train(self, mode: bool = True) -> Held:
            super().train(mode)
            for layer in self.modules():
                if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                    layer.eval()
            return self

    return Digits(seed, net=Held).fit(3).subject()


@fault("N6", "quadrants", "an init function fills every linear layer with one small number")
def constant_init(seed: int) -> Subject:
    def fill(layer: nn.Module) -> None:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, 0.02)
            nn.init.zeros_(layer.bias)

    return Quadrants(seed, net=lambda self: QuadrantNet().apply(fill)).subject()


@fault(
    "N7",
    "quadrants",
    "one encoder lost its closing LayerNorm and gets its input back in grey levels, as its older "
    "version expected",
)
def one_without_norm(seed: int) -> Subject:
    class Unequal(QuadrantNet):
        def features(self, modality: str, batch: dict[str, Tensor]) -> Tensor:
            if modality != "tl":
                return super().features(modality, batch)
            return self.encoders["tl"][:-1](batch["tl"] * 4095)  # type: ignore[index]

    return Quadrants(seed, net=Unequal).fit(4).subject()


@fault("P1", "quadrants", "the line that normalises was lost with a refactoring of forward")
def without_normalising(seed: int) -> Subject:
    class Raw(QuadrantNet):
        unit = False

    return Quadrants(seed, net=Raw).fit(2).subject()


@fault(
    "P2",
    "digits",
    "normalises the stacked (B, V, D) with dim=1, the dimension that was right before stacking",
)
def normalised_over_views(seed: int) -> Subject:
    class Raw(DigitNet):
        unit = False

    def embed(self: Any, model: Any, batch: Any) -> Tensor:
        return functional.normalize(Digits.embed(self, model, batch), dim=1)

    return Digits(seed, net=Raw, embed=embed).subject()


@fault("P3", "quadrants", "multiplies by the temperature in place of dividing")
def times_temperature(seed: int) -> Subject:
    class Times(SupCon):
        def similarity(self, anchors: Tensor) -> Tensor:
            return anchors @ anchors.T * self.temperature

    return (
        Quadrants(seed, make_loss=lambda self: setattr(self, "loss", Times(0.1))).fit(4).subject()
    )


@fault("P6", "digits", "the minus was lost when the return line was rewritten")
def lost_minus(seed: int) -> Subject:
    class Plus(SupCon):
        def forward(self, features: Tensor, labels: Tensor | None = None) -> Tensor:
            return -super().forward(features, labels)

    return Digits(seed, make_loss=lambda self: setattr(self, "loss", Plus(0.1))).fit(2).subject()


@fault(
    "P9",
    "digits",
    "the similarity matrix is made in half precision to save memory, without subtracting the row "
    "maximum",
)
def half_similarity(seed: int) -> Subject:
    class Half(SupCon):
        def similarity(self, anchors: Tensor) -> Tensor:
            anchors = anchors.half()
            return anchors @ anchors.T / self.temperature

    return (
        Digits(seed, temperature=0.05, make_loss=lambda self: setattr(self, "loss", Half(0.05)))
        .fit(1)
        .subject()
    )


@fault(
    "O1",
    "digits",
    "the rate is scaled by the batch size, not by batch size / 256; the head has no normalisation "
    "to survive it",
)
def scaled_rate(seed: int) -> Subject:
    class BareHead(DigitNet):
        def __init__(self) -> None:
            super().__init__()
            del self.head[1]

    return Digits(seed, net=BareHead, learning_rate=0.03 * 64).fit(3).subject()


@fault(
    "O2",
    "digits",
    "the schedule's factor is a whole-number division and is 0 for all but the last epoch",
)
def factor_of_zero(seed: int) -> Subject:
    def make_optimizer(self: Any) -> None:
        Digits.make_optimizer(self)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda epoch: (epoch + 1) // self.epochs
        )

    return Digits(seed, make_optimizer=make_optimizer).fit(3).subject()


@fault(
    "O4",
    "digits",
    "the copy made for a moving average takes the model's name after the optimiser was made",
)
def stale_optimiser(seed: int) -> Subject:
    def make_optimizer(self: Any) -> None:
        Digits.make_optimizer(self)
        self.model = copy.deepcopy(self.model)

    return Digits(seed, make_optimizer=make_optimizer).fit(3).subject()


@fault("O4", "signals", "optimizer.step without its parentheses")
def step_not_called(seed: int) -> Subject:
    def train_step(self: Any, batch: Any) -> Tensor:
        self.model.train()
        loss = self.loss(self.model(batch[0]), batch[1])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step  # noqa: B018 - the mistake itself
        return loss.detach()

    return Signals(seed, train_step=train_step).fit(3).subject()


@fault("O5", "digits", "scheduler.step() sits in the batch loop, T_max counts epochs")
def schedule_by_batch(seed: int) -> Subject:
    def train_step(self: Any, batch: Any) -> Tensor:
        loss = Digits.train_step(self, batch)
        self.scheduler.step()
        return loss

    return Digits(seed, train_step=train_step, after_epoch=lambda self: None).fit(3).subject()


@fault("O6", "digits", "weight_decay=5e-1 for 5e-4")
def heavy_decay(seed: int) -> Subject:
    return Digits(seed, weight_decay=0.5).fit().subject()


@fault(
    "O9",
    "signals",
    "each batch of 32 is trained in 8 chunks with a loss of their own, as one would for "
    "cross-entropy",
)
def loss_by_chunk(seed: int) -> Subject:
    def train_step(self: Any, batch: Any) -> Tensor:
        self.model.train()
        self.optimizer.zero_grad()
        total = torch.zeros(())
        for windows, codes in zip(batch[0].chunk(8), batch[1].chunk(8), strict=True):
            loss = self.loss(self.model(windows), codes) / 8
            loss.backward()
            total += loss.detach()
        self.optimizer.step()
        return total

    return Signals(seed, train_step=train_step).fit(3).subject()


@fault("E1", "digits", "nearest neighbours are searched among the queries themselves")
def query_in_gallery(seed: int) -> Subject:
    def evaluate(self: Any) -> dict[str, Any]:
        self.model.eval()
        with torch.no_grad():
            vectors = self.vectors(self.val_rows)
        nearest = (vectors @ vectors.T).argmax(dim=1).numpy()
        return {
            "top1": float(
                (self.classes(self.val_rows)[nearest] == self.classes(self.val_rows)).mean()
            ),
            "nearest": nearest,
        }

    return Digits(seed, evaluate=evaluate).fit(1).subject()


@fault(
    "E2",
    "digits",
    "evaluate() never calls eval(): dropout draws and BatchNorm learns while scoring",
)
def scored_in_train_mode(seed: int) -> Subject:
    class Dropped(DigitNet):
        def __init__(self) -> None:
            super().__init__()
            self.head.insert(3, nn.Dropout(0.2))

    made = Digits(seed, net=Dropped, evaluate=lambda self: {"knn_accuracy": self.accuracy()}).fit(3)
    return made.subject()


@fault(
    "E3",
    "signals",
    "train() is called once before the loop, evaluate() leaves the model in eval after the first "
    "epoch",
)
def train_mode_lost(seed: int) -> Subject:
    def train_step(self: Any, batch: Any) -> Tensor:
        loss = self.loss(self.model(batch[0]), batch[1])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    return (
        Signals(
            seed,
            train_step=train_step,
            after_epoch=lambda self: self.history[-1].update(self.evaluate()),
        )
        .fit(4)
        .subject()
    )


def saved(content: Any) -> Path:
    path = Path(tempfile.mkdtemp()) / "model.pth"
    torch.save(content, path)
    return path


@fault(
    "C1", "digits", "weights of nn.DataParallel are loaded with strict=False into the bare model"
)
def data_parallel_prefix(seed: int) -> Subject:
    path = saved(nn.DataParallel(Digits(seed).fit(3).model).state_dict())
    made = Digits(seed + 1)
    made.model.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return made.subject(checkpoint=path, optimizer=None, scheduler=None, train_step=None)


@fault(
    "C1",
    "signals",
    "weights saved from a wrapper's .net are looked up under 'state_dict', loaded with "
    "strict=False",
)
def wrapper_prefix(seed: int) -> Subject:
    wrapper = nn.ModuleDict({"net": Signals(seed).fit(3).model})
    path = saved({"epoch": 3, "state_dict": wrapper.state_dict()})
    made = Signals(seed + 1)
    made.model.load_state_dict(torch.load(path, weights_only=True)["state_dict"], strict=False)
    return made.subject(checkpoint=path, optimizer=None, train_step=None)


@fault("C3", "quadrants", "the checkpoint holds epoch and weights; resuming makes a fresh AdamW")
def resumed_without_optimiser(seed: int) -> Subject:
    before = Quadrants(seed).fit(4)
    path = saved({"epoch": 4, "model": before.model.state_dict()})
    made = Quadrants(seed + 1)
    made.model.load_state_dict(torch.load(path, weights_only=True)["model"])
    return made.subject(
        checkpoint=path, history=before.history, settings={**made.settings(), "start_epoch": 4}
    )

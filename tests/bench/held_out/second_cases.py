"""The second held-out set: pipelines with one fault each, written from the zoo alone, and healthy
ones that resemble them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import second_faults as faults
import torch
from case import Case
from second_pipelines import Lab, ShapeNet, Shapes, Tokens, ViewSupCon
from torch import nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from quadlib.diagnosis.subject import Subject


def trained(pipeline: Any, **edits: Any) -> Callable[[int], Subject]:
    return lambda seed: pipeline(seed, **edits).fit().subject()


def stopped(pipeline: Any, **edits: Any) -> Callable[[int], Subject]:
    """One epoch of those planned, as by a user who sees that nothing moves."""

    def build(seed: int) -> Subject:
        run = pipeline(seed, **edits)
        planned, run.epochs = run.epochs, 1
        run.fit().epochs = planned
        return run.subject()

    return build


def untrained(pipeline: Any, **edits: Any) -> Callable[[int], Subject]:
    return lambda seed: pipeline(seed, **edits).subject()


def batch_norm(self: Any) -> nn.Module:
    return ShapeNet(nn.BatchNorm2d)


def resumed(seed: int, **edits: Any) -> Subject:
    """Eight epochs, then four more by a second process, which takes up what the checkpoint
    holds.
    """
    first, second = Lab(seed, epochs=8, **edits).fit(), Lab(seed, epochs=4, **edits)
    state = torch.load(first.folder / "last.pt")
    second.model.load_state_dict(state["model"])
    if "optimizer" in state:
        second.optimizer.load_state_dict(state["optimizer"])
        second.sampler.load_state_dict(state["sampler"])
        torch.set_rng_state(state["rng"])
    second.epoch, second.history = state["epoch"] + 1, list(first.history)
    return second.fit().subject(checkpoint=first.folder / "last.pt")


def loaded(seed: int, wrap: Any) -> Subject:
    """A fresh model that was given another run's weights, and the file they came from."""
    first, second = Lab(seed).fit(), Lab(seed)
    torch.save({"model": wrap(first.model).state_dict(), "epoch": 12}, second.folder / "best.pt")
    second.model.load_state_dict(torch.load(second.folder / "best.pt")["model"], strict=False)
    return second.subject(checkpoint=second.folder / "best.pt", optimizer=None, train_step=None)


FAULTS = [
    Case(
        "cut_files",
        "D1",
        "shapes",
        trained(Shapes, damage=faults.cut_files, pictures=faults.ForgivingPictures),
        "truncated files become zeros in an except branch",
        ("D3",),
    ),
    Case(
        "notebook_folder",
        "D2",
        "shapes",
        trained(
            Shapes,
            damage=lambda self: (self.root / "train/.ipynb_checkpoints").mkdir(),
            pictures=faults.ListedPictures,
        ),
        "os.listdir takes .ipynb_checkpoints for a class of train; val has none",
        ("L6",),
    ),
    Case(
        "crowd_labels",
        "L2",
        "shapes",
        trained(Shapes, net=batch_norm, pictures=faults.WeaklyLabelled),
        "30 % of the labels are random",
    ),
    Case(
        "index_for_label",
        "L4",
        "shapes",
        trained(Shapes, pictures=faults.NumberedPictures),
        "__getitem__ returns the index in the label's place",
        ("B2",),
    ),
    Case(
        "class_runs",
        "B1",
        "shapes",
        trained(Shapes, make_loader=faults.runs_loader),
        "batches are cut from one class each",
    ),
    Case(
        "six_of_eight",
        "B2",
        "shapes",
        trained(Shapes, batch_size=6, epochs=2),
        "six images of eight classes: half lack a positive",
    ),
    Case(
        "half_once",
        "B3",
        "shapes",
        trained(Shapes, make_loader=faults.half_loader),
        "half of the rows, drawn once for all epochs",
    ),
    Case(
        "no_shuffle",
        "B5",
        "shapes",
        trained(Shapes, make_loader=faults.unshuffled),
        "the folder order, class after class",
    ),
    Case(
        "last_of_one",
        "B6",
        "shapes",
        trained(Shapes, counts=(81, *(80,) * 7), drop_last=False),
        "641 images in batches of 32",
    ),
    Case(
        "copied_rng",
        "B7",
        "shapes",
        trained(Shapes, pictures=faults.OneRngPictures, workers=2, epochs=3),
        "each worker starts with a copy of one generator, in every epoch",
    ),
    Case(
        "zero_last",
        "N4",
        "shapes",
        stopped(Shapes, net=faults.zero_last),
        "the last layer starts at zero, so every output is its bias",
    ),
    Case(
        "still_norm",
        "N5",
        "shapes",
        trained(Shapes, net=faults.StillNormNet),
        "train() leaves batch norm in eval; nothing pretrained",
    ),
    Case(
        "constant_linear",
        "N6",
        "shapes",
        stopped(Shapes, net=faults.constant_linear),
        "every weight of the projector is 0.05",
        ("N4",),
    ),
    Case(
        "dot_products",
        "P1",
        "shapes",
        trained(Shapes, criterion=faults.DotSupCon),
        "dot products where cosines were meant",
    ),
    Case(
        "sign",
        "P6",
        "shapes",
        trained(Shapes, criterion=faults.RisingSupCon),
        "the mean log-probability without its minus",
    ),
    Case("rate_of_one", "O1", "tokens", trained(Tokens, learning_rate=1.0), "Adam at 1.0"),
    Case(
        "cell_twice",
        "O4",
        "shapes",
        trained(Shapes, make_optimizer=faults.model_cell_again),
        "the model is new after the optimiser",
    ),
    Case(
        "meets_itself",
        "E1",
        "shapes",
        trained(Shapes, evaluate=faults.recall_at_one),
        "the query is in the gallery: recall 1.0 always",
    ),
    Case(
        "stays_in_eval",
        "E3",
        "shapes",
        trained(Shapes, net=batch_norm, evaluate=faults.stays_in_eval),
        "evaluation leaves eval mode; train() is called once, before the epochs",
        ("N5",),
    ),
    Case(
        "last_topic",
        "S1",
        "tokens",
        trained(Tokens, divide=faults.last_topic),
        "the loop over topics overwrites train",
        ("S2",),
    ),
    Case(
        "mirror_site",
        "S3",
        "tokens",
        trained(Tokens, collect=faults.mirrored),
        "documents twice, on both sides",
        ("D3",),
    ),
    Case(
        "half_hops",
        "S5",
        "tokens",
        trained(
            Tokens, hop=12, epochs=5, divide=lambda self: np.flatnonzero(self.table["start"] < 60)
        ),
        "windows overlap by half, and the cut in time goes between their starts",
        ("S4",),
    ),
    Case(
        "view_of_views",
        "M7",
        "tokens",
        trained(Tokens, net=faults.ViewedNet),
        "cat of views, then view(B, V, D)",
    ),
    Case(
        "norms_only",
        "N1",
        "tokens",
        trained(Tokens, net=faults.norms_only),
        "only parameters with norm in their name train",
    ),
    Case(
        "over_views",
        "P2",
        "tokens",
        trained(Tokens, net=faults.AxisNet),
        "normalize(dim=1) on (B, V, D)",
    ),
    Case(
        "scale_ten",
        "P3",
        "tokens",
        trained(Tokens, temperature=10.0),
        "a scale of ten, passed as the temperature",
    ),
    Case(
        "half_exp",
        "P9",
        "tokens",
        trained(Tokens, criterion=faults.HalfSupCon, temperature=0.05),
        "exp of half-precision logits",
    ),
    Case(
        "integer_warm_up",
        "O2",
        "tokens",
        trained(Tokens, warm=lambda self, step: min(1.0, step // len(self.loader.dataset))),
        "the warm-up divides steps by samples, in integers: the rate is 0 in all steps",
    ),
    Case(
        "micro_batches",
        "O9",
        "tokens",
        trained(Tokens, batch_size=4, accumulate=8, epochs=3, declared={"batch_size": 32}),
        "the batch of 32 is eight of 4 whose gradients are added; not declared",
    ),
    Case(
        "dropout_in_test",
        "E2",
        "tokens",
        trained(Tokens, evaluate=faults.score_as_it_is),
        "scores with dropout on",
    ),
    Case(
        "exported_twice",
        "D3",
        "lab",
        trained(Lab, collect=faults.exported_twice),
        "30 % of the rows twice, under other ids",
    ),
    Case(
        "milligrams",
        "D4",
        "lab",
        trained(Lab, source="wine", collect=faults.milligrams),
        "half the groups give a block in mg",
    ),
    Case(
        "failed_sensor",
        "D6",
        "lab",
        trained(Lab, collect=faults.failed_sensor),
        "eight NaN in a column",
    ),
    Case(
        "labels_put_back",
        "L1",
        "lab",
        trained(Lab, source="cancer", collect=faults.labels_before_sorting),
        "the table was shuffled while its labels lay aside",
    ),
    Case(
        "codes_by_split",
        "L6",
        "lab",
        lambda seed: (run := Lab(seed, encode=faults.codes_by_split).fit()).subject(
            labels=run.codes
        ),
        "labels are numbered in each split by their first appearance",
    ),
    Case(
        "late_campaign",
        "S2",
        "lab",
        trained(
            Lab,
            collect=faults.late_campaign,
            divide=lambda self: np.flatnonzero(self.table["group"] < 18),
        ),
        "one class was measured only in the last lab batches, and these are val",
    ),
    Case(
        "by_row",
        "S4",
        "lab",
        trained(Lab, divide=faults.by_row),
        "rows are split at random, so lab batches are on both sides",
    ),
    Case(
        "name_order",
        "M1",
        "lab",
        trained(Lab, source="cancer", scale=faults.name_order),
        "one block in the order of file names",
    ),
    Case(
        "whole_numbers",
        "M4",
        "lab",
        trained(Lab, scale=faults.whole_numbers),
        "a block scaled below 1, then cast to integers: zeros",
    ),
    Case(
        "flags_of_absence",
        "M5",
        "lab",
        trained(Lab, missing=0.15, flags=lambda self, absent: absent),
        "the mask says what is absent",
    ),
    Case(
        "two_encoders",
        "N2",
        "lab",
        trained(Lab, make_optimizer=faults.two_encoders),
        "the third encoder is not in the optimiser",
    ),
    Case(
        "cached_features",
        "N3",
        "lab",
        trained(Lab, net=faults.CachedNet),
        "one encoder's features are detached",
    ),
    Case(
        "loud_encoder",
        "N7",
        "lab",
        trained(Lab, net=faults.LoudNet, make_optimizer=faults.sgd(0.9)),
        "one encoder times 100",
    ),
    Case(
        "steps_for_epochs",
        "O5",
        "lab",
        trained(
            Lab,
            make_optimizer=faults.step_decay,
            train_step=faults.step_then_schedule,
            after_epoch=lambda self: None,
        ),
        "a decay every four epochs, stepped once a batch",
    ),
    Case(
        "by_position",
        "O6",
        "lab",
        trained(Lab, make_optimizer=faults.by_position),
        "momentum 0.9 in the place of weight decay",
    ),
    Case(
        "module_prefix",
        "C1",
        "lab",
        lambda seed: loaded(seed, nn.DataParallel),
        "DataParallel's keys, strict=False: nothing was loaded",
    ),
    Case(
        "weights_alone",
        "C3",
        "lab",
        lambda seed: resumed(seed, rest=lambda self: {}),
        "resumed at epoch 8, a new optimiser",
    ),
]


def oversampled(self: Any) -> None:
    targets = torch.tensor(self.train_set.targets)
    weights = (1.0 / torch.bincount(targets))[targets]
    self.loader = DataLoader(
        self.train_set,
        self.batch_size,
        sampler=WeightedRandomSampler(weights.tolist(), len(targets)),
        drop_last=True,
    )


def probe(seed: int) -> Subject:
    """A trained encoder with group norm, frozen, and a new projector on it."""
    first = Shapes(seed).fit()

    def frozen(self: Any) -> nn.Module:
        net = ShapeNet()
        net.stem.load_state_dict(first.model.stem.state_dict())
        net.stages.load_state_dict(first.model.stages.state_dict())
        net.stem.requires_grad_(False)
        net.stages.requires_grad_(False)
        return net

    return Shapes(seed, net=frozen, epochs=3, declared={"freeze_encoder": True}).fit().subject()


def noise_block(self: Any) -> None:
    self.table[self.columns[2]] = self.rng.normal(size=(len(self.table), len(self.columns[2])))


def cosine(self: Any) -> None:
    self.optimizer = torch.optim.RMSprop(self.trained(), lr=self.learning_rate)
    self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=self.epochs)


def of_views(self: Any, batch: Any) -> Any:
    return self.loss(self.model(batch[0]))


def bare(pipeline: Any, *parts: str) -> Callable[[int], Subject]:
    def build(seed: int) -> Subject:
        whole = pipeline(seed).fit().subject()
        return Subject(**{part: getattr(whole, part) for part in parts})

    return build


def by_arrays(seed: int) -> Subject:
    run = Tokens(seed).fit()
    return run.subject(table=None, labels=run.codes.numpy(), splits=run.table["split"].to_numpy())


RARE = (120, 12, 80, 80, 80, 80, 80, 80)
HEALTHY = [
    Case("shapes", None, "shapes", trained(Shapes, epochs=9), "group norm, OneCycleLR"),
    Case(
        "shapes_batch_norm",
        None,
        "shapes",
        trained(Shapes, net=batch_norm),
        "batch norm; eval and train again for each score",
    ),
    Case(
        "shapes_before", None, "shapes", untrained(Shapes, net=batch_norm), "before the first step"
    ),
    Case(
        "shapes_rare_class",
        None,
        "shapes",
        trained(Shapes, net=batch_norm, counts=RARE),
        "10:1 imbalance, drawn as it is",
    ),
    Case(
        "shapes_oversampled",
        None,
        "shapes",
        trained(Shapes, net=batch_norm, counts=RARE, make_loader=oversampled),
        "10:1 imbalance, evened out by WeightedRandomSampler",
    ),
    Case(
        "shapes_workers",
        None,
        "shapes",
        trained(Shapes, net=batch_norm, workers=2),
        "two workers, torch's own generator",
    ),
    Case("shapes_probe", None, "shapes", probe, "a frozen trained encoder, declared"),
    Case(
        "shapes_easy",
        None,
        "shapes",
        trained(Shapes, net=batch_norm, noise=0.02),
        "almost no noise: validation near 100 %",
    ),
    Case(
        "shapes_one_over",
        None,
        "shapes",
        trained(Shapes, net=batch_norm, counts=(81, *(80,) * 7)),
        "641 images, drop_last",
    ),
    Case(
        "shapes_history", None, "shapes", bare(Shapes, "history"), "the records of the steps alone"
    ),
    Case(
        "shapes_labels",
        None,
        "shapes",
        bare(Shapes, "labels"),
        "labels alone, sorted by class as the folders are",
    ),
    Case("tokens", None, "tokens", trained(Tokens), "warm-up, dropout in the encoder, two views"),
    Case(
        "tokens_before", None, "tokens", untrained(Tokens), "before the first step, whose rate is 0"
    ),
    Case(
        "tokens_accumulated",
        None,
        "tokens",
        trained(
            Tokens,
            batch_size=8,
            accumulate=4,
            epochs=6,
            declared={"accumulation_steps": 4, "batch_size": 8},
        ),
        "declared accumulation",
    ),
    Case(
        "tokens_small",
        None,
        "tokens",
        trained(Tokens, batch_size=8, epochs=4),
        "batches of eight on a small machine, two views each",
    ),
    Case(
        "tokens_to_the_end",
        None,
        "tokens",
        trained(Tokens, epochs=24),
        "trained until the classes collapse to points",
    ),
    Case(
        "tokens_base_temperature",
        None,
        "tokens",
        trained(Tokens, criterion=lambda self, value: ViewSupCon(value, 0.07)),
        "T/T_base 1.4",
    ),
    Case(
        "tokens_without_labels",
        None,
        "tokens",
        trained(Tokens, compute=of_views, epochs=12, dropped=0.3),
        "views alone are positives",
    ),
    Case("tokens_arrays", None, "tokens", by_arrays, "labels and split names as arrays, no table"),
    Case("lab", None, "lab", trained(Lab), "three modalities, RMSprop"),
    Case("lab_wine", None, "lab", trained(Lab, source="wine"), "178 samples of three classes"),
    Case("lab_two_classes", None, "lab", trained(Lab, source="cancer"), "two classes, 63:37"),
    Case(
        "lab_sgd",
        None,
        "lab",
        trained(Lab, make_optimizer=faults.sgd(0.0), epochs=16),
        "SGD without momentum",
    ),
    Case(
        "lab_momentum",
        None,
        "lab",
        trained(Lab, make_optimizer=faults.sgd(0.9)),
        "SGD with momentum",
    ),
    Case(
        "lab_cosine",
        None,
        "lab",
        trained(Lab, make_optimizer=cosine),
        "a cosine over the epochs, stepped once each",
    ),
    Case(
        "lab_absences",
        None,
        "lab",
        trained(Lab, missing=0.15),
        "15 % of the parts missing, mask and zeros agree",
    ),
    Case(
        "lab_noise_block",
        None,
        "lab",
        trained(Lab, collect=noise_block),
        "one modality has nothing to say",
    ),
    Case("lab_resumed", None, "lab", resumed, "resumed at epoch 8 with the full state"),
    Case(
        "lab_loaded",
        None,
        "lab",
        lambda seed: loaded(seed, lambda model: model),
        "weights loaded whole",
    ),
    Case(
        "lab_all_train",
        None,
        "lab",
        trained(Lab, divide=lambda self: np.arange(len(self.table)), evaluate=lambda self: {}),
        "no val",
    ),
    Case("lab_table", None, "lab", bare(Lab, "table"), "the table alone"),
]
CASES = FAULTS + HEALTHY

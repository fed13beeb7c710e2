from __future__ import annotations

import numpy as np
import pytest
import torch
from steps import step_of
from torch import nn

from quadlib.config import TrainSettings
from quadlib.diagnosis import Subject, diagnose
from quadlib.loss import SupConLoss
from quadlib.runs import Run
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import subject_of

NAMES = ("a", "b", "c")


def found(diagnosis, notes=False):
    return [
        item.code
        for item in diagnosis.findings
        if item.code[3] == "N" and (notes or item.severity != "note")
    ]


def of(diagnosis, code):
    return [item for item in diagnosis.findings if item.code == code]


class Fused(nn.Module):
    """Three encoders and a head over what they give; the switches are faults."""

    def __init__(self, detach="", scale=(1.0, 1.0, 1.0), norm=False, unused=False):
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.BatchNorm1d(16)] if norm else []
        self.encoders = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(6, 16), *layers, nn.ReLU(), nn.Linear(16, 8))
                for name in NAMES
            }
        )
        self.head = nn.Linear(24, 8)
        self.spare = nn.Linear(8, 4) if unused else None
        self.detach, self.scale = detach, scale

    def forward(self, inputs):
        tokens = {name: self.encoders[name](inputs[name]) for name in NAMES}
        tokens = {
            name: token.detach() if name == self.detach else token for name, token in tokens.items()
        }
        return self.head(
            torch.cat(
                [scale * token for scale, token in zip(self.scale, tokens.values(), strict=True)],
                dim=1,
            )
        )


def batches(n=32, classes=4, count=3, noise=0.5):
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(3, classes, 6, generator=generator)
    result = []
    for _ in range(count):
        labels = torch.arange(n) % classes
        inputs = {
            name: centres[m][labels] + noise * torch.randn(n, 6, generator=generator)
            for m, name in enumerate(NAMES)
        }
        result.append({"inputs": inputs, "labels": labels})
    return result


def pipeline(model=None, optimizer=True, **parts):
    model = model if model is not None else Fused()
    given = (
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
        if optimizer is True
        else optimizer
    )
    loss = parts.get("loss", SupConLoss(0.1))
    return Subject(
        **{
            "loader": batches(),
            "model": model,
            "loss": loss,
            "optimizer": given,
            "train_step": step_of(model, loss, given),
            **parts,
        }
    )


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 30)
    arrays = {
        name: (random.normal(size=(4, 6))[y] + random.normal(size=(120, 6))).astype(np.float32)
        for name in "abcd"
    }
    path = tmp_path_factory.mktemp("table") / "features.npz"
    np.savez(path, y=y, group=np.arange(120) // 3, **arrays)
    return path


def trainer_of(features, tmp_path, **changed):
    settings = TrainSettings(
        source="table",
        path=str(features),
        outputs=str(tmp_path),
        run="r",
        batch_size=16,
        width=16,
        embedding_dim=8,
        fusion_heads=2,
        warmup_steps=3,
        device="cpu",
        **{"epochs": 2, **changed},
    )
    return Trainer(open_dataset(settings), settings, Run.create(settings))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"within_weight": 0.0, "cross_weight": 0.0},
        {"freeze": ["encoders"], "modality_dropout": 0.0},
        {"freeze": ["encoders.a"], "encoder_rate_factor": 0.0},
    ],
)
def test_our_own_model_is_silent_fresh_and_trained(features, tmp_path, changed, capsys):
    trainer = trainer_of(features, tmp_path, **changed)
    assert found(diagnose(subject_of(trainer))) == []
    trainer.fit()
    diagnosis = diagnose(subject_of(trainer))
    assert found(diagnosis) == []
    assert not [
        reason
        for name, reason in diagnosis.not_run
        if name.startswith("QL-N") and "raised" in reason
    ]


@pytest.mark.parametrize("options", [{}, {"norm": True}, {"unused": True}])
def test_a_healthy_model_of_ones_own_is_silent_and_left_as_it_was(options):
    model = Fused(**options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    diagnosis = diagnose(pipeline(model))
    assert found(diagnosis) == []
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert (
        torch.equal(random, torch.get_rng_state())
        and model.training
        and all(p.grad is None for p in model.parameters())
    )
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_n01_frozen_but_for_norms_is_an_error_and_a_probe_a_note():
    model = Fused(norm=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".1." in name)
    item = of(diagnose(pipeline(model)), "QL-N01")[0]
    assert (
        item.severity == "error"
        and "only norms and biases" in item.title
        and "0 of 7 weight matrices" in item.evidence[0]
    )

    model = Fused()
    model.encoders.requires_grad_(False)
    diagnosis = diagnose(pipeline(model))
    assert of(diagnosis, "QL-N01")[0].severity == "note" and found(diagnosis) == []
    for settings in ({"linear_probe": True}, {"freeze": ["encoders"]}):
        assert found(diagnose(pipeline(model, settings=settings)), notes=True) == []


def test_n01_what_is_frozen_beyond_the_settings_is_named(features, tmp_path):
    trainer = trainer_of(features, tmp_path)
    trainer.model.encoders.requires_grad_(False)
    item = of(diagnose(subject_of(trainer)), "QL-N01")[0]
    assert (
        item.severity == "error"
        and "encoders.a" in item.title
        and "though the settings do not say so" in item.title
    )


def test_n11_declared_frozen_but_trained(features, tmp_path):
    trainer = trainer_of(features, tmp_path, freeze=["encoders.a"])
    trainer.model.encoders["a"].requires_grad_(True)
    assert found(diagnose(subject_of(trainer))) == ["QL-N11"]


def test_n02_an_encoder_that_is_not_in_the_optimiser_is_named():
    model = Fused()
    optimizer = torch.optim.SGD(
        [p for name, p in model.named_parameters() if not name.startswith("encoders.b")], lr=0.05
    )
    diagnosis = diagnose(pipeline(model, optimizer))
    item = of(diagnosis, "QL-N02")[0]
    assert (
        item.severity == "error"
        and item.scope == "b"
        and "encoders.b" in item.title
        and "change in one step 0" in item.evidence[1]
    )
    assert found(diagnosis) == ["QL-N02"]


def test_a_stale_optimiser_is_not_a_missing_encoder():
    model = Fused()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.encoders["b"] = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
    assert "QL-N02" not in found(diagnose(pipeline(model, optimizer)))
    foreign = torch.optim.SGD(Fused().parameters(), lr=0.05)
    assert "QL-N02" not in found(diagnose(pipeline(model, foreign)))


def test_a_probe_that_gives_the_head_alone_to_the_optimiser_is_silent():
    class Probe(Fused):
        def forward(self, inputs):
            with torch.no_grad():
                tokens = [self.encoders[name](inputs[name]) for name in NAMES]
            return self.head(torch.cat(tokens, dim=1))

    model = Probe()
    assert found(diagnose(pipeline(model, torch.optim.SGD(model.head.parameters(), lr=0.05)))) == []


def test_n03_a_detached_branch_is_named_and_an_unused_head_is_not():
    diagnosis = diagnose(pipeline(Fused(detach="c", unused=True)))
    item = of(diagnosis, "QL-N03")[0]
    assert item.severity == "error" and item.where.startswith("encoders.c") and item.scope == "c"
    assert found(diagnosis) == ["QL-N03"]


def test_n03_inside_a_users_own_step():
    model = Fused(detach="a")
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=1e-3), SupConLoss(0.1)

    def step(batch):
        optimizer.zero_grad()
        value = loss(model(batch["inputs"]), batch["labels"])
        value.backward()
        optimizer.step()
        return value

    assert found(diagnose(pipeline(model, optimizer, train_step=step))) == ["QL-N03"]


def test_n04_the_layer_at_which_the_batch_variance_dies_is_named():
    model = Fused()
    nn.init.zeros_(model.head.weight)
    item = of(diagnose(pipeline(model)), "QL-N04")[0]
    assert (
        item.severity == "error"
        and item.where == "head"
        and any("weight of head is 0" in line for line in item.evidence)
    )

    model = Fused()
    nn.init.constant_(model.encoders["b"][0].bias, -100.0)
    item = of(diagnose(pipeline(model)), "QL-N04")[0]
    assert item.severity == "error" and item.where == "encoders.b.1" and item.scope == "b"


def test_n04_zero_initialised_residual_gains_and_biases_are_silent():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.stem, self.branch, self.last, self.head = (
                nn.Linear(6, 8),
                nn.Linear(8, 8),
                nn.Linear(8, 8),
                nn.Linear(8, 4),
            )
            nn.init.zeros_(self.last.weight)
            for layer in (self.stem, self.branch, self.last, self.head):
                nn.init.zeros_(layer.bias)

        def forward(self, x):
            x = self.stem(x)
            return self.head(x + self.last(torch.relu(self.branch(x))))

    loader = [(batch["inputs"]["a"], batch["labels"]) for batch in batches()]
    assert found(diagnose(pipeline(Residual(), loader=loader))) == []


def test_n04_collapse_after_training_began_is_left_to_the_optimiser():
    model = Fused()
    nn.init.zeros_(model.head.weight)
    assert "QL-N04" not in found(diagnose(pipeline(model, history=[4.2, 3.6, 3.434, 3.434])))
    assert "QL-N04" in found(diagnose(pipeline(model, history=[float(np.log(31))] * 4)))


def test_n05_batch_norms_that_do_not_learn_in_training():
    model = Fused(norm=True)
    optimizer, loss = torch.optim.SGD(model.parameters(), lr=0.05), SupConLoss(0.1)

    def step(batch, training):
        model.train(training)
        optimizer.zero_grad()
        value = loss(model(batch["inputs"]), batch["labels"])
        value.backward()
        optimizer.step()
        return value

    for training, expected in ((True, []), (False, ["QL-N05"])):
        assert (
            found(
                diagnose(
                    pipeline(
                        model,
                        optimizer,
                        train_step=lambda batch, training=training: step(batch, training),
                    )
                )
            )
            == expected
        )
    model.requires_grad_(True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.requires_grad_(False)
    assert (
        found(diagnose(pipeline(model, optimizer, train_step=lambda batch: step(batch, False))))
        == []
    )


def test_n05_no_momentum_and_batches_of_two():
    model = Fused(norm=True)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 0.0
    assert "momentum 0.0" in of(diagnose(pipeline(model)), "QL-N05")[0].evidence[0]
    assert (
        of(diagnose(pipeline(Fused(norm=True), loader=batches(n=2, classes=1))), "QL-N05")[
            0
        ].severity
        == "warning"
    )
    assert of(diagnose(pipeline(Fused(norm=True), loader=batches(n=8))), "QL-N05") == []


def test_n06_equal_units_come_before_the_constant_output_they_cause():
    model = Fused()
    for parameter in model.encoders["a"].parameters():
        nn.init.constant_(parameter, 0.1)
    diagnosis = diagnose(pipeline(model))
    item = of(diagnosis, "QL-N06")[0]
    assert (
        item.severity == "error"
        and item.scope == "a"
        and "16 of 16 units" in item.title
        and "all 0.1" in item.evidence[0]
    )
    model = Fused()
    with torch.no_grad():
        model.head.weight[1:4] = model.head.weight[0]
    assert "4 of 8 units of head.weight" in of(diagnose(pipeline(model)), "QL-N06")[0].title


def test_n10_weights_that_are_not_finite():
    model = Fused()
    with torch.no_grad():
        model.encoders["b"][0].weight[0, 0] = float("nan")
    item = of(diagnose(pipeline(model)), "QL-N10")[0]
    assert item.severity == "error" and "before any step" in item.evidence[0]


def test_n12_shared_weights_are_a_note_at_most():
    model = Fused()
    model.encoders["b"] = model.encoders["a"]
    diagnosis = diagnose(pipeline(model))
    assert (
        found(diagnosis) == []
        and of(diagnosis, "QL-N12")[0].title == "encoders.a and encoders.b share 4 parameters"
    )


def trained(model, steps=3):
    subject = pipeline(model, loader=batches(count=6))
    for batch in subject.loader[:steps]:
        subject.optimizer.zero_grad()
        subject.loss(model(batch["inputs"]), batch["labels"]).backward()
        subject.optimizer.step()
    subject.history = [4.0, 3.9, 3.8]
    return subject


def test_n07_one_modality_that_drowns_out_the_others_is_a_warning_once_trained():
    item = of(diagnose(trained(Fused(scale=(100.0, 1.0, 1.0)))), "QL-N07")[0]
    assert item.severity == "warning" and "follows a alone and ignores b, c" in item.title
    assert (
        of(diagnose(pipeline(Fused(scale=(100.0, 1.0, 1.0)), loader=batches(count=6))), "QL-N07")[
            0
        ].severity
        == "note"
    )


def test_n07_unequal_modalities_and_ones_that_tell_nothing_are_silent():
    assert of(diagnose(trained(Fused(scale=(3.0, 1.0, 1.0)))), "QL-N07") == []
    subject = trained(Fused(scale=(100.0, 1.0, 1.0)))
    generator = torch.Generator().manual_seed(5)
    for batch in subject.loader:
        batch["inputs"] |= {name: torch.randn(32, 6, generator=generator) for name in "bc"}
    assert of(diagnose(subject), "QL-N07") == []


def test_what_is_no_module_or_has_no_parameters_is_not_run():
    for model in (None, lambda batch: batch["inputs"]["a"], nn.ReLU()):
        diagnosis = diagnose(Subject(loader=batches(), model=model, loss=SupConLoss(0.1)))
        assert found(diagnosis) == [] and any(
            name.startswith("QL-N01") for name, _ in diagnosis.not_run
        )

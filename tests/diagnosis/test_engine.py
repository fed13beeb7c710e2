"""The engine: folding, two roots, what was not run, nothing left changed, every rendering, and
subjects that misbehave.
"""

from __future__ import annotations

import itertools
import json
import random
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quadlib.diagnosis import Diagnosis, Finding, Subject, diagnose
from quadlib.diagnosis.finding import fold
from quadlib.diagnosis.registry import checks
from quadlib.loss import SupConLoss

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 32))


def finding(code: str, *consequences: str, severity="error", **more) -> Finding:
    return Finding(
        f"QL-{code}",
        severity,
        f"title of {code}",
        where="here",
        evidence=("1 = 1",),
        help="mend it",
        consequences=consequences,
        **more,
    )


def codes(found) -> list[str]:
    return [item.code[3:] for item in found]


def test_consequences_fold_under_the_earliest_root_also_through_another():
    roots = fold([finding("P10"), finding("B01", "QL-P*"), finding("S01", "QL-B01")])
    assert codes(roots) == ["S01"] and codes(roots[0].folded) == ["B01", "P10"]
    assert roots[0].explains == ("title of B01", "title of P10")


def test_two_that_do_not_predict_each_other_are_two_roots():
    found = [
        finding("O02", "QL-P10"),
        finding("S04", "QL-E10"),
        finding("P10", symptom=True),
        finding("E10"),
    ]
    assert codes(fold(found)) == ["S04", "O02"]


def test_a_fault_of_one_part_does_not_explain_another_part():
    roots = fold(
        [
            finding("D01", "QL-M04", scope="audio"),
            finding("M04", scope="video"),
            finding("M04", scope="audio"),
        ]
    )
    assert [(root.code, root.scope) for root in roots] == [("QL-D01", "audio"), ("QL-M04", "video")]


def test_symptoms_come_last_and_stars_are_prefixes():
    roots = fold([finding("B20", symptom=True), finding("O01", "QL-B2*"), finding("E10")])
    assert codes(roots) == ["O01", "E10"] and codes(roots[0].folded) == ["B20"]


class Pipeline:
    """A small pipeline with everything that has state: batch norm, dropout, momentum, a schedule,
    gradients.
    """

    def __init__(self, labels=LABELS) -> None:
        torch.manual_seed(0)
        self.data = TensorDataset(
            torch.randn(len(labels), 8) + 2 * torch.eye(8)[torch.as_tensor(labels)],
            torch.as_tensor(labels),
        )
        self.loader = DataLoader(
            self.data, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(1)
        )
        self.model = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 8)
        )
        self.loss = SupConLoss(0.1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 5)
        self.step(next(iter(self.loader)))
        self.model[3].eval()

    def step(self, batch):
        self.optimizer.zero_grad()
        value = self.loss(self.model(batch[0]), batch[1])
        value.backward()
        self.optimizer.step()
        return value

    def subject(self, **more) -> Subject:
        parts = {
            "labels": LABELS,
            "loader": self.loader,
            "model": self.model,
            "loss": self.loss,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "train_step": self.step,
        }
        return Subject(**{**parts, **more})

    def state(self) -> list:
        hooks = [
            len(getattr(module, name))
            for module in self.model.modules()
            for name in (
                "_forward_hooks",
                "_forward_pre_hooks",
                "_backward_hooks",
                "_backward_pre_hooks",
            )
        ]
        return [
            random.getstate(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global one
            torch.get_rng_state().tolist(),
            self.loader.generator.get_state().tolist(),
            [m.training for m in self.model.modules()],
            hooks,
            {name: value.tolist() for name, value in self.model.state_dict().items()},
            [None if p.grad is None else p.grad.tolist() for p in self.model.parameters()],
            json.dumps(self.optimizer.state_dict(), default=lambda value: value.tolist()),
            self.scheduler.state_dict(),
            [p._backward_hooks is None or len(p._backward_hooks) for p in self.model.parameters()],
        ]


def test_the_subject_is_left_as_it_was():
    pipeline = Pipeline()
    ids = [id(p) for group in pipeline.optimizer.param_groups for p in group["params"]]
    before = pipeline.state()
    for _ in range(2):  # a cell that is run again must not stack hooks either
        result = diagnose(pipeline.subject())
        assert len(result.ran) > 10
        for was, now in zip(before, pipeline.state(), strict=True):
            assert was == now
    assert ids == [id(p) for group in pipeline.optimizer.param_groups for p in group["params"]]
    assert [p.grad is not None for p in pipeline.model.parameters()] == [True] * 6


def test_a_healthy_pipeline_is_silent():
    result = diagnose(Pipeline().subject())
    assert result.ok, result.to_text()
    assert result.exit_code == 0 and result.headline().startswith("No problems found: ")


def test_training_goes_on_as_if_nothing_had_been_examined():
    def trained(examined: bool) -> list:
        pipeline = Pipeline()
        if examined:
            diagnose(pipeline.subject())
        for batch in itertools.islice(pipeline.loader, 4):
            pipeline.step(batch)
        return [p.tolist() for p in pipeline.model.parameters()]

    assert trained(True) == trained(False)


def test_what_is_not_there_is_listed_with_the_reason():
    result = diagnose(Subject(labels=LABELS))
    reasons = dict(result.not_run)
    assert (
        any("B01" in name for name in reasons) and "no batch sampler or loader" in reasons.values()
    )
    assert f"{len(result.not_run)} not run" in result.summary() and result.ok
    nothing = diagnose(Subject())
    assert not nothing.findings and not nothing.ran and nothing.exit_code == 2


def faulty() -> Diagnosis:
    labels = np.repeat(np.arange(12), 48)
    batches = [np.flatnonzero(labels == code)[:32] for code in (5, 2, 9, 1, 0, 3)]
    return diagnose(
        Subject(labels=labels, batch_sampler=batches, history=[3.434] * 6, name="<b>a & b</b>")
    )


def test_renderings_round_trip():
    result = faulty()
    back = Diagnosis.from_dict(json.loads(result.to_json()))
    assert (
        back.to_text() == result.to_text()
        and back.headline() == result.headline()
        and back.ok is result.ok is False
    )
    assert back.to_dict() == result.to_dict()
    text = result.to_text()
    root = result.roots[0]
    assert f"{root.severity}[{root.code}]: {root.title}" in text and root.help in text
    assert "Positive pairs per batch" in text and "Label composition" in text


def test_json_and_junit_are_valid():
    result = faulty()
    assert json.loads(result.to_json())["ok"] is False
    suite = ElementTree.fromstring(result.to_junit())
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests")) and int(suite.get("skipped")) == len(
        suite.findall("testcase/skipped")
    )
    failed = {case.get("name").split(" ")[0] for case in cases if case.find("failure") is not None}
    assert {item.code for item in result.findings if item.severity != "note"} <= failed | {
        "QL-P10",
        "QL-P11",
    } and "QL-B01" in failed
    assert int(suite.get("failures")) >= 1


def test_html_escapes_what_comes_from_the_subject():
    result = diagnose(Subject(labels=["<script>x</script>", "b"] * 20 + ["<img>"]))
    page = result._repr_html_()
    assert "<script>x" not in page and "<img>" not in page and "QL-S11" in page


class Raises:
    def __iter__(self):
        raise RuntimeError("disk on fire")

    def __len__(self):
        raise OSError("no length")

    def __call__(self, *_):
        raise ValueError("bad\nday")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, _):
        raise ValueError("a model that raises")


def endless():
    while True:
        yield [0, 1, 2, 3]


BATCH = (torch.randn(8, 8), torch.arange(8) % 4)


@pytest.mark.parametrize(
    "parts",
    [
        {"labels": []},
        {"labels": [None, 1, "a"]},
        {"labels": 3},
        {"labels": np.array([np.nan] * 8)},
        {"labels": LABELS, "splits": {}},
        {"labels": LABELS, "splits": ["train"]},
        {"labels": LABELS, "splits": 5},
        {"labels": LABELS, "batch_sampler": []},
        {"labels": LABELS, "batch_sampler": Raises()},
        {"labels": LABELS, "batch_sampler": [[]] * 4},
        {"labels": LABELS, "batch_sampler": [[9999]]},
        {"labels": LABELS, "batch_sampler": endless()},
        {"labels": LABELS, "batch_sampler": [["a", "b"]]},
        {"labels": LABELS, "batch_sampler": 7},
        {"labels": LABELS, "loader": []},
        {"labels": LABELS, "loader": Raises()},
        {"labels": LABELS, "loader": [None, 3]},
        {"labels": LABELS, "loader": [BATCH], "model": Model(), "loss": SupConLoss()},
        {"labels": LABELS, "loader": [BATCH], "model": nn.Linear(8, 4), "loss": Raises()},
        {
            "labels": LABELS,
            "loader": [BATCH],
            "model": nn.Linear(8, 4),
            "loss": lambda embeddings, labels, more: embeddings.sum(),
        },
        {
            "labels": LABELS,
            "loader": [BATCH],
            "model": nn.Linear(8, 4),
            "loss": SupConLoss(),
            "train_step": Raises(),
        },
        {
            "labels": LABELS,
            "loader": [BATCH],
            "model": nn.Linear(8, 4),
            "loss": SupConLoss(),
            "optimizer": object(),
        },
        {
            "labels": LABELS,
            "loader": [(BATCH[0] * float("nan"), BATCH[1])],
            "model": nn.Linear(8, 4),
            "loss": SupConLoss(),
        },
        {"history": []},
        {"history": [float("nan")] * 9},
        {"history": [{}, {"loss": None}]},
        {"history": "no/such/file"},
        {"history": ["a"]},
        {"checkpoint": "no/such/file"},
        {"checkpoint": {}},
        {"run": "no/such/folder"},
        {"table": 5},
        {"table": "x"},
        {"evaluate": Raises()},
        {"settings": 5},
        {"model": 5, "loss": 6, "optimizer": 7, "scheduler": 8, "loader": 9},
    ],
    ids=range(36),
)
def test_a_bad_subject_gives_findings_or_reasons_never_a_traceback(parts):
    result = diagnose(Subject(**parts))
    assert (
        result.to_text()
        and json.loads(result.to_json()) is not None
        and ElementTree.fromstring(result.to_junit()) is not None
    )
    accounted = [*result.ran, *(name for name, _ in result.not_run + result.crashed)]
    watched = ("observed", "variables", "later")  # no loop was
    expected = [item.label for item in checks() if item.phase not in watched]
    assert sorted(accounted) == sorted(expected)
    assert all(reason.strip() for _, reason in result.not_run)

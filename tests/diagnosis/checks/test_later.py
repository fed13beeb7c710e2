"""What a loop does after its watched steps, right and wrong: it evaluates, keeps, saves, loads."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

from quadlib.diagnosis.doors import observe
from tests.diagnosis.checks.test_observed import Adam, parts, plain
from tests.diagnosis.observe.test_healthy_loops import (
    CLASSES,
    ROWS,
    WIDTH,
    info,
    loader_of,
    loop,
    network,
)


def alarms_of(train) -> list[str]:
    torch.manual_seed(0)
    with observe(steps=8, seconds=60) as seen:
        train()
    assert not seen.record.faults and not seen.diagnosis.crashed
    assert seen.record.later is not None
    return [root.code for root in seen.diagnosis.roots if root.severity != "note"]


class Task:
    """A model, its training, and an evaluation of it."""

    def __init__(self, *, shuffle: bool = False) -> None:
        self.model, self.x, self.y = parts()
        self.train = plain(self.model, loader_of(self.x, self.y), epochs=2)
        self.test = DataLoader(
            TensorDataset(self.x, self.y, torch.arange(ROWS)), 48, shuffle=shuffle
        )

    def embed(self, model=None, *, training: bool = False):
        model = (model or self.model).train(training)
        with torch.no_grad():
            pairs = [(model(x), y, row) for x, y, row in self.test]
        self.model.train()
        return tuple(torch.cat(column).numpy() for column in zip(*pairs, strict=True))


def agreement(rows: np.ndarray, labels) -> float:
    """The share of rows whose nearest neighbour has their label."""
    table = rows @ rows.T
    np.fill_diagonal(table, -np.inf)
    return float((np.asarray(labels)[table.argmax(1)] == np.asarray(labels)).mean())


@pytest.mark.parametrize("name", ["val_loader", "testloader", "bank", "latest_loader"])
@pytest.mark.parametrize("same", [True, False])
def test_a_loader_called_validation_gives_other_rows(name, same):
    task = Task()
    loader = loader_of(task.x, task.y)
    other = loader.dataset if same else TensorDataset(task.x + 1, task.y)
    loaders = {name: DataLoader(other, 48)}
    train = plain(task.model, loader, epochs=2)

    def run():
        assert loaders
        train()

    wrong = same and name in ("val_loader", "testloader")
    assert alarms_of(run) == (["QL-E11"] if wrong else [])


def test_what_is_learned_without_labels_may_be_scored_on_its_own_rows():
    model, x, _ = parts()
    loader = loader_of(x, x + 0.3 * torch.randn_like(x))
    test_loader = DataLoader(loader.dataset, 48)
    loss = lambda b: info(model(b[0]), model(b[1]))  # noqa: E731
    train = loop(loader, loss, Adam(model.parameters(), 1e-3), epochs=2)

    def run():
        assert test_loader
        train()

    assert alarms_of(run) == []


# kept states


@pytest.mark.parametrize("copied", [False, True])
def test_a_state_that_is_loaded_again_was_copied(copied):
    task = Task()

    def run():
        task.train()
        task.embed()
        best = copy.deepcopy(task.model.state_dict()) if copied else task.model.state_dict()
        task.train()
        task.model.load_state_dict(best)

    assert alarms_of(run) == ([] if copied else ["QL-C20"])


@pytest.mark.parametrize("kind", ["attribute", "list", "copied"])
def test_the_best_state_is_kept_wherever_it_stands(kind):
    task = Task()
    best_states: list = []

    class Trainer:
        best = None

    trainer = Trainer()

    def run():
        for _ in range(2):
            task.train()
            task.embed()
            state = task.model.state_dict()
            state = copy.deepcopy(state) if kind == "copied" else state
            trainer.best = None if kind == "list" else state
            best_states.append(state if kind == "list" else None)
        task.train()

    assert (best_states, trainer) and alarms_of(run) == ([] if kind == "copied" else ["QL-C20"])


def test_living_states_that_nobody_loads_or_calls_the_best_are_used_as_such(tmp_path):
    task = Task()
    teacher = copy.deepcopy(task.model)

    def run():
        student = task.model.state_dict()  # of a moving average, which wants the living weights
        best = {"model": task.model.state_dict()}
        torch.save(best, tmp_path / "best.pth")  # what it holds is written at once
        for _ in range(2):
            task.train()
            task.embed()
            for name, value in teacher.state_dict().items():
                value.copy_(0.9 * value + 0.1 * student[name])
        task.model.load_state_dict(task.model.state_dict())

    assert alarms_of(run) == []


# saves and loads


@pytest.mark.parametrize("nested", [True, False])
def test_weights_that_are_loaded_after_training_fit(tmp_path, nested):
    task = Task()

    def run():
        task.train()
        torch.save({"model": task.model.state_dict(), "epoch": 2}, tmp_path / "last.pth")
        file = torch.load(tmp_path / "last.pth")
        fresh = network()
        fresh.load_state_dict(file if nested else file["model"], strict=False)
        task.embed(fresh)

    assert alarms_of(run) == (["QL-C01"] if nested else [])


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_to_resume_from_holds_all_that_the_optimiser_moves(tmp_path, whole):
    task = Task()
    head = nn.Linear(16, CLASSES)
    optimiser = Adam([*task.model.parameters(), *head.parameters()], 1e-3)
    loss = lambda b: nn.functional.cross_entropy(head(task.model(b[0])), b[1])  # noqa: E731
    train = loop(loader_of(task.x, task.y), loss, optimiser, epochs=2)

    def run():
        train()
        state = {"model": task.model.state_dict(), "optimizer": optimiser.state_dict()}
        if whole:
            state["head"] = {k: v.clone() for k, v in head.state_dict().items()}
        torch.save(state, tmp_path / "last.pth")

    assert alarms_of(run) == ([] if whole else ["QL-C21"])


def test_an_earlier_best_beside_the_optimiser_lacks_nothing(tmp_path):
    task = Task()
    optimiser = Adam(task.model.parameters(), 1e-3)
    train = plain(task.model, loader_of(task.x, task.y), optimiser=optimiser)

    def run():
        train()
        best = copy.deepcopy(task.model.state_dict())
        train()
        state = {"model": best, "optimizer": optimiser.state_dict()}
        torch.save(state, tmp_path / "best.pth")
        torch.save({"backbone": task.model[0].state_dict()}, tmp_path / "backbone.pth")

    assert alarms_of(run) == []


# evaluations


@pytest.mark.parametrize("training", [True, False])
def test_the_later_evaluation_runs_in_evaluation_mode(training):
    task = Task()

    def run():
        task.train()
        task.embed(training=training)

    assert alarms_of(run) == (["QL-E02"] if training else [])


def test_statistics_are_gathered_in_training_mode_on_purpose():
    task = Task()
    averaged = torch.optim.swa_utils.AveragedModel(task.model)

    def run():
        task.train()
        averaged.update_parameters(task.model)
        torch.optim.swa_utils.update_bn(task.test, averaged)
        task.embed(averaged)

    assert alarms_of(run) == []


@pytest.mark.parametrize(
    ("shuffle", "labels"),
    [(True, "dataset"), (True, "batches"), (False, "dataset"), (True, "told"), (True, "sorted")],
)
def test_labels_stand_in_the_order_of_their_rows(shuffle, labels):
    task = Task(shuffle=shuffle)

    def told(rows, y, order):
        return agreement(rows[np.argsort(order)], y)

    def run():
        task.train()
        rows, y, order = task.embed()
        if labels == "batches":
            agreement(rows, y)
        elif labels == "dataset":
            agreement(rows, task.y.numpy())
        elif labels == "sorted":
            agreement(rows[np.argsort(y, kind="stable")], np.sort(y))
        else:
            told(rows, task.y.numpy(), order)

    wrong = shuffle and labels == "dataset"
    assert alarms_of(run) == (["QL-E20"] if wrong else [])


@pytest.mark.parametrize("order", ["one after another", "turn by turn", "wrong"])
def test_captions_belong_to_the_item_that_the_truth_names(order):
    task = Task()
    items = 48
    captions = task.x[:items, None] + 0.1 * torch.randn(items, 3, WIDTH)

    def retrieval(model):
        model.eval()
        with torch.no_grad():
            rows = model(task.x[:items])
            texts = captions if order == "one after another" else captions.transpose(0, 1)
            found = model(texts.reshape(-1, WIDTH))
        place = torch.arange(3 * items)
        truth = place % items if order == "turn by turn" else place // 3
        return ((found @ rows.T).argmax(1) == truth).float().mean()

    def run():
        task.train()
        retrieval(task.model)

    assert alarms_of(run) == (["QL-E20"] if order == "wrong" else [])


def test_rows_that_show_no_order_prove_none():
    a, b = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
    one, two = network(), network()
    optimiser = Adam([*one.parameters(), *two.parameters()], 1e-4)
    train = loop(loader_of(a, b), lambda p: info(one(p[0]), two(p[1])), optimiser)

    def retrieval():
        with torch.no_grad():
            rows, texts = one.eval()(a[:40]), two.eval()(b[:120])
        truth = torch.arange(120) // 3
        return (normalize(texts, dim=1) @ normalize(rows, dim=1).T).argmax(1) == truth

    def run():
        train()
        retrieval()

    assert alarms_of(run) == []


@pytest.mark.parametrize("kind", ["fresh", "copy", "loaded", "control"])
def test_what_is_evaluated_was_trained(kind):
    task = Task()
    fresh = network()

    def run():
        task.train()
        if kind == "loaded":
            fresh.load_state_dict(task.model.state_dict())
        elif kind == "control":  # untrained weights beside the trained ones
            task.embed()
        model = copy.deepcopy(task.model) if kind == "copy" else fresh
        task.train()
        task.embed(model)

    assert alarms_of(run) == (["QL-E21"] if kind == "fresh" else [])


@pytest.mark.parametrize("mode", ["evaluation", "training"])
def test_an_evaluation_without_a_loader_runs_in_evaluation_mode_too(mode):
    task = Task()

    def run():
        task.train()
        task.model.train(mode == "training")
        with torch.no_grad():
            for part in task.x.split(48):
                task.model(part)
        task.model.train()

    assert alarms_of(run) == ([] if mode == "evaluation" else ["QL-E02"])


def test_calls_without_gradients_in_every_step_are_part_of_it():
    """As of a step that first embeds its batch in parts, to have all negatives."""
    model, x, y = parts()
    optimiser = Adam(model.parameters(), 1e-3)

    def loss(batch):
        with torch.no_grad():
            rows = torch.cat([model(part) for part in batch[0].split(12)])
        return info(model(batch[0]), rows)

    assert "QL-E02" not in alarms_of(loop(loader_of(x, y), loss, optimiser, epochs=4))


@pytest.mark.parametrize("back", [True, False])
def test_a_model_that_stays_in_evaluation_mode_after_an_evaluation_is_named(back):
    task = Task()

    def run():
        for _ in range(4):
            task.train()
            task.model.eval()
            with torch.no_grad():
                for x, *_ in task.test:
                    task.model(x)
            task.model.train(back)

    assert alarms_of(run) == ([] if back else ["QL-E03"])


def test_another_model_that_is_trained_in_evaluation_mode_was_so_from_the_start():
    """As of a frozen copy whose prompts are learned after the first model was trained."""
    task = Task()

    def run():
        task.train()
        copied = copy.deepcopy(task.model).eval().requires_grad_(False)
        shift = nn.Parameter(torch.zeros(WIDTH))
        optimiser = Adam([shift], 1e-2)
        with torch.no_grad():
            for x, *_ in task.test:
                copied(x + shift)
        for x, _ in loader_of(task.x, task.y):
            optimiser.zero_grad()
            info(copied(x + shift), copied(x + shift + 0.1)).backward()
            optimiser.step()

    assert "QL-E03" not in alarms_of(run)


@pytest.mark.parametrize("moved", [True, False])
def test_an_average_that_is_evaluated_follows_the_weights(moved):
    task = Task()
    average = torch.optim.swa_utils.AveragedModel(task.model)

    def run():
        for _ in range(4):
            task.train()
            if moved:
                average.update_parameters(task.model)
        task.embed(average)

    assert alarms_of(run) == ([] if moved else ["QL-E21"])


@pytest.mark.parametrize("what", ["state dict", "parameters", "parameters and buffers"])
def test_saved_weights_come_with_the_running_statistics(what, tmp_path):
    task = Task()

    def run():
        task.train()
        task.embed()
        state = {name: value.detach() for name, value in task.model.named_parameters()}
        if what == "state dict":
            state = task.model.state_dict()
        elif what == "parameters and buffers":
            state = {"weights": state, "buffers": dict(task.model.named_buffers())}
        torch.save(state, tmp_path / "best.pth")

    assert alarms_of(run) == (["QL-C22"] if what == "parameters" else [])


# what is called best


@pytest.mark.parametrize(
    ("name", "start", "better", "expected"),
    [
        ("best_val_loss", float("inf"), lambda new, old: new < old, 0),
        ("best_val_loss", 0.0, lambda new, old: new < old, 1),  # never
        ("best_val_loss", 0.0, lambda new, old: new > old, 1),  # the highest
        ("best_val_acc", 0.0, lambda new, old: new > old, 0),
        ("best_val_acc", float("inf"), lambda new, old: new < old, 1),
        ("best", 0.0, lambda new, old: new < old, 0),  # of what is not said
    ],
)
def test_what_is_called_best_goes_one_way(name, start, better, expected):
    task = Task()
    figures = iter([0.5, 0.4, 0.6, 0.3, 0.7, 0.2])

    class State:
        pass

    def run():
        state = State()
        setattr(state, name, start)
        for _ in range(6):
            task.train()
            task.embed()
            new = next(figures)
            setattr(state, name.removeprefix("best_"), new)
            if better(new, getattr(state, name)):
                setattr(state, name, new)
        task.train()

    assert alarms_of(run) == ["QL-C05"] * expected

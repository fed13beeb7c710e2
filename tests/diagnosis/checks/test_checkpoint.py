"""The checkpoint's contracts: readable, fitting, finite, whole enough to resume, best by its own
figure.
"""

from __future__ import annotations

import pytest
import torch
from toy_pipeline import Toy, alarms, codes, severity

from quadlib.config import TrainSettings
from quadlib.diagnosis import Subject, diagnose
from quadlib.evaluation import KnnValidator
from quadlib.runs import Run
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import subject_of, subject_of_run


def trained(epochs=1):
    toy = Toy()
    for _ in range(epochs):
        for batch in toy.loader:
            toy.train_step(batch)
    return toy


def content(toy, **changes):
    return {
        "model": toy.model.state_dict(),
        "optimizer": toy.optimiser.state_dict(),
        "epoch": 1,
        "step": 7,
        **changes,
    }


def checked(toy, state, **parts):
    return toy.diagnose(checkpoint=state, evaluate=None, **parts)


def test_a_whole_checkpoint_is_left_alone(tmp_path):
    toy = trained()
    assert codes(checked(toy, content(toy))) == []
    torch.save(content(toy), tmp_path / "latest.pth")
    assert codes(checked(toy, tmp_path / "latest.pth")) == []


@pytest.mark.parametrize("prefix", ["module.", "encoder_q."])
def test_no_key_matches(prefix):
    toy = trained()
    state = {prefix + name: value + 1 for name, value in toy.model.state_dict().items()}
    diagnosis = checked(toy, content(toy, model=state))
    assert alarms(diagnosis) == ["QL-C01"] and severity(diagnosis, "QL-C01") == "error"
    assert f"without the prefix {prefix!r}" in " ".join(diagnosis.roots[0].evidence)


def test_weights_that_were_loaded_under_other_names_are_a_note():
    toy = trained()
    state = {"module." + name: value for name, value in toy.model.state_dict().items()}
    diagnosis = checked(toy, content(toy, model=state))
    assert alarms(diagnosis) == [] and severity(diagnosis, "QL-C01") == "note"


def test_a_head_that_is_new_is_left_alone_and_another_shape_is_told():
    toy = trained()
    state = toy.model.state_dict()
    without_head = {name: value for name, value in state.items() if not name.startswith("body.4")}
    assert codes(checked(toy, content(toy, model=without_head))) == []
    assert alarms(
        checked(toy, content(toy, model={**state, "body.4.weight": torch.zeros(8, 32)}))
    ) == ["QL-C01"]


def test_weights_that_are_not_finite():
    toy = trained()
    state = {name: value.clone() for name, value in toy.model.state_dict().items()}
    state["body.0.weight"][0, 0] = torch.nan
    assert alarms(checked(toy, content(toy, model=state))) == ["QL-C02"]


@pytest.mark.parametrize("spoil", ["missing", "empty", "zero"])
def test_a_resume_that_would_start_the_optimiser_anew(spoil):
    toy = trained()
    state = content(toy)
    if spoil == "missing":
        del state["optimizer"]
    elif spoil == "empty":
        state["optimizer"] = Toy().optimiser.state_dict()
    else:
        state["optimizer"]["state"] = {
            key: {**entry, "step": torch.tensor(0.0)}
            for key, entry in state["optimizer"]["state"].items()
        }
    assert alarms(checked(toy, state, settings={**toy.settings, "resume": True})) == ["QL-C03"]


def test_plain_sgd_has_no_state_and_is_left_alone():
    toy = Toy()
    toy.optimiser = torch.optim.SGD(toy.model.parameters(), lr=0.03)
    assert codes(checked(toy, content(toy))) == []


def test_a_checkpoint_of_weights_alone_is_left_alone():
    toy = trained()
    assert codes(checked(toy, toy.model.state_dict())) == []


def test_a_schedule_that_restarts():
    toy = trained()
    scheduler = torch.optim.lr_scheduler.StepLR(toy.optimiser, 30)
    assert alarms(checked(toy, content(toy), scheduler=scheduler)) == ["QL-C03"]
    kept = {**scheduler.state_dict(), "last_epoch": 1}
    assert alarms(checked(toy, content(toy, scheduler=kept), scheduler=scheduler)) == []


def test_a_live_optimiser_behind_its_history():
    toy = trained(7)
    toy.optimiser = torch.optim.AdamW(toy.model.parameters(), lr=1e-3)
    history = [
        {"kind": "step", "step": step, "epoch": 1, "fused": 2.5 - step / 100}
        for step in range(1, 50)
    ]
    assert alarms(toy.diagnose(history=history, evaluate=None)) == ["QL-C03"]
    toy = trained(7)
    assert alarms(toy.diagnose(history=history, evaluate=None)) == []


def test_classes_in_another_order(make_table):
    toy, table = trained(), make_table()
    names = list(table.class_names)
    assert alarms(diagnose(Subject(table=table, checkpoint=content(toy, class_names=names)))) == []
    assert alarms(
        diagnose(Subject(table=table, checkpoint=content(toy, class_names=names[::-1])))
    ) == ["QL-C04"]
    swapped = {name: index for index, name in enumerate([names[1], names[0], *names[2:]])}
    assert alarms(
        diagnose(Subject(table=table, checkpoint=content(toy, class_to_idx=swapped)))
    ) == ["QL-C04"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "missing"])
def test_a_damaged_file_is_a_finding(tmp_path, damage):
    toy, path = trained(), tmp_path / "latest.pth"
    torch.save(content(toy), path)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        place = data.find(toy.model.body[0].weight.detach().numpy().tobytes()[:64])
        data[place] ^= 0xFF
    damaged = {
        "empty": b"",
        "cut": bytes(data[: len(data) // 2]),
        "flipped": bytes(data),
        "text": b"not a checkpoint",
    }
    path.write_bytes(damaged[damage]) if damage != "missing" else path.unlink()
    diagnosis = checked(toy, path)
    assert alarms(diagnosis) == ["QL-C07"], diagnosis.to_text(facts=False)


def epochs(*values, best):
    return [
        {"kind": "epoch", "epoch": number, "val_macro_f1": value, "best": number <= best}
        for number, value in enumerate(values)
    ]


def test_best_is_the_worst():
    settings = {"monitor": "val_macro_f1"}
    assert alarms(diagnose(Subject(history=epochs(0.3, 0.5, 0.9, best=0), settings=settings))) == [
        "QL-C05"
    ]
    assert alarms(diagnose(Subject(history=epochs(0.3, 0.9, 0.6, best=1), settings=settings))) == []
    assert alarms(diagnose(Subject(settings={"monitor": "val_accuracy", "mode": "min"}))) == [
        "QL-C05"
    ]
    assert alarms(diagnose(Subject(settings={"monitor": "val_loss", "mode": "min"}))) == []


def test_an_epoch_within_a_standard_error_of_the_best_may_be_kept():
    history = [line | {"val_macro_f1_error": 0.1} for line in epochs(0.5, 0.9, 0.85, best=2)]
    settings = {"monitor": "val_macro_f1"}
    assert alarms(diagnose(Subject(history=history, settings=settings))) == []
    narrow = [line | {"val_macro_f1_error": 0.01} for line in history]
    assert alarms(diagnose(Subject(history=narrow, settings=settings))) == ["QL-C05"]


def test_a_run_that_began_again_chooses_anew():
    history = epochs(0.3, 0.5, 0.4, 0.1, 0.2, 0.15, best=4)
    settings = {"monitor": "val_macro_f1"}
    assert alarms(diagnose(Subject(history=history, settings=settings))) == ["QL-C05"]
    for line in history[3:]:
        line["restarts"] = 1
    assert alarms(diagnose(Subject(history=history, settings=settings))) == []
    for line in history[4:]:
        line["best"] = False
    worst = alarms(diagnose(Subject(history=history, settings=settings)))
    assert worst == ["QL-C05"]


def test_best_by_raw_loss_is_a_note():
    diagnosis = diagnose(Subject(settings={"monitor": "val_loss", "temperature": 0.1}))
    assert alarms(diagnosis) == [] and severity(diagnosis, "QL-C06") == "note"


@pytest.mark.parametrize("state", [{}, {"a": 1}, [1, 2], {"model": None, "epoch": "x"}])
def test_a_checkpoint_of_something_else_is_not_run(state):
    diagnosis = Toy().diagnose(checkpoint=state, evaluate=None)
    assert [code for code in alarms(diagnosis) if code != "QL-C07"] == []
    assert any(name.startswith("QL-C01") for name, _ in diagnosis.not_run)


def test_our_own_pipeline_is_silent_before_and_after_training(tmp_path):
    settings = TrainSettings(source="mfeat", outputs=str(tmp_path), epochs=2)
    run = Run.create(settings)
    trainer = Trainer(open_dataset(settings), settings, run, validator=KnnValidator(settings))

    def evaluate():
        return trainer.validator(trainer.model, trainer.dataset)

    before = diagnose(subject_of(trainer, evaluate=evaluate))
    assert [code for code in alarms(before) if code[3] in "POEC"] == [], before.to_text(facts=False)
    trainer.fit()
    during = diagnose(subject_of(trainer, evaluate=evaluate))
    after = diagnose(subject_of_run(restore(run, "latest")))
    for diagnosis in (during, after):
        assert [item.code for item in diagnosis.findings if item.code[3] in "POEC"] == [], (
            diagnosis.to_text(facts=False)
        )

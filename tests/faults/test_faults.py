from __future__ import annotations

import re

import pytest
import torch

from quadlib.config import SettingsError
from quadlib.demo.fault import run_fault
from quadlib.diagnosis import diagnose
from quadlib.diagnosis.finding import STAGES
from quadlib.faults import FAULTS, LOOK_ALIKES
from quadlib.faults.reopen import reopen
from quadlib.faults.small import small_pipeline
from quadlib.runs import Run
from quadlib.training.checkpoint import CheckpointError
from quadlib.training.restore import restore
from quadlib.training.watcher import diagnose_run

NUMBERS = {
    "D": (1, 2, 3, 4, 6),
    "L": (1, 2, 4, 6),
    "S": (1, 2, 3, 4, 5),
    "B": (1, 2, 3, 5, 6, 7),
    "M": (1, 2, 4, 5, 7),
    "N": (1, 2, 3, 4, 5, 6, 7),
    "P": (1, 2, 3, 6, 8, 9),
    "O": (1, 2, 4, 5, 6, 7, 9, 10),
    "E": (1, 2, 3, 5),
    "C": (1, 3),
}
ZOO = [f"{letter}{number}" for letter, numbers in NUMBERS.items() for number in numbers]


def first_alarm(diagnosis):
    return next((root.code for root in diagnosis.roots if root.severity != "note"), "")


def test_every_row_of_the_zoo_has_an_injection_with_its_occurrence():
    assert sorted(FAULTS) == sorted(ZOO) and len(ZOO) == 52
    for name, fault in FAULTS.items():
        assert fault.id == name and fault.stage == STAGES[name[0]]
        assert fault.code == f"QL-{name[0]}{int(name[1:]):02d}"
        assert fault.title and fault.occurrence and fault.when in ("T0", "T1", "Tk", "Te")


def test_look_alikes_are_named_and_described():
    assert len(LOOK_ALIKES) >= 25
    assert all(item.title and re.fullmatch(r"[a-z_]+", name) for name, item in LOOK_ALIKES.items())


# one of each stage; the whole zoo is the benchmark
@pytest.mark.parametrize("name", ["D2", "L6", "M4", "N3", "P6", "C1"])
def test_the_doctor_names_the_fault(digits, name):
    FAULTS[name].inject(digits)
    assert first_alarm(diagnose(digits.subject())) in FAULTS[name].expected()


def test_a_stuck_loss_has_four_roots_told_apart():
    roots = []
    for name in ("S1", "B1", "B5", "O1"):
        pipeline = small_pipeline("mfeat")
        FAULTS[name].inject(pipeline)
        roots.append(first_alarm(diagnose(pipeline.subject())))
    assert roots == ["QL-S01", "QL-B01", "QL-B05", "QL-O01"]


@pytest.mark.parametrize("name", ["frozen_encoder", "imbalance", "two_views_without_labels"])
def test_the_doctor_is_silent_on_what_is_healthy(digits, name):
    LOOK_ALIKES[name].change(digits)
    assert first_alarm(diagnose(digits.subject())) == ""


def test_a_part_cannot_be_changed_after_what_is_made_from_it(digits):
    _ = digits.trainer
    with pytest.raises(RuntimeError, match="change the table before"):
        digits.table = digits.table
    with pytest.raises(RuntimeError, match="change them before"):
        digits.set(batch_size=8)


def test_a_fault_live_says_its_root_and_exits_with_1(tmp_path):
    said: list[str] = []
    state = torch.get_rng_state()
    assert run_fault("S1", source="mfeat", outputs=str(tmp_path), say=said.append) == 1
    assert torch.equal(torch.get_rng_state(), state)
    text = "\n".join(said)
    # named before the first step, and the value that the origin story began with
    assert (
        text.index("error[QL-S01]") < text.index("step    1") and "plateau ln 31 = 3.4340" in text
    )
    assert re.search(r"step +12  loss +3\.434", text)
    (run,) = tmp_path.glob("*fault-S1*")
    assert (run / "diagnosis.json").is_file() and (run / "history.jsonl").is_file()
    # the folder is opened again with the fault: by the notebook, its report, and the command
    page = (run / "reports" / "03_diagnose.html").read_text()
    assert "Broken" in page and "the train split holds one class" in page
    assert "Done: broken" in (tmp_path / "index.html").read_text()
    opened = diagnose_run(reopen(Run.open(run.name, str(tmp_path))))
    assert [root.code for root in opened.roots if root.severity == "error"] == ["QL-S01"]
    with pytest.raises(CheckpointError, match="injected fault S1"):
        restore(Run.open(run.name, str(tmp_path)))


def test_a_fault_around_training_is_examined_without_it(tmp_path):
    said: list[str] = []
    assert run_fault("E1", source="mfeat", outputs=str(tmp_path), say=said.append) == 1
    assert "error[QL-E01]" in "\n".join(said)
    (run,) = tmp_path.glob("*fault-E1*")
    page = (run / "reports" / "03_diagnose.html").read_text()
    assert "QL-E01" in page and not (tmp_path / "data").exists()  # nothing else was opened


def test_an_unknown_fault_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="did you mean S1"):
        run_fault("s1x")

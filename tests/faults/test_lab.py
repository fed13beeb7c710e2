"""The setting `fault` in 01, 02 and the inspector: what is seen is what 03 opens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.config import BatchesSettings, SettingsError, TrainSettings
from quadlib.data.open import open_table
from quadlib.evaluation import KnnValidator
from quadlib.faults.lab import faults_of_batches, keep_fault, make_trainer
from quadlib.faults.reopen import reopen
from quadlib.jupyter.widgets import BatchInspector, plan_batches
from quadlib.reports.execute import check_parameters, find_notebook
from quadlib.runs import Run
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import DoctorWatcher, diagnose_run

VALUES = {"source": "mfeat", "batch_size": 32}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    return BatchesSettings(**VALUES, outputs=str(tmp_path))


def broken(settings, fault, **values):
    return settings.model_copy(update={"fault": fault, **values})


@pytest.mark.parametrize("fault", sorted(faults_of_batches()))
def test_each_fault_of_the_batches_is_planned_without_a_file(settings, fault):
    table = open_table(settings)
    inspector = BatchInspector(table, broken(settings, fault))
    assert inspector.controls["fault"].value == fault
    rows = np.concatenate([inspector.train_rows[batch] for batch in inspector.plan.batches])
    assert set(inspector.table.frame["split"].iloc[rows]) == {"train"}
    changed = not inspector.table.frame.equals(table.frame)
    healthy = plan_batches(table, settings)
    dealt = [batch.tolist() for batch in inspector.plan.batches]
    assert changed or dealt != [batch.tolist() for batch in healthy.batches]


def test_the_inspector_breaks_and_heals(settings):
    inspector = BatchInspector(open_table(settings), settings)
    assert inspector.widget and "fine" in inspector.status.value
    inspector.controls["fault"].value = "S1"
    assert "hold one class" in inspector.status.value
    assert (
        len(inspector.selection.rows) and len(set(inspector.table.codes[inspector.train_rows])) == 1
    )
    inspector.controls["fault"].value = ""
    assert "fine" in inspector.status.value


def test_what_01_saw_is_what_03_opens(settings):
    chosen = broken(settings, "S1", run="seen")
    inspector = BatchInspector(open_table(chosen), chosen)
    keep_fault(chosen, inspector.table)
    run = Run.open("seen", settings.outputs)
    saved = pd.read_csv(run.path("table.csv"), dtype=str)
    restored = reopen(run)
    frame = restored.dataset.table.frame
    assert saved["split"].fillna("").tolist() == frame["split"].tolist()
    alarms = [root.code for root in diagnose_run(restored).roots if root.severity != "note"]
    assert alarms == ["QL-S01"]
    keep_fault(settings, inspector.table)  # without a fault no run is made
    assert [path.name for path in run.folder.parent.glob("*/run.json")] == ["run.json"]


def test_a_faulty_run_is_trained_named_and_opened_again(settings, caplog):
    caplog.set_level("INFO", "quadlib")
    chosen = TrainSettings(**VALUES, fault="B1", epochs=1, outputs=settings.outputs, run="b")
    run, doctor = Run.create(chosen), DoctorWatcher()
    trainer = make_trainer(
        open_dataset(chosen), chosen, run, validator=KnnValidator(chosen), watcher=[doctor]
    )
    trainer.fit()
    assert run.record["fault"] == run.record["settings"]["fault"] == "B1"
    assert "fault B1 is injected: the sampler gives one class a batch" in caplog.text
    assert "QL-B01" in [root.code for root in doctor.diagnosis.roots]
    assert "val_macro_f1" in trainer.history[-1]
    assert "QL-B01" in [root.code for root in diagnose_run(reopen(run)).roots]


def test_without_a_fault_it_is_the_usual_trainer(settings):
    chosen = TrainSettings(**VALUES, outputs=settings.outputs, run="h")
    trainer = make_trainer(open_dataset(chosen), chosen, Run.create(chosen))
    assert type(trainer) is Trainer and "fault" not in trainer.run.record


def test_what_cannot_be_injected_is_refused(settings):
    chosen = TrainSettings(**VALUES, fault="E1", outputs=settings.outputs, run="e")
    dataset, run = open_dataset(chosen), Run.create(chosen)
    with pytest.raises(SettingsError, match="quadlib demo --outputs .* --fault E1"):
        make_trainer(dataset, chosen, run)
    with pytest.raises(SettingsError, match="make it by quadlib.faults.lab.make_trainer"):
        Trainer(dataset, broken(chosen, "S1"), Run.create(broken(chosen, "S1", run="x")))
    with pytest.raises(SettingsError, match="(?s)epochs: 'no'.*fault: 's11' .* did you mean S1"):
        check_parameters(find_notebook("02_train"), {"fault": "s11", "epochs": "no"})

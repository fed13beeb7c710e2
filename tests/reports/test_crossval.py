"""quadlib crossval: what is run, kept, gone on with and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quadlib.config import SettingsError, TrainSettings
from quadlib.data.open import open_table
from quadlib.files import read_record, write_record
from quadlib.reports import crossval, point
from quadlib.reports.crossval import cross_validate
from quadlib.reports.execute import Outcome
from quadlib.runs import Run, RunError, list_runs


class Runner:
    """Stands in for the notebooks: notes what is run, and fails where it is told to."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.given: dict[str, dict[str, Any]] = {}
        self.fails: tuple[str, str] | None = None

    def execute(self, notebook: Path, run: Run, parameters: dict[str, Any], **how: Any) -> Outcome:
        stage = notebook.stem
        self.ran.append((run.name, stage))
        self.given[run.name] = self.given.get(run.name, {}) | parameters
        status = "failed" if (run.name, stage) == self.fails else "done"
        error = {"type": "ValueError", "message": "no"} if status == "failed" else None
        notebooks = run.record["notebooks"] | {stage: {"status": status}}
        run.update(status=status, error=error, notebooks=notebooks)
        kind = {"04_evaluate": "evaluation", "06_crossval": "crossval"}.get(stage)
        if kind and not error:
            write_record(run.path(f"{kind}.json"), kind, {"headline": f"macro-F1 of {run.name}"})
        return Outcome(status, run.path("notebooks", f"{stage}.ipynb"), 1.0, error)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    stands_in = Runner()
    for module in (crossval, point):
        monkeypatch.setattr(module, "execute_notebook", stands_in.execute)
        monkeypatch.setattr(
            module, "render_outcome", lambda outcome, notebook, run: outcome.notebook_path
        )
    return stands_in


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    return {"source": "mfeat", "run": "cv", "outputs": str(tmp_path), "seed": 3, "epochs": "2"}


def test_every_fold_of_every_seed_is_a_run(runner: Runner, values: dict[str, Any]) -> None:
    said: list[str] = []
    assert cross_validate(values, 2, 2, say=said.append) == 0
    cells = [f"cv-s{seed}-f{fold}" for seed in (3, 4) for fold in (1, 2)]
    stages = ("02_train", "04_evaluate")
    assert runner.ran == [
        *((name, stage) for name in cells for stage in stages),
        ("cv", "06_crossval"),
    ]
    assert runner.given["cv-s4-f2"]["fold"] == "2/2" and runner.given["cv-s4-f2"]["seed"] == 4
    assert runner.given["cv-s4-f2"]["data_seed"] == 3 and runner.given["cv-s4-f2"]["epochs"] == 2
    assert [run.name for run in list_runs(values["outputs"])] == ["cv"]  # the folds are its own
    record = Run.open("cv", values["outputs"]).record
    assert [item["run"] for item in record["crossval"]["parts"]] == cells
    assert said[-2] == "macro-F1 of cv" and "seed 3 fold 1/2  macro-F1 of cv-s3-f1" in said[1]


def test_the_folds_of_a_seed_test_every_recording_once(values: dict[str, Any]) -> None:
    settings = crossval._checked(values, 2, 1)
    tested = [
        open_table(crossval._settings_of(settings, 3, fold, 2)).rows("test").tolist()
        for fold in (1, 2)
    ]
    assert sorted(tested[0] + tested[1]) == list(range(2000))


def test_it_goes_on_where_it_stopped(runner: Runner, values: dict[str, Any]) -> None:
    runner.fails = ("cv-s3-f2", "04_evaluate")
    said: list[str] = []
    assert cross_validate(values, 2, say=said.append) == 1
    assert "cv-s3-f2: ValueError: no" in said
    assert not Run.open("cv", values["outputs"]).path("crossval.json").exists()
    runner.ran, runner.fails = [], None
    assert cross_validate(values, 2, say=said.append) == 0
    assert runner.ran == [("cv-s3-f2", "04_evaluate"), ("cv", "06_crossval")]
    assert any(line.startswith("seed 3 fold 1/2") and line.endswith("kept") for line in said)
    runner.ran = []
    assert cross_validate(values, 2, 2, say=said.append) == 0  # a further seed is added
    assert {name for name, _ in runner.ran} == {"cv-s4-f1", "cv-s4-f2", "cv"}
    runner.ran = []
    assert cross_validate(values, 2, 1, say=said.append) == 0  # and stays
    assert runner.ran == [("cv", "06_crossval")]
    assert cross_validate(values | {"num_workers": "1"}, 2, say=said.append) == 0
    runner.ran = runner.ran[:1]
    run = Run.open("cv", values["outputs"])  # of a version that did not know a setting yet
    older = {name: value for name, value in run.record["settings"].items() if name != "fault"}
    run.update(settings=older)
    place = {name: values[name] for name in ("run", "outputs")}
    assert cross_validate(place, say=said.append) == 0  # its name alone is enough
    assert runner.ran == [("cv", "06_crossval")] * 2
    parts = Run.open("cv", values["outputs"]).record["crossval"]["parts"]
    assert len(parts) == 4


def test_without_a_name_the_same_settings_are_the_same_run(
    runner: Runner, values: dict[str, Any]
) -> None:
    del values["run"]
    for epochs in ("2", "2", "3"):
        cross_validate(values | {"epochs": epochs}, 2, say=lambda line: None)
    names = [run.name for run in list_runs(values["outputs"])]
    assert len(names) == 2 and all(name.startswith("crossval-mfeat-") for name in names)


def test_what_is_wrong_is_refused_before_anything_runs(
    runner: Runner, values: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError) as wrong:
        cross_validate(values | {"fold": "1/2", "split": "grouped"}, 1, -1)
    for words in ("fold: crossval sets it itself", "split: crossval", "folds: 1", "seeds: -1"):
        assert words in str(wrong.value)
    with pytest.raises(SettingsError, match="did you mean epochs"):
        cross_validate(values | {"epoch": "2"})
    with pytest.raises(ValueError, match="and 5 more; take 200 folds$"):
        cross_validate(values | {"run": "many"}, 500)
    assert list_runs(values["outputs"]) == []
    Run.create(TrainSettings(run="taken", outputs=values["outputs"])).update(settings={"a": 1})
    with pytest.raises(RunError, match="taken is there and is no cross-validation"):
        cross_validate(values | {"run": "taken"}, 2)
    assert runner.ran == []
    cross_validate(values, 2, say=lambda line: None)
    with pytest.raises(RunError, match=r"other settings \(folds 2 -> 3\)"):
        cross_validate(values, 3)
    with pytest.raises(RunError, match=r"other settings \(epochs 2 -> 4\)"):
        cross_validate(values | {"epochs": "4"}, 2)
    assert read_record(Run.open("cv", values["outputs"]).path("crossval.json"), "crossval")

"""quadlib sweep: what is run, skipped, gone on with and told, with stand-ins for the notebooks."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from quadlib.config import SettingsError
from quadlib.files import write_record
from quadlib.reports import point
from quadlib.reports.execute import Outcome
from quadlib.runs import Run, RunError, lines_text, list_runs
from quadlib.sweep import run as sweeps
from quadlib.sweep import sweep

GRID = """
[fixed]
source = "mfeat"
epochs = 2
[grid]
seed = [0, 1]
temperature = [0.1, 0.2, 0.3]
"""


class Notebooks:
    """Stands in for the notebooks: notes what is run, and ends some as it is told, once each."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.given: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, list[str]] = {}

    def execute(self, notebook: Path, run: Run, parameters: dict[str, Any], **how: Any) -> Outcome:
        stage = notebook.stem
        self.ran.append((run.name, stage))
        self.given[run.name] = dict(parameters)
        ends = self.ends.get(run.name, [])
        status = ends.pop(0) if ends else "done"
        error = {"type": "Oops", "message": f"it {status}"} if status != "done" else None
        notebooks = run.record["notebooks"] | {stage: {"status": status, "seconds": 1.5}}
        run.update(status=status, error=error, notebooks=notebooks)
        if stage == "02_train" and not error:
            score = 0.5 + parameters.get("temperature", 0.1) / 10
            history = [{"kind": "epoch", "epoch": 1, "best": True, "val_macro_f1": score}]
            run.path("history.jsonl").write_text(lines_text(history))
        if stage == "04_evaluate" and not error:
            scores = {"macro_f1": {"value": 0.75}}
            write_record(run.path("evaluation.json"), "evaluation", {"scores": scores})
        return Outcome(status, run.path("notebooks", f"{stage}.ipynb"), 1.5, error)


@pytest.fixture
def notebooks(monkeypatch: pytest.MonkeyPatch) -> Notebooks:
    stands_in = Notebooks()
    for module in (point, sweeps):
        monkeypatch.setattr(module, "execute_notebook", stands_in.execute)
        monkeypatch.setattr(
            module, "render_outcome", lambda outcome, notebook, run: outcome.notebook_path
        )
    monkeypatch.setattr(sweeps, "compare", lambda runs: None)
    return stands_in


def swept(folder: Path, text: str = GRID, **options: Any) -> tuple[int, list[str]]:
    (folder / "grid.toml").write_text(text)
    said: list[str] = []
    place = {"outputs": str(folder / "outputs"), "say": said.append, "workers": 2}
    return sweep(folder / "grid.toml", **{**place, **options}), said


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "outputs" / "grid" / "points.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_failing_and_a_killed_point_stop_no_other(notebooks: Notebooks, tmp_path: Path) -> None:
    notebooks.ends = {"grid-002": ["failed"], "grid-004": ["killed"], "grid-005": ["killed"] * 2}
    code, said = swept(tmp_path)
    assert code == 1
    rows = table(tmp_path)
    assert [(row["status"], row["starts"], row["cause"]) for row in rows] == [
        ("done", "1", ""),
        ("failed", "1", "Oops: it failed"),
        ("done", "1", ""),
        ("done", "2", ""),  # killed once, and gone on with
        ("killed", "2", "Oops: it killed"),
        ("done", "1", ""),
    ]
    assert [(row["seed"], row["temperature"]) for row in rows] == [
        (seed, temperature) for seed in "01" for temperature in ("0.1", "0.2", "0.3")
    ]
    assert rows[2]["val_macro_f1"] == "0.5300" and rows[2]["test_macro_f1"] == "0.7500"
    assert rows[1]["val_macro_f1"] == ""
    assert any(line.startswith("6/6  ") and line.endswith("~0 s left") for line in said)
    assert said[-1].startswith("2 of 6 points are not done; points.csv says why.")
    assert notebooks.ran[-1] == ("grid", "05_compare")
    assert sorted(notebooks.given["grid"]["runs"]) == [
        str(tmp_path / "outputs" / f"grid-00{number}") for number in (1, 3, 4, 6)
    ]
    assert [run.name for run in list_runs(str(tmp_path / "outputs"))] == ["grid"]
    sweep_run = Run.open("grid", str(tmp_path / "outputs"))
    assert sweep_run.record["status"] == "failed"
    page = sweep_run.path("reports", "points.html").read_text()
    assert "4 of 6 points are done." in page and page.count("<td>Oops: it failed</td>") == 1


def test_where_nothing_stands_nothing_is_compared(notebooks: Notebooks, tmp_path: Path) -> None:
    notebooks.ends = {f"grid-00{number}": ["failed"] for number in range(1, 7)}
    code, said = swept(tmp_path)
    assert code == 1 and "no comparison: none of the points is done" in said
    assert Run.open("grid", str(tmp_path / "outputs")).record["status"] == "failed"


def test_the_same_command_goes_on(notebooks: Notebooks, tmp_path: Path) -> None:
    notebooks.ends = {"grid-003": ["done", "failed"]}  # trained, and its evaluation failed
    assert swept(tmp_path)[0] == 1
    notebooks.ran = []
    code, said = swept(tmp_path)
    assert code == 0 and "5 done before" in said[0]
    assert notebooks.ran == [("grid-003", "04_evaluate"), ("grid", "05_compare")]
    notebooks.ran = []  # a further seed: numbers stay, what does not change a result is free
    text = GRID.replace("[0, 1]", "[2, 0, 1]").replace("epochs = 2", "epochs = 2\nnum_workers = 1")
    assert swept(tmp_path, text)[0] == 0
    trained = {name for name, stage in notebooks.ran if stage == "02_train"}
    assert trained == {"grid-007", "grid-008", "grid-009"}
    assert [row["point"] for row in table(tmp_path)] == list("789123456")


def test_other_settings_are_other_points(notebooks: Notebooks, tmp_path: Path) -> None:
    assert swept(tmp_path)[0] == 0
    assert swept(tmp_path, GRID.replace("epochs = 2", "epochs = 3"))[0] == 0
    assert [row["run"] for row in table(tmp_path)] == [f"grid-{n:03d}" for n in range(7, 13)]


def test_a_name_that_is_taken_is_refused(notebooks: Notebooks, tmp_path: Path) -> None:
    assert swept(tmp_path)[0] == 0
    with pytest.raises(RunError, match="grid-001 is there and is no sweep"):
        swept(tmp_path, name="grid-001")
    with Run.open("grid", str(tmp_path / "outputs")).hold(), pytest.raises(RunError, match="grid"):
        swept(tmp_path)


SEARCH = """
[fixed]
source = "mfeat"
[search]
trials = 4
temperature = {low = 0.05, high = 0.5, log = true}
"""


def test_a_search_asks_trial_by_trial_and_tests_the_best_alone(
    notebooks: Notebooks, tmp_path: Path
) -> None:
    assert swept(tmp_path, SEARCH, workers=1)[0] == 0
    rows = table(tmp_path)
    best = max(rows, key=lambda row: float(row["val_macro_f1"]))
    tested = [name for name, stage in notebooks.ran if stage == "04_evaluate"]
    assert tested == [best["run"]] and [row["starts"] for row in rows] == ["1"] * 4
    assert [row["run"] for row in rows if row["test_macro_f1"]] == tested
    assert len({row["temperature"] for row in rows}) == 4
    other = tmp_path / "interrupted"
    other.mkdir()
    notebooks.ends = {"grid-003": ["killed", "killed"]}
    assert swept(other, SEARCH.replace("trials = 4", "trials = 3"), workers=1)[0] == 1
    assert swept(other, SEARCH, workers=1)[0] == 0  # the third is tried again, a fourth is added
    assert [row["temperature"] for row in table(other)] == [row["temperature"] for row in rows]
    with pytest.raises(SettingsError, match=r"\[search\] temperature"):
        swept(other, SEARCH.replace("0.5", "0.6"))

"""Runs against each other: what is ranked, what is refused, and over which recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadlib.config import EvaluateSettings, TrainSettings, read_settings
from quadlib.data.samples import SampleTable
from quadlib.evaluation.compare import compare
from quadlib.evaluation.embed import EmbeddingSet
from quadlib.evaluation.evaluate import evaluate_embeddings
from quadlib.figures.compare import (
    curves,
    differences,
    differing_settings,
    judge_compare,
    paper_table,
    write_paper,
)
from quadlib.files import FileError
from quadlib.runs import Run, RunError
from tests.evaluation.conftest import build_table

SETTINGS = read_settings(EvaluateSettings, {"resamples": 0})
Make = Callable[..., Run]


@pytest.fixture(scope="module")
def table() -> SampleTable:
    """540 recordings of 54 sessions, 180 of them tested."""
    return build_table(sessions_per_class=18, per_session=10)


@pytest.fixture
def make_run(table: SampleTable, tmp_path: Path) -> Make:
    """A run whose embeddings are wrong about this share of the recordings."""

    def make(name: str, wrong: float, luck: int = 0, rows: slice = slice(None), **set: Any) -> Run:
        random = np.random.default_rng(luck)
        run = Run.create(TrainSettings(run=name, outputs=str(tmp_path)))
        run.update(settings=read_settings(TrainSettings, set).model_dump())

        def embedded(rows: np.ndarray, wrong: float) -> EmbeddingSet:
            codes = table.codes[rows]
            place = np.where(random.random(len(rows)) < wrong, (codes + 1) % 3, codes)
            fused = np.eye(4, dtype=np.float32)[place]
            fused[:, 3] = random.normal(0, 0.1, len(rows))
            fused /= np.linalg.norm(fused, axis=1, keepdims=True)
            ones = np.ones((len(rows), 3))
            by_modality = np.repeat(fused[:, None], 3, axis=1)
            return EmbeddingSet(fused, by_modality, ones / 3, ones > 0, codes, rows)

        gallery = embedded(table.rows("train")[::4], 0.0)
        queries = embedded(table.rows("test")[rows], wrong)
        evaluate_embeddings(gallery, queries, table, SETTINGS, run=name).write(run.folder)
        return run

    return make


def test_two_runs_that_differ_are_ranked(make_run: Make) -> None:
    weak, strong = make_run("weak", 0.4, epochs=2), make_run("strong", 0.05, epochs=9)
    result = compare([weak, strong])
    assert [item.name for item in result.variants] == ["strong", "weak"]
    [difference] = result.differences
    assert difference.ranked and difference.recordings == 180 and difference.sessions == 18
    assert str(difference).startswith("strong is better than weak by 3")
    assert str(difference).endswith("over 180 recordings of 18 sessions")
    assert judge_compare(result).level == "fine" and result.differing == {"epochs": [9, 2]}
    older = {name: value for name, value in weak.record["settings"].items() if name != "refit"}
    weak.update(settings=older)  # of a version that did not know a setting yet
    assert compare([weak, strong]).differing == {"epochs": [9, 2]}
    assert "One seed each" in result.notes[0]
    table = differing_settings(result)
    assert table.columns.tolist() == ["strong", "weak"] and table.loc["epochs", "weak"] == "2"


def test_two_runs_that_do_not_differ_are_not_ranked(make_run: Make) -> None:
    one, other = (make_run(f"r{luck}", 0.2, luck, epochs=luck + 1) for luck in (1, 2))
    result = compare([one, other])
    assert not result.differences[0].ranked
    assert "cannot be ranked" in str(result.differences[0])
    assert judge_compare(result).level == "needs attention"
    assert "**" not in paper_table(result) and "textbf" not in paper_table(result, "latex")


def test_seeds_of_one_setting_are_one_variant(make_run: Make) -> None:
    runs = [
        make_run(f"e{epochs}s{seed}", wrong, seed, epochs=epochs, seed=seed)
        for epochs, wrong in ((2, 0.3), (9, 0.1))
        for seed in (0, 1, 2)
    ]
    result = compare(runs)
    assert [item.name for item in result.variants] == ["epochs=9", "epochs=2"]
    [difference] = result.differences
    assert difference.seeds == 3 and difference.ranked
    assert str(difference).startswith("epochs=9 is better than epochs=2 by 2")
    assert str(difference).endswith("of 18 sessions and 3 seeds") and result.notes == []


def test_several_seeds_that_are_others_are_not_paired(make_run: Make) -> None:
    """One seed each may differ, since each setting then is one run; of several, pairs are asked."""
    runs = [
        make_run(f"e{epochs}s{seed}", 0.1, seed, epochs=epochs, seed=seed)
        for epochs, seeds in ((2, (0, 1)), (9, (2, 3)))
        for seed in seeds
    ]
    [difference] = compare(runs).differences
    assert "no recording was evaluated by both with one seed" in str(difference)
    assert compare([runs[0], runs[2]]).differences[0].recordings == 180


def test_only_recordings_of_both_count(make_run: Make) -> None:
    whole = make_run("whole", 0.1, epochs=2)
    part = make_run("part", 0.1, rows=slice(0, 90), epochs=3)
    rest = make_run("rest", 0.1, rows=slice(90, None), epochs=4)
    result = compare([whole, part, rest])
    by_pair = {frozenset((item.first, item.second)): item for item in result.differences}
    assert by_pair[frozenset(("whole", "part"))].recordings == 90
    apart = by_pair[frozenset(("part", "rest"))]
    assert "no recording was evaluated by both" in str(apart) and not apart.ranked
    assert compare([part, rest]).notes == []
    assert any("98.3 %" in note for note in result.notes)


def test_what_cannot_be_compared_is_refused(make_run: Make, tmp_path: Path) -> None:
    run = make_run("one", 0.1)
    for too_few in ([], [run], [run, run]):
        with pytest.raises(RunError, match="two runs or more that differ"):
            compare(too_few)
    with pytest.raises(RunError, match="two runs or more that differ"):
        compare([run, make_run("other seed", 0.1, seed=1)])
    with pytest.raises(FileError, match="evaluate the run first"):
        compare([run, Run.create(TrainSettings(run="empty", outputs=str(tmp_path)))])


def test_a_table_for_a_paper(make_run: Make, tmp_path: Path) -> None:
    result = compare([make_run("a_b", 0.5, epochs=2), make_run("c%d", 0.0, epochs=3)])
    markdown, latex = paper_table(result), paper_table(result, "latex")
    lines = markdown.splitlines()
    assert markdown.count("**") == latex.count("textbf") + 1 == 2  # the measure that was ranked
    assert lines[0] == "| Model | Seeds | Recordings | macro-F1 | accuracy |"
    assert lines[2].startswith("| c%d | 1 | 180 | **1.000** [1.000, 1.000] |")
    assert r"c\%d & 1 & 180 & \textbf{1.000}" in latex and r"a\_b & 1" in latex
    assert latex.startswith("\\begin{tabular}{lrrll}\n\\toprule")
    assert write_paper(result, tmp_path) == f"{markdown}\n{latex}"
    assert (tmp_path / "scores.tex").read_text() == latex


def test_figures_state_the_finding(make_run: Make) -> None:
    runs = [make_run(f"r{epochs}", 0.1 * epochs, epochs=epochs) for epochs in (1, 4)]
    for run in runs:
        lines = [
            f'{{"kind": "epoch", "epoch": {e}, "progress": {0.3 * e}, "val_macro_f1": 0.5}}\n'
            for e in (1, 2)
        ]
        run.path("history.jsonl").write_text("".join(lines))
    result = compare(runs)
    assert differences(result).layout.meta["caption"] == "Every interval leaves out 0."
    progress = curves(result)
    assert len(progress.data) == 2 and progress.layout.meta["caption"] == (
        "At the end: r1 60.0, r4 60.0."
    )

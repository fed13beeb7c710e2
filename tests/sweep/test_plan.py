"""A sweep's file: its points, and all that is wrong with it at once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from quadlib.config import SettingsError
from quadlib.data.open import open_table
from quadlib.sweep import read_plan


def written(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def features(folder: Path) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(folder / "a.npz", y=np.arange(40) % 2, x=values)


def test_every_value_is_run_with_every_other(tmp_path: Path) -> None:
    text = """
        [fixed]
        source = "mfeat"
        epochs = 2
        [grid]
        seed = [4, 5]
        modalities = [["fou"], ["mor", "zer"]]
        temperature = [0.1, 0.2]
        [limits]
        memory_gib = 2.5
        threads = 1
    """
    plan = read_plan(written(tmp_path, text))
    assert len(plan.points) == 8
    assert plan.points[1] == {"seed": 4, "modalities": ["fou"], "temperature": 0.2}
    settings = plan.settings(plan.points[-1])
    assert (settings.seed, settings.epochs, settings.temperature) == (5, 2, 0.2)
    assert settings.modalities == ["mor", "zer"]
    assert settings.data_seed == 4  # every seed trains on the same recordings
    assert settings.division_seed == 4  # in the same split
    assert (plan.limits.memory_gib, plan.limits.threads, plan.limits.retries) == (2.5, 1, 1)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    text = """
        notbook = "02_train"
        [fixed]
        source = "mfeat"
        epoch = 2
        run = "x"
        patience = 3
        [grid]
        seed = [0, -1]
        temperature = [0.1, 0.0]
        batch_size = 32
        patience = [3, 3]
        [limits]
        memory_gb = 2
        threads = -1
    """
    with pytest.raises(SettingsError) as wrong:
        read_plan(written(tmp_path, text))
    for words in (
        "notbook: no such setting; did you mean notebook?",
        "limits.memory_gb: no such setting; did you mean memory_gib?",
        "limits.threads: -1 does not fit",
        "epoch: no such setting; did you mean epochs?",
        "run: a sweep sets it itself",
        "batch_size: 32 in [grid] is no list of values; write batch_size = [32]",
        "patience: [3, 3] in [grid] holds a value twice",
        "patience: it stands in [fixed] and [grid]",
        "temperature: 0.0 does not fit",
        "seed: -1 does not fit",
    ):
        assert words in str(wrong.value), words
    assert len(wrong.value.problems) == 10
    assert "4 of 8 points, seed=-1" in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[grid]\nseed = [0", "is not TOML"),
        ('[fixed]\nsource = "mfeat"', "grid: it is missing"),
        ("[grid]\nseed = []", r"write seed = \[\.\.\.\]"),
        ('notebook = "04_evaluate"\n[grid]\nseed = [0]', "'04_evaluate' does not train"),
        ('notebook = "02_trian"\n[grid]\nseed = [0]', "no '02_trian'; known are"),
        ("[grid]\nseed = [0]\n[search]\ntemperature = [0.1]", "a sweep has one of both"),
        ('[grid]\nmodalities = [["mop"]]\n[fixed]\nsource = "mfeat"', "did you mean 'mor'"),
        (
            "[grid]\nnum_workers = [0, 1]",
            "num_workers=1: it gives the same result",
        ),
        ("[search]\ntemperature = {low = 0.1}", "low and high, or choices, were expected"),
        ("[search]\ntemperature = {low = 0.2, high = 0.1}", "low 0.2 is not below high 0.1"),
        ("[search]\ntemperature = {low = -1.0, high = 0.1}", "temperature: -1.0 does not fit"),
        ("[search]\ntemperature = 0.1\ntrials = 0", "is no range"),
        ("[search]\ntrials = 5", "no setting to look for"),
        (
            "[grid]\n"
            + "\n".join(
                f"{n} = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]"
                for n in ("seed", "epochs", "patience", "neighbours")
            ),
            "it has 14,641 points",
        ),
    ],
)
def test_what_is_wrong_is_said_with_a_way_out(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_plan(written(tmp_path, text))


def test_recordings_and_batches_are_asked_beside_wrong_settings(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", y=np.arange(40) % 2, x=np.random.default_rng(0).normal(size=(40, 3))
    )
    text = """
        notebook = "02_trian"
        [fixed]
        source = "table"
        epochs = "two"
        path = "{path}"
        [grid]
        batch_size = [2, 8]
    """
    with pytest.raises(SettingsError) as wrong:
        read_plan(written(tmp_path, text.format(path=tmp_path / "a.npz")))
    assert len(wrong.value.problems) == 3
    assert "batch_size=2: min_classes=2 times min_per_class=2 is 4" in str(wrong.value)
    with pytest.raises(SettingsError) as wrong:
        read_plan(written(tmp_path, text.format(path=tmp_path / "b.npz")))
    assert len(wrong.value.problems) == 3
    assert "did you mean path=" in str(wrong.value)


def test_seeds_of_a_grid_share_a_split_that_is_made(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", y=np.arange(40) % 2, x=np.random.default_rng(0).normal(size=(40, 3))
    )
    text = f"""
        [fixed]
        source = "table"
        path = "{tmp_path / "a.npz"}"
        batch_size = 8
        [grid]
        seed = [0, 1]
    """
    plan = read_plan(written(tmp_path, text))
    first, second = (open_table(plan.settings(point)) for point in plan.points)
    assert first.fingerprint == second.fingerprint
    other = plan.settings(plan.points[1]).model_copy(update={"split_seed": -1})
    assert open_table(other).fingerprint != first.fingerprint


def test_the_files_of_the_page_are_plans(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "quadlib" / "sweep" / "README.md").read_text()
    grid, search = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert len(read_plan(written(tmp_path, grid)).points) == 6
    assert read_plan(written(tmp_path, search)).trials == 20


def test_the_ends_of_a_search_are_checked(tmp_path: Path) -> None:
    text = """
        [fixed]
        source = "mfeat"
        [search]
        trials = 7
        learning_rate = {low = 1e-4, high = 1e-2, log = true}
        balance = ["natural", "equal"]
    """
    plan = read_plan(written(tmp_path, text))
    assert plan.is_search and plan.trials == 7
    assert plan.points[-1] == {"balance": "equal"} and len(plan.points) == 4

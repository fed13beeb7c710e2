"""A run's settings are read back from run.json, and what is given again must agree."""

from __future__ import annotations

import pytest

from quadlib.config import EvaluateSettings, SettingsError, TrainSettings
from quadlib.jupyter.cells import settings_from
from quadlib.runs import Run
from quadlib.runs.commands import check_command, notebook_command
from quadlib.runs.memory import going_on, recall


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run that was trained on the digits in batches of 16."""
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    run = Run.create(TrainSettings(run="first", outputs=str(tmp_path / "outputs")))
    settings = TrainSettings(source="mfeat", batch_size=16, resume="never")
    run.update(settings=settings.model_dump())
    run.checkpoints.mkdir()
    (run.checkpoints / "latest_model.pth").touch()
    return run


def named(run, **values):
    return {"run": "first", "outputs": str(run.folder.parent)} | values


def test_the_name_alone_goes_on(run):
    settings = recall(TrainSettings, named(run))
    assert (settings.source, settings.batch_size, settings.resume) == ("mfeat", 16, "auto")
    assert going_on(settings) == "run first goes on with source=mfeat, batch_size=16"


def test_the_folder_does_from_everywhere(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (str(run.folder), "outputs/first", "./outputs/first/"):
        settings = recall(TrainSettings, {"run": folder})
        assert (settings.run, settings.outputs) == ("first", str(run.folder.parent))
        assert settings.batch_size == 16
    with pytest.raises(SettingsError, match="does not lie in outputs .*; leave outputs out"):
        recall(TrainSettings, {"run": str(run.folder), "outputs": "elsewhere"})


def test_a_setting_given_again_must_agree(run):
    assert recall(TrainSettings, named(run, batch_size="16", device="cpu")).device == "cpu"
    with pytest.raises(SettingsError) as caught:
        recall(TrainSettings, named(run, batch_size="32", epochs=3, debug=True))
    assert str(caught.value) == (
        "run first goes on with what it was started with, from which 2 given settings differ:\n"
        "  batch_size: 16 in run.json, 32 given\n"
        "  epochs: 24 in run.json, 3 given\n"
        "Leave them out to go on, name another run, or train this one anew with resume=never."
    )
    assert recall(TrainSettings, named(run, epochs=3, resume="never")).batch_size == 16


def test_before_the_first_checkpoint_everything_may_change(run):
    (run.checkpoints / "latest_model.pth").unlink()
    assert recall(TrainSettings, named(run, batch_size=32)).batch_size == 32


def test_what_a_notebook_was_given_counts_before_training(run):
    run.update(settings={}, notebooks={"01_batches": {"parameters": {"batch_size": 8}}})
    assert recall(TrainSettings, named(run)).batch_size == 8


def test_later_notebooks_take_their_own_settings(run):
    run.update(notebooks={"04_evaluate": {"parameters": {"eval_split": "val"}}})
    assert recall(EvaluateSettings, named(run)).eval_split == "test"


def test_wrong_values_are_listed_together(run):
    with pytest.raises(SettingsError, match="(?s)epochs: 'many'.*did you mean batch_size"):
        recall(TrainSettings, named(run, batch_sise=3, epochs="many"))


def test_in_a_notebook_what_differs_from_the_default_counts_as_given(run):
    cell = TrainSettings(**named(run)).model_dump()
    assert settings_from(TrainSettings, cell).batch_size == 16
    with pytest.raises(SettingsError, match="batch_size: 16 in run.json, 64 given"):
        settings_from(TrainSettings, cell | {"batch_size": 64})


def test_a_moved_run_knows_its_place(run, tmp_path):
    run.folder.rename(tmp_path / "second")
    moved = Run.open(str(tmp_path / "second")).settings(TrainSettings)
    assert (moved.run, moved.outputs, moved.batch_size) == ("second", str(tmp_path), 16)


def test_commands_survive_a_shell(tmp_path):
    run = Run(tmp_path / "it's a run")
    assert notebook_command("03_diagnose", run).endswith("""it'"'"'s a run'""")
    assert check_command({"modalities": ["a b"]}) == (
        """quadlib data check -p 'modalities=["a b"]'"""
    )

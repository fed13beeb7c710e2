"""A preset is read as it is meant, or refused with file, name and line."""

from __future__ import annotations

import pytest

from quadlib.config import (
    BatchesSettings,
    SettingsError,
    TrainSettings,
    read_options,
    read_preset,
    read_settings,
)


def test_values_are_what_they_look_like(tmp_path):
    path = tmp_path / "laptop.toml"
    path.write_text(
        '# a small run\nlearning_rate = 1e-3\nepochs = 12\nrun = "007"\naugment = false\n'
        "modalities = [\"video\", 'audio']\n"
    )
    assert read_preset(TrainSettings, path) == {
        "learning_rate": 0.001,
        "epochs": 12,
        "run": "007",
        "augment": False,
        "modalities": ["video", "audio"],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "epoch = 1\nbatch_size = true\nseed = {a = 1}\nrare = 'maybe'",
            [
                "4 settings are wrong",
                "epoch: no such setting; did you mean epochs?",
                "batch_size: True does not fit",
                "seed: {'a': 1} does not fit",
                "rare: 'maybe' does not fit",
            ],
        ),
        ("[training]\nepochs = 1", ["training: no such setting"]),
        ("modalities = ['video', ['audio']]", ["modalities: ['audio'] does not fit"]),
        ("fractions = 2026-01-01", ["fractions: datetime.date(2026, 1, 1) does not fit"]),
        ("learning_rate = nan", ["learning_rate: nan does not fit"]),
        ("epochs = 1\nepochs = 2\nseed = 0", ["is not TOML", "line 2"]),
        ("epochs: 12", ["is not TOML", "line 1", "such as batch_size = 16"]),
        ("epochs = 012", ["is not TOML", "line 1"]),
        ("modalities = " + "[" * 20_000, ["is not TOML"]),
    ],
)
def test_what_is_not_a_preset_is_refused(tmp_path, text, words):
    path = tmp_path / "small.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_preset(TrainSettings, path)
    assert all(word in str(caught.value) for word in [*words, str(path)])


def test_a_preset_is_for_one_notebook(tmp_path):
    (tmp_path / "train.toml").write_text("epochs = 12")
    with pytest.raises(SettingsError, match="train.toml: .*\n.*epochs: no such setting"):
        read_preset(BatchesSettings, tmp_path / "train.toml")


def test_an_empty_missing_or_unreadable_preset(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("# nothing\n")
    assert read_preset(TrainSettings, path) == {}
    path.write_bytes(b"\xff\xfe")
    for wrong in (path, tmp_path / "none.toml"):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_preset(TrainSettings, wrong)


@pytest.mark.parametrize(
    "text", ['["CH 1", "CH2"]', "['CH 1', 'CH2']", "[CH 1, CH2]", "CH 1,CH2", '"CH 1,CH2"']
)
def test_a_list_is_read_with_and_without_the_marks_that_a_shell_takes_away(text):
    values = read_options(TrainSettings, [f"series_channels={text}"], None)
    assert read_settings(TrainSettings, values).series_channels == ["CH 1", "CH2"]


def test_a_text_is_read_with_and_without_quotation_marks():
    for text in (",", '","'):
        values = read_options(TrainSettings, [f"series_decimal={text}"], None)
        assert read_settings(TrainSettings, values).series_decimal == ","

"""A preset is read as it is meant, or refused with file and line."""

from __future__ import annotations

import pytest

from quadlib.config import SettingsError, TrainSettings, read_settings
from quadlib.presets import read_preset


def test_values_are_what_they_look_like(tmp_path):
    path = tmp_path / "laptop.yaml"
    path.write_text(
        "# a small run\nlearning_rate: 1e-3\nepochs: 12\nrun: 007\naugment: false\nmodalities: "
        "[video, 'audio']\nrare: NO\npath: 12:30\n"
    )
    assert read_preset(path) == {
        "learning_rate": 0.001,
        "epochs": 12,
        "run": "007",
        "augment": False,
        "modalities": ["video", "audio"],
        "rare": "NO",
        "path": "12:30",
    }
    assert (
        read_settings(
            TrainSettings, {"learning_rate": read_preset(path)["learning_rate"]}
        ).learning_rate
        == 1e-3
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "epochs: 1\nepochs: 2\nseed: {a: 1}",
            ["line 2: epochs stands twice", "line 3: seed should be"],
        ),
        ("- a\n- b", ["lines of `name: value`"]),
        ("a: !!python/object/apply:os.system [ls]", ["a should be"]),
        ("a: [1, [2]]", ["a should be"]),
        ("a: &x [1]\nb: [*x, *x]", ["b should be"]),
        ("a: [1", ["is not YAML"]),
        ("[" * 20000, ["is not YAML"]),
        ("a: " + "b" * 200_000, ["more than a preset can need"]),
    ],
)
def test_what_is_not_a_preset_is_refused(tmp_path, text, words):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_preset(path)
    assert all(word in str(caught.value) for word in words) and "p.yaml" in str(caught.value)


def test_an_empty_or_missing_preset(tmp_path):
    (tmp_path / "p.yaml").write_text("# nothing\n")
    assert read_preset(tmp_path / "p.yaml") == {}
    with pytest.raises(SettingsError, match="cannot be read"):
        read_preset(tmp_path / "none.yaml")

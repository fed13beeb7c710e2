from __future__ import annotations

import pytest

from quadlib import config
from quadlib.config import EvaluateSettings, Settings, SettingsError, TrainSettings, read_settings


def test_all_wrong_settings_are_reported_at_once_with_near_matches():
    wrong = {
        "batch_sise": 64,
        "batch_size": True,
        "epochs": "ten",
        "fractions": [0.5, 0.5, 0.5],
        "width": 97,
    }
    with pytest.raises(SettingsError) as caught:
        read_settings(TrainSettings, wrong)
    text = str(caught.value)
    assert "5 settings are wrong" in text
    assert "batch_sise: no such setting; did you mean batch_size?" in text
    assert "batch_size: True does not fit: a number was expected, not a boolean" in text
    assert "epochs: 'ten' does not fit" in text
    assert "fractions: [0.5, 0.5, 0.5] does not fit: three shares" in text
    assert "fusion_heads: 4 does not fit: it does not divide width 97" in text


def test_text_from_a_command_line_is_read_by_the_declared_type():
    settings = read_settings(
        TrainSettings,
        {
            "augment": "false",
            "seed": "007",
            "learning_rate": "1e-3",
            "modalities": "['video', 'audio']",
            "freeze": "encoders.video, fusion",
        },
    )
    assert settings.augment is False
    assert settings.seed == 7
    assert settings.learning_rate == 1e-3
    assert settings.modalities == ["video", "audio"]
    assert settings.freeze == ["encoders.video", "fusion"]


def test_nothing_to_learn_is_refused():
    with pytest.raises(SettingsError, match="nothing would be learned"):
        read_settings(TrainSettings, {"fused_weight": 0, "within_weight": 0, "cross_weight": 0})


def test_settings_do_not_change():
    settings = EvaluateSettings()
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3


@pytest.mark.parametrize(
    "model",
    [
        value
        for value in vars(config).values()
        if isinstance(value, type) and issubclass(value, Settings)
    ],
)
def test_every_setting_is_documented(model):
    assert all(field.description for field in model.model_fields.values())

"""Codes that nobody knows are refused with every other wrong setting, before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from quadlib.config import SettingsError, TrainSettings
from quadlib.jupyter.cells import settings_from
from quadlib.reports.execute import check_parameters
from quadlib.runs import Run
from quadlib.training.names import unknown_codes
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer


def test_a_notebook_is_refused_with_every_wrong_name_and_value_at_once():
    with pytest.raises(SettingsError) as error:
        check_parameters(
            Path("02_train.ipynb"),
            {
                "allow": "QL-S01,QL-XX",
                "loss": "supconn",
                "model": "quat",
                "batch_size": 1,
                "epochz": 3,
            },
        )
    text = str(error.value)
    assert "5 settings are wrong" in text
    for part in (
        "allow: 'QL-XX' is no code of the doctor",
        "loss: 'supconn' does not fit: no loss 'supconn'; did you mean 'supcon'?",
        "model: 'quat' does not fit: no model 'quat'; did you mean 'quad'?",
        "batch_size: 1 does not fit",
        "epochz: no such setting",
    ):
        assert part in text
    assert "QL-S01'" not in text


def test_a_lower_case_code_is_told_the_one_it_means():
    [problem] = unknown_codes({"allow": ["ql-s01"]})
    assert "did you mean QL-S01" in problem


def test_values_of_a_wrong_type_are_left_to_the_settings():
    assert unknown_codes({"allow": 3}) == []


def test_unknown_codes_are_refused_before_data_are_read(settings, tmp_path):
    wrong = settings.model_copy(update={"allow": ["QL-XX"], "path": str(tmp_path / "nowhere.npz")})
    with pytest.raises(SettingsError, match="allow: 'QL-XX' is no code"):
        open_dataset(wrong)
    dataset = open_dataset(settings)
    with pytest.raises(SettingsError, match="allow: 'QL-XX' is no code"):
        Trainer(dataset, wrong, Run.create(settings))


def test_a_parameter_cell_is_checked_when_it_is_read():
    cell = {name: field.default for name, field in TrainSettings.model_fields.items()}
    assert settings_from(TrainSettings, cell).allow == []
    with pytest.raises(SettingsError, match="allow: 'S01' is no code of the doctor"):
        settings_from(TrainSettings, {**cell, "allow": ["S01"]})

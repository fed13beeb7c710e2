"""Settings: one model a stage, read from parameters, command line and TOML presets.

.. include:: README.md
"""

from __future__ import annotations

from quadlib.config.base import Settings, SettingsError
from quadlib.config.reading import read_options, read_preset, read_settings
from quadlib.config.settings import (
    BatchesSettings,
    CompareSettings,
    CrossvalSettings,
    DataSettings,
    DiagnoseSettings,
    EvaluateSettings,
    MediaSettings,
    ModelSettings,
    ObjectiveSettings,
    OptimiserSettings,
    RunSettings,
    SamplerSettings,
    TrainSettings,
    read_fold,
)

__all__ = [
    "BatchesSettings",
    "CompareSettings",
    "CrossvalSettings",
    "DataSettings",
    "DiagnoseSettings",
    "EvaluateSettings",
    "MediaSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OptimiserSettings",
    "RunSettings",
    "SamplerSettings",
    "Settings",
    "SettingsError",
    "TrainSettings",
    "read_fold",
    "read_options",
    "read_preset",
    "read_settings",
]

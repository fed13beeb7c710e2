"""Baselines: what a score is worth when no recording is looked at, only how the welder was set or
how long it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier

from quadlib.evaluation import resampled
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.metrics import auroc, classification
from quadlib.evaluation.score import Score

SETPOINT_COLUMNS = (
    "current_a",
    "voltage_v",
    "gas_bar",
    "robot_speed_cpm",
    "thickness_mm",
    "weld_type",
    "steel_type",
)
DURATION_COLUMNS = ("duration_seconds",)
TREES = 100
NORMAL_CLASS = "good"


@dataclass(frozen=True)
class Baseline:
    """Scores of a fixed classifier that sees only `columns` of the table; undefined with the reason
    where there are none.
    """

    name: str
    columns: tuple[str, ...]
    accuracy: Score
    macro_f1: Score
    auroc: Score


def baselines(
    frame: pd.DataFrame,
    codes: np.ndarray,
    class_names: Sequence[str],
    train_rows: np.ndarray,
    eval_rows: np.ndarray,
    *,
    seed: int = 0,
    bootstrap: SessionBootstrap | None = None,
) -> list[Baseline]:
    """Majority class, set-points only and duration only, each fitted on the training rows and
    scored on the evaluated rows.

    `frame` is the table's, `codes` (n,) its class codes; `bootstrap` is over the evaluated rows.
    Set-points and duration are never an input of the model; a random forest of fixed size reads
    them here to show how far they alone would get.
    """
    setpoints = [name for name in SETPOINT_COLUMNS if name in frame and _filled(frame[name]).any()]
    timed = [name for name in DURATION_COLUMNS if name in frame and _filled(frame[name]).any()]
    forest = RandomForestClassifier(TREES, random_state=seed)
    return [
        _score(name, columns, model, frame, codes, class_names, train_rows, eval_rows, bootstrap)
        for name, columns, model in (
            ("majority", None, DummyClassifier(strategy="most_frequent")),
            ("set-points", setpoints, forest),
            ("duration", timed, forest),
        )
    ]


def _score(
    name: str,
    columns: list[str] | None,
    model: Any,
    frame: pd.DataFrame,
    codes: np.ndarray,
    class_names: Sequence[str],
    train_rows: np.ndarray,
    eval_rows: np.ndarray,
    bootstrap: SessionBootstrap | None,
) -> Baseline:
    if columns == [] or not len(eval_rows):
        wanted = SETPOINT_COLUMNS if name == "set-points" else DURATION_COLUMNS
        absent = Score.undefined(
            f"not available: the table has none of the columns {', '.join(wanted)}"
            if columns == []
            else "the split holds no recordings"
        )
        return Baseline(name, tuple(columns or ()), absent, absent, absent)
    features = (
        np.zeros((len(frame), 1))
        if columns is None
        else np.column_stack([_numbers(frame[column]) for column in columns])
    )
    model.fit(features[train_rows], codes[train_rows])
    truth, predictions = codes[eval_rows], model.predict(features[eval_rows])
    scores = classification(truth, predictions, class_names)
    f1 = scores.macro_f1
    if bootstrap is not None:
        f1 = bootstrap.interval(
            f1, resampled.macro_f1(bootstrap, truth, predictions, len(class_names))
        )
    return Baseline(
        name,
        tuple(columns or ()),
        scores.accuracy,
        f1,
        _defect_auroc(model, features[eval_rows], truth, class_names),
    )


def _defect_auroc(
    model: Any, features: np.ndarray, truth: np.ndarray, class_names: Sequence[str]
) -> Score:
    normal = normal_code(class_names)
    if normal is None:
        return Score.undefined(f"no class is named {NORMAL_CLASS}")
    column = np.flatnonzero(model.classes_ == normal)
    if not len(column):
        return Score.undefined(f"the training split holds no {NORMAL_CLASS} recording")
    return auroc(truth != normal, 1 - model.predict_proba(features)[:, column[0]])


def normal_code(class_names: Sequence[str]) -> int | None:
    """Code of the class that is no defect, or None where the source has no such class."""
    return list(class_names).index(NORMAL_CLASS) if NORMAL_CLASS in class_names else None


def _numbers(column: pd.Series) -> np.ndarray:
    """A column as float64: numbers, or text of numbers, as they are; other text as category
    numbers; NaN where nothing is filled in.
    """
    filled = _filled(column)
    numbers = pd.to_numeric(column.where(filled), errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    if np.isnan(numbers[filled.to_numpy()]).any():
        categories = pd.Categorical(column.where(filled).astype("string"))
        numbers = np.where(filled, categories.codes, np.nan).astype(np.float64)
    return numbers


def _filled(column: pd.Series) -> pd.Series:
    return column.notna() & (column.astype("string").str.strip() != "")

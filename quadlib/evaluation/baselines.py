"""Baselines: what a score is worth when no recording is looked at, only how it was made or how
long it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier

from quadlib.data.samples import SampleTable, some
from quadlib.evaluation.crossed import session_interval
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.metrics import NO_NORMAL_CLASS, auroc, classification
from quadlib.evaluation.score import Score

DURATION_COLUMNS = ("duration_seconds",)
TREES = 100
MAJORITY = "majority"


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


@dataclass(frozen=True)
class Answers:
    """What a classifier says of the evaluated rows: class codes (n,), and how likely each is none
    of the normal class, (n,), None where the training rows hold no normal one.
    """

    predictions: np.ndarray
    suspicion: np.ndarray | None


def baselines(
    table: SampleTable,
    train_rows: np.ndarray,
    eval_rows: np.ndarray,
    *,
    seed: int = 0,
    bootstrap: SessionBootstrap | None = None,
) -> list[Baseline]:
    """Majority class, the table's confounds only and duration only, each fitted on the training
    rows and scored on the evaluated rows; `bootstrap` is over the evaluated rows.

    Confounds and duration are never an input of the model; a random forest of fixed size reads
    them here to show how far they alone would get.
    """
    result = []
    for name, columns in visible_columns(table).items():
        absence = "" if columns or name == MAJORITY else _absence(table, name)
        if absence or not len(eval_rows):
            absent = Score.undefined(absence or "the split holds no recordings")
            result.append(Baseline(name, columns, absent, absent, absent))
            continue
        said = answers(table, columns, train_rows, eval_rows, seed)
        result.append(_scored(name, columns, said, table, eval_rows, bootstrap))
    return result


def visible_columns(table: SampleTable) -> dict[str, tuple[str, ...]]:
    """Every baseline with the columns that it sees, those that are filled in; of the majority
    class, and where the table has none, none.
    """
    named = {**(table.confounds or {"confounds": ()}), "duration": DURATION_COLUMNS}
    return {MAJORITY: ()} | {
        name: tuple(
            column for column in columns if column in table.frame and _any(table.frame[column])
        )
        for name, columns in named.items()
    }


def answers(
    table: SampleTable,
    columns: Sequence[str],
    train_rows: np.ndarray,
    eval_rows: np.ndarray,
    seed: int,
) -> Answers:
    """What a forest that sees these columns alone says; without columns, the majority class."""
    model: Any = RandomForestClassifier(TREES, random_state=seed)
    features = np.zeros((len(table), 1))
    if columns:
        features = np.column_stack([_numbers(table.frame[column]) for column in columns])
    else:
        model = DummyClassifier(strategy="most_frequent")
    model.fit(features[train_rows], table.codes[train_rows])
    place = np.flatnonzero(model.classes_ == table.normal_code)
    suspicion = 1 - model.predict_proba(features[eval_rows])[:, place[0]] if len(place) else None
    return Answers(model.predict(features[eval_rows]), suspicion)


def _scored(
    name: str,
    columns: tuple[str, ...],
    said: Answers,
    table: SampleTable,
    eval_rows: np.ndarray,
    bootstrap: SessionBootstrap | None,
) -> Baseline:
    truth, names = table.codes[eval_rows], table.class_names
    scores = classification(truth, said.predictions, names)
    f1 = scores.macro_f1
    if bootstrap is not None:
        f1 = session_interval(f1, bootstrap, (truth, said.predictions), len(names))
    if table.normal_code is None:
        area = Score.undefined(NO_NORMAL_CLASS)
    elif said.suspicion is None:
        area = Score.undefined(f"the training split holds no {table.normal_class} recording")
    else:
        area = auroc(truth != table.normal_code, said.suspicion)
    return Baseline(name, columns, scores.accuracy, f1, area)


def _absence(table: SampleTable, name: str) -> str:
    """Why a baseline has no columns, and what would give it some."""
    if name == "duration":
        return "not available: the table has no column duration_seconds, nor files that last"
    if table.confounds:
        return f"not available: {', '.join(table.confounds[name])} are empty"
    taken = {"sample_id", "label", "group", "split", *table.modalities, *DURATION_COLUMNS}
    others = [column for column in table.frame.columns if column not in taken]
    choice = f"; the table has {some(others)}" if others else ""
    return (
        "not available: the setting confounds names no column that says how a recording was "
        f"made{choice}"
    )


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


def _any(column: pd.Series) -> bool:
    return bool(_filled(column).any())


def _filled(column: pd.Series) -> pd.Series:
    return column.notna() & (column.astype("string").str.strip() != "")

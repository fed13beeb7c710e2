"""Runs against each other: paired differences over the same recordings, and what may be ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from quadlib.config import RunSettings, TrainSettings
from quadlib.data.samples import some
from quadlib.evaluation.crossed import accuracy_of, crossed_interval, f1_of
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score, points
from quadlib.runs import Run, RunError
from quadlib.runs.earlier import as_recorded
from quadlib.runs.memory import FREE_TO_CHANGE

# Settings in which runs of one variant may differ: seeds, folds, and what changes no result.
WITHIN_A_VARIANT = {*RunSettings.model_fields, *FREE_TO_CHANGE, "fold"} - {"refit"}
MEASURES = {"macro_f1": f1_of, "accuracy": accuracy_of}
RISK = 0.05  # of ranking any two that do not differ, over all pairs together


@dataclass(frozen=True)
class Variant:
    """Runs that differ in seed or fold alone: their settings, and a line for every prediction
    (sample_id, group, seed, model, label, said).
    """

    name: str
    runs: list[Run]
    settings: dict[str, Any]
    predictions: pd.DataFrame
    scores: dict[str, Score]

    @property
    def models(self) -> list[Run]:
        """The trained runs: of a cross-validation, its folds."""
        return [model for run in self.runs for model in _models(run)]

    @property
    def seeds(self) -> int:
        return int(self.predictions["seed"].nunique())


@dataclass(frozen=True)
class Difference:
    """By how much `second` is better than `first` over the recordings, and seeds, of both."""

    first: str
    second: str
    score: Score
    recordings: int
    sessions: int
    seeds: int

    @property
    def ranked(self) -> bool:
        """Whether the interval leaves out 0."""
        low, high = self.score.low, self.score.high
        return low is not None and high is not None and (low > 0 or high < 0)

    def __str__(self) -> str:
        """One sentence: which is better by how much, or that they cannot be ranked."""
        if self.score.value is None or self.score.low is None:
            return f"{self.first} and {self.second} cannot be ranked: {self.score.reason}"
        ahead = self.score.value >= 0
        better, worse = (self.second, self.first) if ahead else (self.first, self.second)
        over = f"{points(self.score if ahead else -self.score)} over {self.recordings:,} recordings"
        over += f" of {self.sessions:,} sessions" if self.sessions < self.recordings else ""
        over += f" and {self.seeds} seeds" if self.seeds > 1 else ""
        if self.ranked:
            return f"{better} is better than {worse} by {over}"
        return f"{self.first} and {self.second} cannot be ranked: {better} is ahead by {over}"


@dataclass(frozen=True)
class Compared:
    """Variants, the best score first, and the difference of every two; `differing` holds the
    settings in which they differ, one value a variant.
    """

    measure: str
    variants: list[Variant]
    differences: list[Difference]
    differing: dict[str, list[Any]]
    notes: list[str]


def compare(runs: Sequence[Run], measure: str = "macro_f1") -> Compared:
    """Compares evaluated runs or cross-validations, two or more; runs that differ in their seed
    alone are one variant.

    Two variants are compared over the recordings that both evaluated, seed by seed where they have
    seeds in common. The interval is over sessions, and over seeds and folds where there are
    several; with more than two variants each is widened so that all hold together (Bonferroni).

    Args:
        runs: As `Run.open` gives them.
        measure: "macro_f1" or "accuracy".

    Raises:
        RunError: Fewer than two variants, or recordings and classes that do not fit together.
        FileError: A run was not evaluated; the message holds the command.
    """
    variants = _variants(runs, measure) if runs else []
    if len(variants) < 2:
        raise RunError(
            "compare: two runs or more that differ in a setting other than the seed were expected; "
            f"given were {', '.join(run.name for run in runs) or 'none'}"
        )
    pairs = list(combinations(variants, 2))
    differences = [_difference(lower, upper, measure, RISK / len(pairs)) for upper, lower in pairs]
    return Compared(
        measure, variants, differences, _differing(variants), _notes(variants, differences)
    )


def _variants(runs: Sequence[Run], measure: str) -> list[Variant]:
    """The runs by their settings, the best score first."""
    groups: dict[str, list[Run]] = {}
    for run in {run.folder: run for run in runs}.values():
        groups.setdefault(repr(sorted(_settings(run).items(), key=str)), []).append(run)
    settings = [_settings(group[0]) for group in groups.values()]
    changing = [
        name for name in settings[0] if len({repr(item.get(name)) for item in settings}) > 1
    ]
    variants = []
    for group, own in zip(groups.values(), settings, strict=True):
        name = group[0].name
        if len(group) > 1:
            named = ", ".join(f"{key}={own.get(key)}" for key in changing[:2])
            name = named or f"{name} and {len(group) - 1} more"
        table = pd.concat([_predictions(run) for run in group], ignore_index=True)
        scores = {key: _score(table, key) for key in MEASURES}
        variants.append(Variant(name, group, own, table, scores))
    return sorted(variants, key=lambda item: -(item.scores[measure].value or 0.0))


def _settings(run: Run) -> dict[str, Any]:
    """What makes the run's variant; what its version did not know yet is at its default."""
    record = run.record
    defaults = {name: field.default for name, field in TrainSettings.model_fields.items()}
    own = {
        name: value
        for name, value in (defaults | as_recorded(record["settings"])).items()
        if name not in WITHIN_A_VARIANT
    }
    return own | {"folds": (record.get("crossval") or {}).get("folds", 0)}


def _predictions(run: Run) -> pd.DataFrame:
    """A line for every prediction of a run, or of all folds of a cross-validation."""
    frames = []
    for model in _models(run):
        evaluation = Evaluation.read(model)
        asked = slice(evaluation.n_gallery, None)
        arrays, names = evaluation.arrays, np.array(evaluation.class_names)
        frames.append(
            pd.DataFrame(
                {
                    "sample_id": arrays["sample_id"][asked],
                    "group": arrays["group"][asked],
                    "seed": model.record["settings"].get("seed", model.record["seed"]),
                    "model": model.name,
                    "label": names[arrays["labels"][asked]],
                    "said": names[arrays["predictions"][asked]],
                    "source": evaluation.source,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _models(run: Run) -> list[Run]:
    """The runs that were trained: the folds of a cross-validation, or the run itself."""
    parts = (run.record.get("crossval") or {}).get("parts")
    return [Run.open(part["run"], str(run.folder.parent)) for part in parts] if parts else [run]


def _score(table: pd.DataFrame, measure: str) -> Score:
    return _interval(table, ["said"], measure, RISK)


def _difference(first: Variant, second: Variant, measure: str, risk: float) -> Difference:
    one, other = first.predictions, second.predictions
    if set(one["source"]) != set(other["source"]):
        return _incomparable(first, second, "they were trained on different sources")
    if not set(one["seed"]) & set(other["seed"]) and first.seeds == second.seeds == 1:
        other = other.assign(seed=int(one["seed"].to_numpy()[0]))
    both = one.merge(other, on=["sample_id", "seed"], suffixes=("", "_other"))
    if not len(both):
        return _incomparable(first, second, "no recording was evaluated by both with one seed")
    changed = both["sample_id"][both["label"] != both["label_other"]]
    if len(changed):
        raise RunError(
            f"compare: {first.name} and {second.name} hold different labels of {some(changed)}; "
            "evaluate both on the same recordings"
        )
    return Difference(
        first.name,
        second.name,
        _interval(both, ["said", "said_other"], measure, risk),
        both["sample_id"].nunique(),
        both["group"].nunique(),
        both["seed"].nunique(),
    )


def _incomparable(first: Variant, second: Variant, reason: str) -> Difference:
    return Difference(first.name, second.name, Score.undefined(reason), 0, 0, 0)


def _interval(table: pd.DataFrame, columns: Sequence[str], measure: str, risk: float) -> Score:
    """The score of one column of predictions, or the difference of two."""
    names = pd.unique(table[["label", *columns]].to_numpy().ravel())
    truth, *said = (
        pd.Categorical(table[column], categories=names).codes.astype(np.int64)
        for column in ("label", *columns)
    )
    clusters = [table["group"].to_numpy()]
    if table["model"].nunique() > 1:
        clusters.append(table["model"].to_numpy())
    pairs = [(truth, codes) for codes in said]
    return crossed_interval(pairs, clusters, len(names), MEASURES[measure], 1 - risk)


def _differing(variants: Sequence[Variant]) -> dict[str, list[Any]]:
    """The settings that are not the same in all variants."""
    names = dict.fromkeys(name for variant in variants for name in variant.settings)
    values: Mapping[str, list[Any]] = {
        name: [variant.settings.get(name) for variant in variants] for name in names
    }
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _notes(variants: Sequence[Variant], differences: Sequence[Difference]) -> list[str]:
    notes = []
    known = [item for item in differences if item.recordings]
    if known and all(item.seeds == 1 for item in known):
        notes.append(
            "One seed each: this tells the trained models apart, not their settings, which need "
            "several seeds of both."
        )
    if len(differences) > 1:
        notes.append(
            f"Each interval holds with {100 * (1 - RISK / len(differences)):.1f} %, so that all "
            f"{len(differences)} hold together with {100 * (1 - RISK):.0f} %."
        )
    for item in known:
        least = min(
            variant.predictions["sample_id"].nunique()
            for variant in variants
            if variant.name in (item.first, item.second)
        )
        if item.recordings < least:
            notes.append(
                f"{item.first} and {item.second} have {item.recordings:,} evaluated recordings in "
                f"common, of {least:,} or more each."
            )
    return notes

"""A cross-validation: the predictions of every fold and seed together, with intervals over
sessions, folds and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from quadlib.config import TrainSettings
from quadlib.data.open import open_table
from quadlib.data.samples import SampleTable, some
from quadlib.evaluation.crossed import accuracy_of, crossed_interval, mean_of_folds, recall_of
from quadlib.evaluation.durations import with_durations
from quadlib.evaluation.metrics import ClassScore, classification
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.rivals import NOT_ASKED, rival_predictions
from quadlib.evaluation.score import Score, short
from quadlib.files import FileError, read_record, write_record
from quadlib.runs import Run, RunError
from quadlib.runs.commands import crossval_command

FILE = "crossval.json"


@dataclass(frozen=True)
class FoldScore:
    """The score of one fold of one seed, with its own interval over sessions."""

    seed: int
    fold: int
    run: str
    n_queries: int
    macro_f1: Score
    accuracy: Score


@dataclass(frozen=True)
class Rival:
    """A baseline on the same folds, and by how much the model is better than it on the recordings
    that both were asked.
    """

    name: str
    macro_f1: Score
    ahead: Score


@dataclass(frozen=True)
class CrossValidation:
    """Every recording tested once a seed, by a model that its session did not train.

    `scores`: macro_f1 and accuracy of all predictions together, with intervals over sessions and
    models; auroc and auprc (the normal class against all others), the mean of the folds, whose
    distances are not of one scale. `confusion` counts the predictions of every seed; `support` in
    `per_class` counts recordings.
    """

    source: str
    folds: int
    seeds: list[int]
    n_recordings: int
    n_sessions: int
    class_names: list[str]
    modalities: list[str]
    scores: dict[str, Score]
    by_fold: list[FoldScore]
    rivals: list[Rival]
    per_class: list[ClassScore]
    confusion: list[list[int]]
    notes: list[str]
    normal_class: str = ""

    @property
    def spread(self) -> tuple[float, float] | None:
        """Macro-F1 of the lowest and of the highest fold, where any is defined."""
        values = [item.macro_f1.value for item in self.by_fold if item.macro_f1.value is not None]
        return (min(values), max(values)) if values else None

    @property
    def best_rival(self) -> Rival | None:
        """The rival that comes nearest to the model, or lies furthest above it."""
        known = [item for item in self.rivals if item.ahead.value is not None]
        return min(known, key=lambda item: item.ahead.value or 0.0, default=None)

    def headline(self) -> str:
        """`macro-F1 .885 [.86, .91] | folds .812 to .954 | nearest rival extra trees .865`."""
        parts = [f"macro-F1 {self.scores['macro_f1']}"]
        if self.spread is not None:
            parts.append(f"folds {short(self.spread[0], 3)} to {short(self.spread[1], 3)}")
        if self.best_rival is not None:
            parts.append(
                f"nearest rival {self.best_rival.name} "
                f"{short(self.best_rival.macro_f1.value or 0.0, 3)}"
            )
        return " | ".join(parts)

    def write(self, folder: Path) -> None:
        """Writes crossval.json, whole or not at all."""
        content = _ADAPTER.dump_python(self, mode="json")
        write_record(folder / FILE, "crossval", {"headline": self.headline(), **content})

    @classmethod
    def read(cls, folder: Path) -> CrossValidation:
        """The cross-validation that a run holds; raises FileError where there is none, or where it
        was changed since.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileError(
                f"{path} is not there; this writes it: {crossval_command(folder.parent)}"
            )
        record = read_record(path, "crossval")
        try:
            return _ADAPTER.validate_python(record)
        except ValueError as error:
            raise FileError(
                f"{path} does not hold what this version of quadlib writes ({error}); this writes "
                f"it again: {crossval_command(folder.parent)}"
            ) from error


@dataclass(frozen=True)
class Part:
    """One fold of one seed, trained and evaluated."""

    seed: int
    fold: int
    evaluation: Evaluation


def pooled(run: Run) -> CrossValidation:
    """The cross-validation of which a run holds the folds, written to its crossval.json.

    Raises:
        RunError: The run is no cross-validation, or folds are missing.
    """
    asked = run.record.get("crossval")
    if asked is None:
        raise RunError(
            f"run {run.name} is no cross-validation; make one: "
            + crossval_command(run.folder.parent)
        )
    parts, missing = [], []
    for item in asked["parts"]:
        try:
            part = Run.open(item["run"], str(run.folder.parent))
            parts.append(Part(item["seed"], item["fold"], Evaluation.read(part)))
        except (FileError, RunError):
            missing.append(item["run"])
    if missing:
        raise RunError(
            f"{len(missing)} folds of {run.name} are not evaluated yet: {some(missing)}; the "
            "command that began it goes on with them"
        )
    table = open_table(part.settings(TrainSettings))
    table = with_durations(table, np.arange(len(table)))
    result = pool(parts, table, asked["folds"])
    result.write(run.folder)
    return result


def pool(parts: Sequence[Part], table: SampleTable, folds: int) -> CrossValidation:
    """All parts together; `table` holds the recordings that their rows count, with durations,
    normal class and confounds.

    Raises:
        ValueError: A recording was tested twice with one seed, so the parts are no division.
    """
    first = parts[0].evaluation
    asked = [_asked(part.evaluation) for part in parts]
    rows, truth, said = (
        np.concatenate([columns[name] for columns in asked])
        for name in ("rows", "labels", "predictions")
    )
    sizes = [len(columns["rows"]) for columns in asked]
    model = np.repeat(np.arange(len(parts)), sizes)
    seed = np.repeat([part.seed for part in parts], sizes)
    tested = np.unique(np.stack([seed, rows]), axis=1).shape[1]
    if tested < len(rows):
        raise ValueError(
            f"{len(rows) - tested} recordings were tested twice with one seed; the folds are not "
            "of one division"
        )
    clusters = [np.concatenate([columns["group"] for columns in asked]), model]
    count = len(first.class_names)
    pairs = [(truth, said)]
    result = classification(truth, said, first.class_names)
    return CrossValidation(
        source=first.source,
        folds=folds,
        seeds=sorted({part.seed for part in parts}),
        n_recordings=len(np.unique(rows)),
        n_sessions=len(np.unique(clusters[0])),
        class_names=first.class_names,
        modalities=first.modalities,
        scores={
            "macro_f1": crossed_interval(pairs, clusters, count),
            "accuracy": crossed_interval(pairs, clusters, count, accuracy_of),
            **{
                name: mean_of_folds([part.evaluation.scores[name] for part in parts], folds)
                for name in ("auroc", "auprc")
            },
        },
        normal_class=first.normal_class,
        by_fold=[
            FoldScore(
                part.seed,
                part.fold,
                part.evaluation.run,
                part.evaluation.n_queries,
                part.evaluation.scores["macro_f1"],
                part.evaluation.scores["accuracy"],
            )
            for part in parts
        ],
        rivals=_rivals(parts, table, truth, said, clusters, count),
        per_class=[
            replace(
                item,
                support=item.support // len({part.seed for part in parts}),
                recall=crossed_interval(pairs, clusters, count, recall_of(code))
                if item.recall.defined
                else item.recall,
            )
            for code, item in enumerate(result.per_class)
        ],
        confusion=result.confusion.tolist(),
        notes=_notes(parts, table, rows),
    )


def _asked(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The columns of the evaluated recordings alone."""
    names = ("rows", "labels", "predictions", "group")
    return {name: evaluation.arrays[name][evaluation.n_gallery :] for name in names}


def _rivals(
    parts: Sequence[Part],
    table: SampleTable,
    truth: np.ndarray,
    said: np.ndarray,
    clusters: Sequence[np.ndarray],
    n_classes: int,
) -> list[Rival]:
    """Every rival on all folds, the strongest first."""
    answers: dict[str, list[np.ndarray]] = {}
    for part in parts:
        for name, predictions in rival_predictions(part.evaluation, table, part.seed):
            answers.setdefault(name, []).append(predictions)
    result = []
    for name, columns in answers.items():
        predictions = np.concatenate(columns)
        both = predictions != NOT_ASKED
        if not both.any():
            continue
        theirs, ours = (truth[both], predictions[both]), (truth[both], said[both])
        near = [column[both] for column in clusters]
        result.append(
            Rival(
                name,
                crossed_interval([theirs], near, n_classes),
                crossed_interval([theirs, ours], near, n_classes),
            )
        )
    return sorted(result, key=lambda item: -(item.macro_f1.value or 0.0))


def _notes(parts: Sequence[Part], table: SampleTable, rows: np.ndarray) -> list[str]:
    """What a reader must know before believing the score, in plain sentences."""
    notes = []
    never = np.setdiff1d(np.arange(len(table)), rows)
    if len(never):
        labels = sorted(set(table.frame["label"].iloc[never]))
        notes.append(
            f"{len(never)} of {len(table)} recordings were never tested: those of {some(labels)}, "
            "whose sessions are too few."
        )
    shared = [part.evaluation.run for part in parts if part.evaluation.shared_sessions]
    if shared:
        notes.append(f"Sessions are in both train and test of {some(shared)}; the score flatters.")
    if len({part.seed for part in parts}) == 1:
        notes.append(
            "One seed: the interval holds what differs between folds and sessions, and tells less "
            "of the luck of training; take --seeds 2 or more."
        )
    return notes


_ADAPTER = TypeAdapter(CrossValidation)

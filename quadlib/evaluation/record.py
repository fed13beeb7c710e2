"""Evaluation: all figures of one evaluation, as written to evaluation.json and embeddings.npz."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from quadlib.evaluation.baselines import MAJORITY, Baseline
from quadlib.evaluation.calibration import VoteBin
from quadlib.evaluation.leakage import Leakage
from quadlib.evaluation.metrics import ClassScore
from quadlib.evaluation.score import Score, short
from quadlib.evaluation.subsets import SubsetScore
from quadlib.files import FileError, atomic_write, digest_file, read_record, write_record
from quadlib.runs import Run
from quadlib.runs.commands import notebook_command

ARRAYS = "embeddings.npz"


@dataclass(frozen=True)
class WorstRecording:
    """A recording and its margin: mean cosine to the nearest of its own class minus that to the
    nearest of the closest other one.

    `margin` is None where the gallery lacks its class; `weights` are the fusion's, by modality.
    """

    sample_id: str
    group: str
    row: int
    label: str
    predicted: str
    margin: float | None
    weights: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one checkpoint on one split; every figure is a Score, with its reason where
    it is undefined.

    `scores`: accuracy, macro_f1, precision_at_1, r_precision, map_at_r, mrr, auroc and auprc (the
    normal class against all others), modality_to_modality_map_at_r, one_hidden_accuracy (mean over
    subsets with one modality hidden), ece, alignment, uniformity, effective_rank, nc1, nc2.
    `by_modality`: accuracy, macro_f1 and map_at_r of each modality's own embedding. `arrays` is the
    content of embeddings.npz, gallery first, then the evaluated split: fused, by_modality, weights,
    present, rows, labels, predictions, split, map, sample_id, group.
    """

    run: str
    checkpoint: str
    source: str
    split: str
    neighbours: int
    n_gallery: int
    n_queries: int
    class_names: list[str]
    modalities: list[str]
    scores: dict[str, Score]
    per_class: list[ClassScore]
    confusion: list[list[int]]  # rows true, columns predicted, in the order of class_names
    baselines: list[Baseline]
    by_modality: dict[str, dict[str, Score]]
    modality_to_modality: list[list[float | None]]  # MAP@R, rows search, columns are found
    fusion_weights: dict[str, float]  # mean over the recordings that have the modality
    subsets: list[SubsetScore]
    shapley: dict[str, Score]
    leakage: Leakage
    worst: list[WorstRecording]
    map_method: str
    notes: list[str]
    calibration: list[VoteBin] = field(default_factory=list)
    normal_class: str = ""  # what AUROC and AUPRC tell from all other classes
    arrays: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def sessions(self) -> int:
        """How many sessions the evaluated recordings are of."""
        return len(self._sessions()[1])

    @property
    def shared_sessions(self) -> int:
        """How many of these sessions the gallery holds too."""
        gallery, queries = self._sessions()
        return len(gallery & queries)

    def _sessions(self) -> tuple[set[str], set[str]]:
        """The sessions of the gallery and of the evaluated split; each name once a split."""
        if not self.arrays:
            return set(), set()
        groups = self.arrays["group"]
        return set(groups[: self.n_gallery]), set(groups[self.n_gallery :])

    @property
    def best_single(self) -> tuple[str, Score] | None:
        """The strongest single modality and its macro-F1: alone through the fusion, or by its own
        embedding, whichever is better.
        """
        alone = [
            (subset.modalities[0], subset.macro_f1)
            for subset in self.subsets
            if len(subset.modalities) == 1
        ]
        by_itself = [(name, scores["macro_f1"]) for name, scores in self.by_modality.items()]
        defined = [(name, score) for name, score in alone + by_itself if score.defined]
        return max(defined, key=lambda item: item[1].value or 0.0, default=None)

    @property
    def rival(self) -> Baseline | None:
        """The baseline to print beside the score: the table's confounds where it names some, else
        the best that is defined.
        """
        defined = [baseline for baseline in self.baselines if baseline.macro_f1.defined]
        named = [item for item in defined if item.name not in (MAJORITY, "duration")]
        return max(
            named or defined, key=lambda baseline: baseline.macro_f1.value or 0.0, default=None
        )

    def headline(self) -> str:
        """`macro-F1 .862 [.81, .90] | set-points .41 | best single .63`."""
        parts = [f"macro-F1 {self.scores['macro_f1']}"]
        if self.rival is not None:
            parts.append(f"{self.rival.name} {short(self.rival.macro_f1.value or 0.0)}")
        if self.best_single is not None and len(self.modalities) > 1:
            parts.append(f"best single {short(self.best_single[1].value or 0.0)}")
        return " | ".join(parts)

    def write(self, folder: Path) -> None:
        """Writes embeddings.npz, then evaluation.json with its digest, each whole or not at all."""
        with atomic_write(folder / ARRAYS) as file:
            np.savez(file, allow_pickle=False, **self.arrays)
        content = _ADAPTER.dump_python(self, mode="json", exclude={"arrays"})
        first = {"headline": self.headline(), "embeddings": digest_file(folder / ARRAYS)}
        write_record(folder / "evaluation.json", "evaluation", first | content)

    @classmethod
    def read(cls, run: Run) -> Evaluation:
        """The evaluation that a run holds; raises FileError where there is none, where it was
        written by another version, and where one of its two files was changed since.
        """
        path = run.path("evaluation.json")
        if not path.is_file():
            raise FileError(
                f"{path} is not there; evaluate the run first: "
                f"{notebook_command('04_evaluate', run)}"
            )
        record = read_record(path, "evaluation")
        try:
            evaluation = _ADAPTER.validate_python(record)
        except ValueError as error:
            raise FileError(
                f"{path} does not hold what this version of quadlib writes ({error}); evaluate the "
                "run again"
            ) from error
        evaluation.arrays.update(_arrays(run, record.get("embeddings")))
        return evaluation


def _arrays(run: Run, digest: str | None) -> dict[str, np.ndarray]:
    """The content of embeddings.npz; earlier versions noted no digest of it. Raises FileError."""
    path = run.path(ARRAYS)
    way_out = f"Evaluate the run again: {notebook_command('04_evaluate', run)}"
    try:
        if digest is not None and digest_file(path) != digest:
            raise FileError(f"{path} is not what evaluation.json was written with. {way_out}")
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(f"{path} cannot be read ({error}). {way_out}") from error


_ADAPTER = TypeAdapter(Evaluation)

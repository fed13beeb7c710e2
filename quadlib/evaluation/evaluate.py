"""evaluate: from a run's checkpoint to every figure of the report, and the files that hold them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from torch import nn

from quadlib.config import EvaluateSettings, read_settings
from quadlib.data.open import with_roles
from quadlib.data.samples import SampleTable
from quadlib.evaluation.baselines import Baseline, baselines
from quadlib.evaluation.calibration import calibration_error, reliability, vote_shares
from quadlib.evaluation.collapse import neural_collapse
from quadlib.evaluation.durations import with_durations
from quadlib.evaluation.embed import ARRAYS, EmbeddingSet, embed
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.leakage import Leakage, session_leakage
from quadlib.evaluation.maps import embedding_map
from quadlib.evaluation.neighbours import knn_predict
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score, short
from quadlib.evaluation.scoring import (
    class_intervals,
    mean_weights,
    score_crossing,
    score_fused,
    score_modalities,
    worst_recordings,
)
from quadlib.evaluation.subsets import (
    SubsetScore,
    embedded,
    encode,
    one_hidden,
    score_subsets,
    shapley_values,
)
from quadlib.model.quad import QuadModel
from quadlib.runs import Run
from quadlib.training.device import choose_device
from quadlib.training.restore import restore

log = logging.getLogger(__name__)


def evaluate(
    run: Run, settings: EvaluateSettings | None = None, *, model: nn.Module | None = None
) -> Evaluation:
    """Scores a run's checkpoint on a split, with its training split as gallery; writes
    evaluation.json and embeddings.npz.

    An evaluated split that is empty or of one class leaves figures undefined, with the reason.

    Args:
        run: A run that was trained.
        settings: Split, checkpoint, neighbours, resamples, device; by default the test split, the
            best checkpoint and the device that the run's settings name.
        model: As in `restore`, for a run whose model was the caller's own.

    Returns:
        All figures, the baselines beside them, and the embeddings.

    Raises:
        CheckpointError: The checkpoint is missing, damaged, or was trained on other recordings.

    Example:
        >>> from quadlib import KnnValidator, Run, Trainer, evaluate, log_to_stdout, open_dataset
        >>> from quadlib.config import EvaluateSettings, TrainSettings
        >>> settings = TrainSettings(source="mfeat", run="digits", outputs="outputs", epochs=1)
        >>> run = Run.create(settings)
        >>> trainer = Trainer(
        ...     open_dataset(settings), settings, run, validator=KnnValidator(settings)
        ... )
        >>> log_to_stdout()
        >>> trainer.fit().monitor  # doctest: +ELLIPSIS
        epoch   1/1  fused ...
        'val_macro_f1'
        >>> evaluation = evaluate(run, EvaluateSettings(resamples=20))  # doctest: +ELLIPSIS
        evaluating digits: 1,200 test recordings among the 480 of train
        ...
        evaluated in ... s
        >>> evaluation.scores["macro_f1"].value > 0.5
        True
    """
    settings = settings or read_settings(EvaluateSettings, {})
    started = time.perf_counter()
    restored = restore(run, settings.checkpoint, model=model)
    device = choose_device(settings.device or restored.settings.device)
    model, dataset = restored.model.to(device), restored.dataset
    train_rows, eval_rows = dataset.table.rows("train"), dataset.table.rows(settings.eval_split)
    log.info(
        f"evaluating {run.name}: {len(eval_rows):,} {settings.eval_split} recordings among the "
        f"{len(train_rows):,} of train"
    )
    askable = isinstance(model, QuadModel)  # its encoders and its fusion can be asked apart
    subsets: list[SubsetScore] = []
    if isinstance(model, QuadModel) and len(eval_rows):
        known, asked = (encode(model, dataset, rows) for rows in (train_rows, eval_rows))
        gallery, queries = embedded(model, known), embedded(model, asked)
        subsets = score_subsets(model, known, asked, dataset.table, settings)
    else:
        gallery = embed(model, dataset, train_rows)
        queries = embed(model, dataset, eval_rows) if len(eval_rows) else gallery.take(eval_rows)
    log.info("scoring the fused embeddings, the baselines and the map")
    table = with_durations(dataset.table, np.concatenate([train_rows, eval_rows]))
    table = with_roles(table, settings.normal_class, settings.confounds)
    evaluation = evaluate_embeddings(
        gallery, queries, table, settings, subsets=subsets, run=run.name
    )
    if not askable:
        name = type(model).__name__
        note = f"Subsets of the modalities are scored of a QuadModel alone, not of {name}."
        evaluation = replace(evaluation, notes=[*evaluation.notes, note])
    if settings.eval_split == "test":
        evaluation = noting_other_scores(run, restored.checkpoint, evaluation)
    evaluation.write(run.folder)
    seconds = time.perf_counter() - started
    run.update(timings={"evaluate_seconds": round(seconds, 3)})
    log.info(f"evaluated in {seconds:.1f} s")
    return evaluation


def noting_other_scores(
    run: Run, checkpoint: Mapping[str, Any], evaluation: Evaluation
) -> Evaluation:
    """Records in run.json that test was scored, when and with which weights; the evaluation notes
    where others were scored on it before.
    """
    weights = {
        "epoch": checkpoint["epoch"],
        "refit": bool(checkpoint.get("refit_epochs")),
    }
    before = run.record.get("test_scored", [])
    others = {
        (line["epoch"], line["refit"])
        for line in before
        if {name: line[name] for name in weights} != weights
    }
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    run.update(test_scored=[*before, {"at": now, **weights}])
    if not others:
        return evaluation
    names = ", ".join(
        f"epoch {epoch}{' of the refit' if refit else ''}" for epoch, refit in sorted(others)
    )
    note = (
        f"The test split was scored before with other weights of this run ({names}); whoever chose "
        "between them by it has flattered the score."
    )
    return replace(evaluation, notes=[*evaluation.notes, note])


def evaluate_embeddings(
    gallery: EmbeddingSet,
    queries: EmbeddingSet,
    table: SampleTable,
    settings: EvaluateSettings,
    *,
    subsets: Sequence[SubsetScore] = (),
    run: str = "",
) -> Evaluation:
    """All figures of one evaluation, from embeddings alone; `subsets` where a model scored them."""
    names, modalities, k = table.class_names, list(table.modalities), settings.neighbours
    groups = table.frame["group"].to_numpy()
    bootstrap = SessionBootstrap(groups[queries.rows], settings.resamples, settings.seed)
    fused = score_fused(gallery, queries, names, k, bootstrap, table.normal_code)
    crossed, pairs = score_crossing(gallery, queries, names)
    shares = vote_shares(queries.fused, gallery.fused, gallery.labels, fused.predictions, k)
    calibration = reliability(shares, fused.predictions == queries.labels, k)
    scores = {
        **fused.scores,
        "ece": calibration_error(calibration),
        **neural_collapse(queries.fused, queries.labels),
        "modality_to_modality_map_at_r": crossed,
        "one_hidden_accuracy": one_hidden(subsets, len(modalities)),
    }
    plain = baselines(table, gallery.rows, queries.rows, seed=settings.seed, bootstrap=bootstrap)
    both = {
        name: np.concatenate([getattr(gallery, name), getattr(queries, name)]) for name in ARRAYS
    }
    asked = np.arange(len(both["rows"])) >= len(gallery)
    leakage = session_leakage(gallery, queries, fused.predictions, groups[queries.rows], names, k)
    coordinates, map_method = embedding_map(both["fused"], settings.seed)
    # A recording of the gallery is classified by the others of the gallery.
    left_out = knn_predict(
        gallery.fused, gallery.fused, gallery.labels, k, gallery.rows, gallery.rows
    )
    arrays = {
        **both,
        "predictions": np.concatenate([left_out, fused.predictions]),
        "map": coordinates,
        "split": np.where(asked, settings.eval_split, "train"),
    }
    arrays |= {
        name: table.frame[name].to_numpy()[both["rows"]].astype(str)
        for name in ("sample_id", "group")
    }
    return Evaluation(
        run=run,
        checkpoint=settings.checkpoint,
        source=table.name,
        split=settings.eval_split,
        neighbours=k,
        n_gallery=len(gallery),
        n_queries=len(queries),
        class_names=list(names),
        calibration=calibration,
        normal_class=table.normal_class,
        modalities=modalities,
        scores=scores,
        per_class=class_intervals(fused, queries, bootstrap),
        confusion=fused.classification.confusion.tolist(),
        baselines=plain,
        by_modality=score_modalities(gallery, queries, table, settings),
        modality_to_modality=[
            [None if np.isnan(value) else float(value) for value in row] for row in pairs
        ],
        fusion_weights=mean_weights(queries, modalities),
        subsets=list(subsets),
        shapley=shapley_values(subsets, plain[0].macro_f1.value or 0.0) if subsets else {},
        leakage=leakage,
        worst=worst_recordings(fused, queries, table),
        map_method=map_method,
        notes=_notes(plain, leakage, scores, table, gallery, queries, settings),
        arrays=arrays,
    )


def _notes(
    plain: Sequence[Baseline],
    leakage: Leakage,
    scores: dict[str, Score],
    table: SampleTable,
    gallery: EmbeddingSet,
    queries: EmbeddingSet,
    settings: EvaluateSettings,
) -> list[str]:
    """What a reader must know before believing the score, in plain sentences."""
    notes = [leakage.text]
    reached = scores["macro_f1"].value
    for baseline in plain[1:]:
        value = baseline.macro_f1.value
        if value is None:
            notes.append(f"{baseline.name.capitalize()} alone: {baseline.macro_f1.reason}.")
        elif reached is not None and value >= reached:
            notes.append(
                f"{baseline.name} only reach macro-F1 {short(value, 3)}, no less than the model: "
                f"{', '.join(baseline.columns)} tell the classes apart without any recording."
            )
    shared = set(table.frame["group"].iloc[gallery.rows]) & set(
        table.frame["group"].iloc[queries.rows]
    )
    if shared:
        notes.append(
            f"{len(shared)} session(s) are in both train and {settings.eval_split}, for example "
            f"{min(shared)}: "
            'the score is flattered; take split="grouped".'
        )
    if settings.eval_split == "val" and settings.checkpoint == "best":
        notes.append(
            "The best checkpoint was chosen on val, so its score there is flattered; report the "
            "one on test."
        )
    return notes

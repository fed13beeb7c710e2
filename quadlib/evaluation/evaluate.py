"""evaluate: from a run's checkpoint to every figure of the report, and the files that hold them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from quadlib.config import EvaluateSettings, read_settings
from quadlib.data.samples import SampleTable
from quadlib.device import choose_device
from quadlib.evaluation.baselines import NORMAL_CLASS, Baseline, baselines, normal_code
from quadlib.evaluation.embed import EmbeddingSet, embed
from quadlib.evaluation.intervals import with_interval
from quadlib.evaluation.leakage import Leakage, session_leakage
from quadlib.evaluation.maps import embedding_map
from quadlib.evaluation.metrics import (
    Retrieval,
    alignment,
    auroc,
    classification,
    cross_modal_map_at_r,
    effective_rank,
    macro_f1,
    one_class_reason,
    retrieval,
    uniformity,
)
from quadlib.evaluation.neighbours import class_nearness, knn_predict
from quadlib.evaluation.record import Evaluation, WorstRecording
from quadlib.evaluation.score import Score, short
from quadlib.evaluation.subsets import SubsetScore, score_subsets, shapley_values
from quadlib.restore import restore
from quadlib.runs import Run

WORST = 10


def evaluate(run: Run, settings: EvaluateSettings | None = None) -> Evaluation:
    """Scores a run's checkpoint on a split, with its training split as gallery; writes evaluation.json and embeddings.npz.

    An evaluated split that is empty or of one class leaves figures undefined, with the reason. Raises CheckpointError where the
    checkpoint is missing, damaged, or was trained on other recordings.
    """
    settings = settings or read_settings(EvaluateSettings, {})
    started = time.perf_counter()
    restored = restore(run, settings.checkpoint)
    model, dataset = restored.model.to(choose_device("auto")), restored.dataset
    table = dataset.table
    train_rows, eval_rows = table.rows("train"), table.rows(settings.eval_split)
    gallery = embed(model, dataset, train_rows)
    queries = embed(model, dataset, eval_rows) if len(eval_rows) else gallery.take(eval_rows)
    subsets = score_subsets(model, dataset, train_rows, eval_rows, settings.neighbours) if len(eval_rows) else []
    evaluation = evaluate_embeddings(gallery, queries, table, settings, subsets=subsets, run=run.name)
    evaluation.write(run.folder)
    run.update(timings={"evaluate_seconds": round(time.perf_counter() - started, 3)})
    return evaluation


def evaluate_embeddings(gallery: EmbeddingSet, queries: EmbeddingSet, table: SampleTable, settings: EvaluateSettings, *,
                        subsets: Sequence[SubsetScore] = (), run: str = "") -> Evaluation:
    """All figures of one evaluation, from embeddings alone; `subsets` where a model scored them."""
    names, modalities, k = table.class_names, list(table.modalities), settings.neighbours
    groups = table.frame["group"].to_numpy()
    reason = one_class_reason(gallery.labels, names, "the gallery") or one_class_reason(queries.labels, names)
    predictions = knn_predict(queries.fused, gallery.fused, gallery.labels, k)
    nearness = class_nearness(queries.fused, gallery.fused, gallery.labels, len(names), k)
    result = classification(queries.labels, predictions, names, undefined=reason)
    scores = {"accuracy": result.accuracy, "macro_f1": result.macro_f1}
    statistics: dict[str, Callable[[np.ndarray], float | None]] = {
        "accuracy": lambda rows: float(np.mean(predictions[rows] == queries.labels[rows])),
        "macro_f1": lambda rows: macro_f1(queries.labels[rows], predictions[rows], len(names))}
    ranking = retrieval(queries.fused, queries.labels, gallery.fused, gallery.labels)
    for name, score in ranking.means().items():
        scores[name] = Score.undefined(reason) if reason else score
    statistics["map_at_r"] = lambda rows: _mean_map_at_r(ranking, rows)
    defect, suspicion = _defects(queries, nearness, names)
    scores["auroc"] = auroc(defect, suspicion) if defect is not None else Score.undefined(f"no class is named {NORMAL_CLASS}")
    statistics["auroc"] = lambda rows: None if defect is None else auroc(defect[rows], suspicion[rows]).value
    asked_sessions = groups[queries.rows]
    for name, statistic in statistics.items():
        scores[name] = with_interval(scores[name], statistic, asked_sessions, settings.resamples, settings.seed)
    crossed, pairs = cross_modal_map_at_r(queries.by_modality, queries.present, queries.labels,
                                          gallery.by_modality, gallery.present, gallery.labels)
    scores["modality_to_modality_map_at_r"] = Score.undefined(reason) if reason else crossed
    scores["one_hidden_accuracy"] = _one_hidden(subsets, len(modalities))
    scores |= {"alignment": alignment(queries.fused, queries.labels), "uniformity": uniformity(queries.fused),
               "effective_rank": effective_rank(queries.fused)}
    plain = baselines(table.frame, table.codes, names, gallery.rows, queries.rows, seed=settings.seed, resamples=settings.resamples)
    leakage = session_leakage(*_joined(gallery, queries, groups), names, k)
    arrays, map_method = _arrays(gallery, queries, predictions, table, settings)
    return Evaluation(
        run=run, checkpoint=settings.checkpoint, source=table.name, split=settings.eval_split, neighbours=k, n_gallery=len(gallery),
        n_queries=len(queries), class_names=list(names), modalities=modalities, scores=scores, per_class=result.per_class,
        confusion=result.confusion.tolist(), baselines=plain, by_modality=_by_modality(gallery, queries, modalities, names, k),
        modality_to_modality=[[None if np.isnan(value) else float(value) for value in row] for row in pairs],
        fusion_weights={name: float(queries.weights[queries.present[:, m], m].mean()) for m, name in enumerate(modalities)
                        if queries.present[:, m].any()},
        subsets=list(subsets), shapley=shapley_values(subsets, plain[0].macro_f1.value or 0.0) if subsets else {},
        leakage=leakage, worst=_worst(queries, predictions, nearness, table), map_method=map_method,
        notes=_notes(plain, leakage, scores, table, gallery, queries, settings.eval_split), arrays=arrays)


def _mean_map_at_r(ranking: Retrieval, rows: np.ndarray) -> float | None:
    values = ranking.average_precision_at_r[rows]
    counted = ~np.isnan(values)
    return float(values[counted].mean()) if counted.any() else None


def _defects(queries: EmbeddingSet, nearness: np.ndarray, class_names: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray]:
    """Which recordings are defects, and how much nearer each is to the closest defect class than to good ones.

    In a gallery of good recordings alone the score is the distance from them.
    """
    normal = normal_code(class_names)
    if normal is None:
        return None, np.zeros(len(queries))
    closest_defect = np.delete(nearness, normal, axis=1).max(axis=1, initial=-np.inf)
    known = nearness[:, normal]
    suspicion = np.where(np.isfinite(closest_defect), closest_defect, 0.0) - np.where(np.isfinite(known), known, -1.0)
    return queries.labels != normal, suspicion


def _one_hidden(subsets: Sequence[SubsetScore], n_modalities: int) -> Score:
    values = [subset.accuracy.value for subset in subsets if len(subset.modalities) == n_modalities - 1]
    defined = [value for value in values if value is not None]
    if not values or len(defined) < len(values):
        return Score.undefined("the subsets with one modality hidden were not all scored")
    return Score(float(np.mean(defined)))


def _by_modality(gallery: EmbeddingSet, queries: EmbeddingSet, modalities: Sequence[str], class_names: Sequence[str],
                 neighbours: int) -> dict[str, dict[str, Score]]:
    """Scores of each modality's own embedding, over the recordings that have it."""
    table = {}
    for m, name in enumerate(modalities):
        known, asked = gallery.take(gallery.present[:, m]), queries.take(queries.present[:, m])
        reason = one_class_reason(known.labels, class_names, "the gallery") or one_class_reason(asked.labels, class_names)
        if reason:
            table[name] = dict.fromkeys(("accuracy", "macro_f1", "map_at_r"), Score.undefined(reason))
            continue
        predictions = knn_predict(asked.by_modality[:, m], known.by_modality[:, m], known.labels, neighbours)
        result = classification(asked.labels, predictions, class_names)
        ranking = retrieval(asked.by_modality[:, m], asked.labels, known.by_modality[:, m], known.labels)
        table[name] = {"accuracy": result.accuracy, "macro_f1": result.macro_f1, "map_at_r": ranking.means()["map_at_r"]}
    return table


def _joined(gallery: EmbeddingSet, queries: EmbeddingSet, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, codes and sessions of both splits, and which of them are evaluated."""
    return (np.concatenate([gallery.fused, queries.fused]), np.concatenate([gallery.labels, queries.labels]),
            groups[np.concatenate([gallery.rows, queries.rows])], np.arange(len(gallery) + len(queries)) >= len(gallery))


def _worst(queries: EmbeddingSet, predictions: np.ndarray, nearness: np.ndarray, table: SampleTable) -> list[WorstRecording]:
    own = nearness[np.arange(len(queries)), queries.labels]
    others = nearness.copy()
    others[np.arange(len(queries)), queries.labels] = -np.inf
    margin = own - np.where(np.isfinite(others).any(axis=1), others.max(axis=1), -1.0)
    modalities = list(table.modalities)
    return [WorstRecording(
        sample_id=str(table.frame["sample_id"].iat[queries.rows[n]]), group=str(table.frame["group"].iat[queries.rows[n]]),
        row=int(queries.rows[n]), label=table.class_names[queries.labels[n]], predicted=table.class_names[predictions[n]],
        margin=float(margin[n]) if np.isfinite(margin[n]) else None,
        weights={name: float(queries.weights[n, m]) for m, name in enumerate(modalities) if queries.present[n, m]})
        for n in np.argsort(margin, kind="stable")[:WORST]]


def _arrays(gallery: EmbeddingSet, queries: EmbeddingSet, predictions: np.ndarray, table: SampleTable,
            settings: EvaluateSettings) -> tuple[dict[str, np.ndarray], str]:
    both = {name: np.concatenate([getattr(gallery, name), getattr(queries, name)])
            for name in ("fused", "by_modality", "weights", "present", "rows", "labels")}
    left_out = knn_predict(gallery.fused, gallery.fused, gallery.labels, settings.neighbours, gallery.rows, gallery.rows)
    coordinates, method = embedding_map(both["fused"], settings.seed)
    text = {name: table.frame[name].iloc[both["rows"]].to_numpy().astype(str) for name in ("sample_id", "group")}
    split = np.repeat(["train", settings.eval_split], [len(gallery), len(queries)])
    return {**both, "predictions": np.concatenate([left_out, predictions]), "split": split, "map": coordinates, **text}, method


def _notes(plain: Sequence[Baseline], leakage: Leakage, scores: dict[str, Score], table: SampleTable, gallery: EmbeddingSet,
           queries: EmbeddingSet, split: str) -> list[str]:
    """What a reader must know before believing the score, in plain sentences."""
    notes = [leakage.text]
    reached = scores["macro_f1"].value
    for baseline in plain[1:]:
        value = baseline.macro_f1.value
        if value is None:
            notes.append(f"{baseline.name} only: {baseline.macro_f1.reason}.")
        elif reached is not None and value >= reached:
            notes.append(f"{baseline.name} only reach macro-F1 {short(value, 3)}, no less than the model: "
                         f"{', '.join(baseline.columns)} tell the classes apart without any recording.")
    shared = set(table.frame["group"].iloc[gallery.rows]) & set(table.frame["group"].iloc[queries.rows])
    if shared:
        notes.append(f"{len(shared)} session(s) are in both train and {split}, for example {min(shared)}: the score is flattered; "
                     "take split=\"grouped\".")
    return notes

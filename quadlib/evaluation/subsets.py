"""What the result rests on: scores of every subset of the modalities, and each modality's Shapley
value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import torch

from quadlib.config import EvaluateSettings
from quadlib.data.samples import SampleTable
from quadlib.evaluation.crossed import session_interval
from quadlib.evaluation.embed import EmbeddingSet, evaluation_mode
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.metrics import classification, one_class_reason
from quadlib.evaluation.progress import Progress
from quadlib.evaluation.retrieval import knn_and_retrieval
from quadlib.evaluation.score import Score
from quadlib.model.quad import QuadModel


@dataclass(frozen=True)
class SubsetScore:
    """kNN scores when only `modalities` are visible, in gallery and queries alike.

    `n_queries` recordings have at least one of them and are scored; the others are left out.
    """

    modalities: tuple[str, ...]
    n_queries: int
    accuracy: Score
    macro_f1: Score
    map_at_r: Score


@dataclass(frozen=True)
class Tokens:
    """Encoded recordings: `values` (n, M, width) and `present` (n, M) bool on the model's device;
    `labels` and `rows` (n,) int64.
    """

    values: torch.Tensor
    present: torch.Tensor
    labels: np.ndarray
    rows: np.ndarray


@torch.inference_mode()
def encode(model: QuadModel, dataset: Any, rows: np.ndarray, batch_size: int = 128) -> Tokens:
    """Runs every encoder once over the rows; any subset of modalities can then be fused without
    encoding again.
    """
    device = next(model.parameters()).device
    values, present, labels = [], [], []
    said = Progress("embedding", len(rows), "recordings")
    with evaluation_mode(model):
        for batch in dataset.batches(np.asarray(rows, dtype=np.int64), batch_size):
            batch = batch.to(device)
            values.append(model.encode(batch))
            present.append(batch.present)
            labels.append(batch.labels)
            said.step(len(batch))
    return Tokens(
        torch.cat(values), torch.cat(present), torch.cat(labels).cpu().numpy(), np.asarray(rows)
    )


@torch.inference_mode()
def embedded(model: QuadModel, tokens: Tokens, batch_size: int = 4096) -> EmbeddingSet:
    """The embeddings of encoded recordings, as `embed` gives them."""
    with evaluation_mode(model):
        parts = [
            model.read(values, present)
            for values, present in zip(
                tokens.values.split(batch_size), tokens.present.split(batch_size), strict=True
            )
        ]
    fused, by_modality, weights = (
        torch.cat(column).float().cpu().numpy() for column in zip(*parts, strict=True)
    )
    present = tokens.present.cpu().numpy()
    return EmbeddingSet(fused, by_modality, weights, present, tokens.labels, tokens.rows)


@torch.inference_mode()
def fuse(
    model: QuadModel, tokens: Tokens, visible: Sequence[int], batch_size: int = 4096
) -> tuple[np.ndarray, np.ndarray]:
    """Fused unit embeddings (k, D) from the visible modalities alone, and which recordings have any
    of them, bool (n,).
    """
    mask = torch.zeros(tokens.present.shape[1], dtype=torch.bool, device=tokens.present.device)
    mask[list(visible)] = True
    present = tokens.present & mask
    kept = present.any(dim=1)
    with evaluation_mode(model):
        parts = [
            model.read(values, shown).fused
            for values, shown in zip(
                tokens.values[kept].split(batch_size), present[kept].split(batch_size), strict=True
            )
        ]
    return torch.cat(parts).cpu().numpy(), kept.cpu().numpy()


def score_subsets(
    model: QuadModel,
    gallery: Tokens,
    queries: Tokens,
    table: SampleTable,
    settings: EvaluateSettings,
) -> list[SubsetScore]:
    """Scores of all 2^M - 1 subsets of the modalities, single ones first, the full set last;
    macro-F1 with its interval.
    """
    names = list(table.modalities)
    subsets = [
        chosen
        for size in range(1, len(names) + 1)
        for chosen in combinations(range(len(names)), size)
    ]
    said, scores = Progress("scoring", len(subsets), "subsets of the modalities"), []
    for chosen in subsets:
        scores.append(_score_subset(model, gallery, queries, chosen, names, table, settings))
        said.step()
    return scores


def _score_subset(
    model: QuadModel,
    gallery: Tokens,
    queries: Tokens,
    chosen: tuple[int, ...],
    names: Sequence[str],
    table: SampleTable,
    settings: EvaluateSettings,
) -> SubsetScore:
    shown = tuple(names[index] for index in chosen)
    visible = [bool(tokens.present[:, list(chosen)].any()) for tokens in (gallery, queries)]
    if not all(visible):
        nothing = Score.undefined(
            f"no recording of the {'evaluated split' if visible[0] else 'gallery'} has "
            f"{' or '.join(shown)}"
        )
        return SubsetScore(shown, 0, nothing, nothing, nothing)
    known, known_kept = fuse(model, gallery, chosen)
    asked, asked_kept = fuse(model, queries, chosen)
    scores = knn_scores(
        asked,
        queries.labels[asked_kept],
        queries.rows[asked_kept],
        known,
        gallery.labels[known_kept],
        table,
        settings,
    )
    return SubsetScore(shown, int(asked_kept.sum()), **scores)


def knn_scores(
    queries: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    table: SampleTable,
    settings: EvaluateSettings,
) -> dict[str, Score]:
    """accuracy, macro_f1 (with its interval over sessions) and map_at_r of queries in `rows` of the
    table against a gallery.
    """
    names = table.class_names
    reason = one_class_reason(gallery_labels, names, "the gallery") or one_class_reason(
        labels, names
    )
    if reason:
        return dict.fromkeys(("accuracy", "macro_f1", "map_at_r"), Score.undefined(reason))
    predictions, ranking = knn_and_retrieval(
        queries, labels, gallery, gallery_labels, settings.neighbours
    )
    result = classification(labels, predictions, names)
    bootstrap = SessionBootstrap(
        table.frame["group"].to_numpy()[rows], settings.resamples, settings.seed
    )
    f1 = session_interval(result.macro_f1, bootstrap, (labels, predictions), len(names))
    return {"accuracy": result.accuracy, "macro_f1": f1, "map_at_r": ranking.means()["map_at_r"]}


def shapley_values(subsets: Sequence[SubsetScore], empty_value: float) -> dict[str, Score]:
    """Each modality's mean contribution to macro-F1 over all orders of adding them; together they
    make full set minus `empty_value`.

    `empty_value` is the score of no modality at all: the majority class's. An order that passes an
    undefined subset is left out, and the shares say so; they are undefined where none is left.
    """
    names = max((subset.modalities for subset in subsets), key=len)
    full = frozenset(names)
    value = {frozenset[str](): empty_value} | {
        frozenset(subset.modalities): subset.macro_f1.value
        for subset in subsets
        if subset.macro_f1.value is not None
    }
    sets = sorted(value, key=len)
    orders = {frozenset[str](): 1}  # in how many ways each set is reached from none
    for chosen in sets[1:]:
        orders[chosen] = sum(orders.get(chosen - {name}, 0) for name in chosen)
    ways = {full: 1}  # and the full set from each
    for chosen in reversed(sets):
        ways.setdefault(chosen, sum(ways.get(chosen | {name}, 0) for name in full - chosen))
    total = orders.get(full, 0)
    unknown = next((subset for subset in subsets if not subset.macro_f1.defined), None)
    reason = ""
    if unknown is not None:
        reason = (
            f"the score of {' + '.join(unknown.modalities)} is undefined: {unknown.macro_f1.reason}"
        )
        if not total:
            return {name: Score.undefined(reason) for name in names}
        reason = f"over {total} of {factorial(len(names))} orders: {reason}"
    result = {}
    for name in names:
        added = sum(
            orders[chosen] * ways[chosen | {name}] * (value[chosen | {name}] - value[chosen])
            for chosen in sets
            if name not in chosen and chosen | {name} in value
        )
        result[name] = Score(added / total, reason=reason)
    return result


def one_hidden(subsets: Sequence[SubsetScore], n_modalities: int) -> Score:
    """Mean accuracy over the subsets that hide exactly one modality."""
    values = [
        subset.accuracy.value for subset in subsets if len(subset.modalities) == n_modalities - 1
    ]
    defined = [value for value in values if value is not None]
    if not values or len(defined) < len(values):
        return Score.undefined("the subsets with one modality hidden were not all scored")
    return Score(float(np.mean(defined)))

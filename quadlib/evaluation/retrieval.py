"""Retrieval: how well embeddings find the recordings of their class; lone queries are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quadlib.evaluation.inputs import (
    check_embeddings,
    check_lengths,
    check_neighbours,
    common_codes,
    id_codes,
)
from quadlib.evaluation.neighbours import DECIMALS, refuse_no_voter, search, vote
from quadlib.evaluation.score import Score


@dataclass(frozen=True)
class Retrieval:
    """Retrieval scores per query, float64 (n_queries,), NaN for a lone query: one that is
    unlabelled or whose class the gallery lacks.

    MAP@R is the mean of `average_precision_at_r` (Musgrave et al., ECCV 2020), R the number of the
    query's positives in the gallery.
    """

    precision_at_1: np.ndarray
    r_precision: np.ndarray
    average_precision_at_r: np.ndarray
    reciprocal_rank: np.ndarray

    def means(self) -> dict[str, Score]:
        """precision_at_1, r_precision, map_at_r and mrr over the queries that have a positive."""
        names = {
            "precision_at_1": self.precision_at_1,
            "r_precision": self.r_precision,
            "map_at_r": self.average_precision_at_r,
            "mrr": self.reciprocal_rank,
        }
        counted = ~np.isnan(self.precision_at_1)
        if not counted.any():
            return dict.fromkeys(
                names, Score.undefined("no query has a recording of its class in the gallery")
            )
        return {name: Score(float(values[counted].mean())) for name, values in names.items()}


def retrieval(
    queries: np.ndarray,
    query_labels: Any,
    gallery: np.ndarray | None = None,
    gallery_labels: Any = None,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
) -> Retrieval:
    """Ranks the gallery by cosine for every query; without a gallery the queries search among
    themselves, each without itself.

    Equally near rows rank in gallery order. Unlabelled rows neither search nor are found.

    Args:
        queries: Unit rows (n_queries, D).
        query_labels: One label a row, see quadlib.loss.labels; they are compared as they are.
        gallery: Unit rows (n_gallery, D), or None.
        gallery_labels: One label a row, with a gallery.
        query_ids: What a query must not meet, (n_queries,): its own row or its session.
        gallery_ids: The same of the gallery, (n_gallery,).

    Returns:
        Precision at 1, R-precision, average precision at R and reciprocal rank of every query.

    Raises:
        TypeError: Labels are floats, or numbers on one side and text on the other.
        ValueError: Rows are not finite or not of length 1, lengths differ, or a gallery comes
            without labels.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, -0.8]])
        >>> str(retrieval(rows, ["pore", "pore", "crack", "crack"]).means()["map_at_r"])
        '.500'
    """
    return _search(
        queries, query_labels, gallery, gallery_labels, query_ids, gallery_ids, neighbours=0
    )[1]


def knn_and_retrieval(
    queries: np.ndarray,
    query_labels: Any,
    gallery: np.ndarray,
    gallery_labels: Any,
    neighbours: int,
) -> tuple[np.ndarray, Retrieval]:
    """What knn_predict and retrieval say, from one search instead of two."""
    check_neighbours(neighbours)
    return _search(
        queries, query_labels, gallery, gallery_labels, None, None, neighbours=neighbours
    )


def _search(
    queries: np.ndarray,
    query_labels: Any,
    gallery: np.ndarray | None,
    gallery_labels: Any,
    query_ids: np.ndarray | None,
    gallery_ids: np.ndarray | None,
    *,
    neighbours: int,
) -> tuple[np.ndarray, Retrieval]:
    if (gallery is None) != (gallery_labels is None):
        raise ValueError(
            "a gallery needs gallery_labels, and gallery_labels a gallery; give both, or neither "
            "to search among the queries"
        )
    if gallery is None:
        gallery, gallery_labels = queries, query_labels
        query_ids = gallery_ids = np.arange(len(queries))
    check_embeddings(queries=queries, gallery=gallery)
    check_lengths(len(queries), "queries", query_labels=query_labels, query_ids=query_ids)
    check_lengths(len(gallery), "gallery", gallery_labels=gallery_labels, gallery_ids=gallery_ids)
    wanted, codes, names = common_codes(query_labels, gallery_labels)
    ids = id_codes(query_ids, gallery_ids)
    labelled = np.flatnonzero(codes >= 0)
    if len(labelled) < len(codes):
        gallery, codes = gallery[labelled], codes[labelled]
        ids = None if ids is None else (ids[0], ids[1][labelled])
    positives = _positives(wanted, codes, ids)
    values = np.full((4, len(queries)), np.nan)
    predictions = np.full(len(queries), -1, dtype=np.int64)

    def score(rows: np.ndarray, similarity: np.ndarray, order: np.ndarray) -> None:
        if neighbours:
            predictions[rows] = vote(codes, order[:, :neighbours], similarity)
        asked = positives[rows] > 0
        rows, similarity, order = rows[asked], similarity[asked], order[asked]
        if len(rows):
            values[:, rows] = _scores(similarity, order, codes, wanted[rows], positives[rows])

    if neighbours:
        refuse_no_voter(len(queries), len(gallery))
    depth = np.maximum(positives, min(neighbours, len(gallery)))
    search(queries, gallery, depth, score, ids)
    return names[predictions] if neighbours else predictions, Retrieval(*values)


def _positives(
    wanted: np.ndarray, codes: np.ndarray, ids: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """R of every query: gallery rows of its class that its id does not exclude."""
    n_codes = int(max(wanted.max(initial=-1), codes.max(initial=-1))) + 1
    counts = np.bincount(codes, minlength=n_codes + 1)  # the last, of no row, is for unlabelled
    positives = counts[wanted]
    if ids is not None:
        pairs, excluded = np.unique(ids[1] * n_codes + codes, return_counts=True)
        mine = ids[0] * n_codes + wanted
        place = np.minimum(np.searchsorted(pairs, mine), max(len(pairs) - 1, 0))
        if len(pairs):
            positives = positives - np.where(pairs[place] == mine, excluded[place], 0)
    return np.where(wanted >= 0, positives, 0)


def _scores(
    similarity: np.ndarray,
    order: np.ndarray,
    codes: np.ndarray,
    wanted: np.ndarray,
    positives: np.ndarray,
) -> np.ndarray:
    """The four scores (4, rows) of queries with a positive, from their nearest gallery rows."""
    position = np.arange(1, order.shape[1] + 1)
    relevant = codes[order] == wanted[:, None]
    relevant &= np.isfinite(np.take_along_axis(similarity, order, axis=1))
    within_r = relevant & (position <= positives[:, None])
    precision = np.cumsum(relevant, axis=1) / position
    first = np.argmax(relevant, axis=1) + 1
    late = np.flatnonzero(~relevant.any(axis=1))
    if len(late):
        first[late] = _first_positive(similarity[late], codes == wanted[late, None])
    return np.stack(
        [
            relevant[:, 0],
            within_r.sum(axis=1) / positives,
            (precision * within_r).sum(axis=1) / positives,
            1 / first,
        ]
    )


def _first_positive(similarity: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Rank (rows,) from 1 of the nearest relevant row, counted without sorting."""
    rounded = np.round(similarity, DECIMALS)
    positive = np.where(relevant, rounded, -np.inf)
    best = positive.argmax(axis=1)  # the first of equals, as in the ranking
    value = positive[np.arange(len(best)), best][:, None]
    before = np.arange(rounded.shape[1]) < best[:, None]
    return 1 + ((rounded > value) | ((rounded == value) & before)).sum(axis=1)


def cross_modal_map_at_r(
    queries: np.ndarray,
    query_present: np.ndarray,
    query_labels: np.ndarray,
    gallery: np.ndarray,
    gallery_present: np.ndarray,
    gallery_labels: np.ndarray,
) -> tuple[Score, np.ndarray]:
    """MAP@R of each modality searching each other one: the mean over the ordered pairs, and the
    matrix (M, M) with NaN where undefined.

    Embeddings (n, M, D), present (n, M) bool; only recordings that have the modality search or are
    found.
    """
    n_modalities = queries.shape[1]
    matrix = np.full((n_modalities, n_modalities), np.nan)
    for one in range(n_modalities):
        asks = query_present[:, one]
        for other in range(n_modalities):
            answers = gallery_present[:, other]
            if one == other or not asks.any() or not answers.any():
                continue
            pair = retrieval(
                queries[asks, one],
                query_labels[asks],
                gallery[answers, other],
                gallery_labels[answers],
            )
            value = pair.means()["map_at_r"].value
            matrix[one, other] = np.nan if value is None else value
    pairs = matrix[~np.isnan(matrix)]
    if n_modalities == 1:
        return Score.undefined("there is one modality alone"), matrix
    if not len(pairs):
        return Score.undefined("no two modalities have recordings of one class"), matrix
    return Score(float(pairs.mean())), matrix

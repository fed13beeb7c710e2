"""Neighbours of unit embeddings: exact rankings, the kNN vote, and nearness to each class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

BLOCK_ELEMENTS = 4_000_000  # similarities held at a time: 32 MB
# Equal similarities must rank by position and not by the rounding noise of a matrix product.
DECIMALS = 12


class Ranking(NamedTuple):
    """Gallery rows from the nearest on: `order` int64 and `similarity` float64, both (n_queries,
    depth); excluded ones last, at -inf.
    """

    order: np.ndarray
    similarity: np.ndarray


def similarity_blocks(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Cosines (rows, n_gallery) float64 of unit rows, in blocks of queries; a pair with the same id
    is at -inf.

    Ids are what a query must not meet: its own row (leave one recording out) or its session (leave
    one session out).
    """
    if (query_ids is None) != (gallery_ids is None):
        raise ValueError("give ids for both queries and gallery, or for neither")
    right = np.asarray(gallery, dtype=np.float64).T
    step = max(1, BLOCK_ELEMENTS // max(1, right.shape[1]))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        similarity = np.round(np.asarray(queries[block], dtype=np.float64) @ right, DECIMALS)
        if query_ids is not None and gallery_ids is not None:
            similarity[query_ids[block, None] == gallery_ids[None, :]] = -np.inf
        yield block, similarity


def rank(
    queries: np.ndarray,
    gallery: np.ndarray,
    depth: int,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
) -> Ranking:
    """The `depth` nearest gallery rows of every query, exact; equally near ones in gallery
    order.
    """
    depth = min(depth, len(gallery))
    order = np.empty((len(queries), depth), dtype=np.int64)
    nearest = np.empty((len(queries), depth))
    for block, similarity in similarity_blocks(queries, gallery, query_ids, gallery_ids):
        order[block] = np.argsort(-similarity, axis=1, kind="stable")[:, :depth]
        nearest[block] = np.take_along_axis(similarity, order[block], axis=1)
    return Ranking(order, nearest)


def knn_predict(
    queries: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    neighbours: int,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Majority label of each query's nearest gallery rows, (n_queries,); among equal votes the
    class of the nearest row wins.

    Raises ValueError where a query has no gallery row left to vote.
    """
    ranking = rank(queries, gallery, neighbours, query_ids, gallery_ids)
    votes_at_all = np.isfinite(ranking.similarity)
    if len(queries) and (not len(gallery) or not votes_at_all[:, 0].all()):
        raise ValueError(
            f"the kNN gallery of {len(gallery)} recordings leaves some of {len(queries)} queries "
            "without a neighbour; give it recordings of other ids, or leave the ids out"
        )
    labels = gallery_labels[ranking.order]
    votes = ((labels[:, :, None] == labels[:, None, :]) & votes_at_all[:, None, :]).sum(axis=2)
    winner = np.argmax(
        np.where(votes_at_all, votes, 0), axis=1
    )  # the first of the most: the nearest
    return np.take_along_axis(labels, winner[:, None], axis=1)[:, 0]


def class_nearness(
    queries: np.ndarray,
    gallery: np.ndarray,
    gallery_codes: np.ndarray,
    n_classes: int,
    neighbours: int,
) -> np.ndarray:
    """Mean cosine to the nearest rows of each class, (n_queries, n_classes) float64; -inf for a
    class that the gallery lacks.
    """
    nearness = np.full((len(queries), n_classes), -np.inf)
    members = [np.flatnonzero(gallery_codes == code) for code in range(n_classes)]
    for block, similarity in similarity_blocks(queries, gallery):
        for code, rows in enumerate(members):
            k = min(neighbours, len(rows))
            if k:
                nearness[block, code] = np.partition(similarity[:, rows], -k, axis=1)[:, -k:].mean(
                    axis=1
                )
    return nearness

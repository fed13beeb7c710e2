"""Neighbours of unit embeddings: exact rankings tile by tile, the kNN vote, nearness to classes.

No ranking is sorted deeper than it is asked for. Similarities are cosines in float64, rounded to 12
decimals, and equally near rows rank in gallery order, so every result is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from quadlib.evaluation.inputs import (
    check_embeddings,
    check_lengths,
    check_neighbours,
    id_codes,
    one_label_each,
)

TILE_ELEMENTS = 16_000_000  # similarities at a time in each thread: 128 MB
MOST_TILE_ROWS = 1024
# Equal similarities must rank by position and not by the rounding noise of a matrix product.
DECIMALS = 12
ROUNDING = 2 * 10.0**-DECIMALS
STRIDE = (
    17  # each 17th column tells how near the wanted ones must be; prime, so that no layout repeats
)

# use(rows, similarity, order): query rows of a tile, their cosines (rows, n_gallery), -inf where
# excluded, and the columns of the nearest (rows, depth)
Use = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


class Ranking(NamedTuple):
    """Gallery rows from the nearest on: `order` int64 and `similarity` float64, both (n_queries,
    depth); excluded ones last, at -inf.
    """

    order: np.ndarray
    similarity: np.ndarray


def search(
    queries: np.ndarray,
    gallery: np.ndarray,
    depth: np.ndarray,
    use: Use,
    ids: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Hands every tile of queries to `use` with its nearest gallery rows, at least `depth` (n,) of
    each query; tiles run in as many threads as torch has.

    Queries of depth 0 are left out. `ids` are codes of both sides; pairs of the same code are
    excluded.
    """
    left = np.ascontiguousarray(queries, dtype=np.float64)
    right = np.ascontiguousarray(gallery, dtype=np.float64).T
    by_depth = np.argsort(depth, kind="stable")  # a tile goes as deep as the deepest of its queries
    by_depth = by_depth[depth[by_depth] > 0]
    step = max(1, min(MOST_TILE_ROWS, TILE_ELEMENTS // max(1, right.shape[1])))
    if ids is not None:
        by_id = np.argsort(ids[1], kind="stable")
        sorted_ids = ids[1][by_id]

    workers = torch.get_num_threads()

    def every_nth_tile(first: int) -> None:
        # one buffer a thread: fresh memory for every tile costs a twentieth of the whole
        buffer = np.empty((min(step, len(by_depth)), right.shape[1]))
        for start in range(first * step, len(by_depth), workers * step):
            rows = by_depth[start : start + step]
            similarity = np.matmul(left[rows], right, out=buffer[: len(rows)])
            if ids is not None:
                _exclude(similarity, ids[0][rows], by_id, sorted_ids)
            use(rows, similarity, nearest(similarity, int(depth[rows].max())))

    # each tile multiplies in its own thread: BLAS threads within them take a quarter longer
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(every_nth_tile, range(workers)):
            pass  # an error of a tile is raised here


def _exclude(
    similarity: np.ndarray, ids: np.ndarray, by_id: np.ndarray, sorted_ids: np.ndarray
) -> None:
    """Sets pairs of the same id to -inf without comparing each with each: `ids` (rows,) are looked
    up in the sorted ids of the gallery, whose rows are `by_id`.
    """
    start, end = (np.searchsorted(sorted_ids, ids, side=side) for side in ("left", "right"))
    count = end - start
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    similarity[
        np.repeat(np.arange(len(ids)), count), by_id[np.repeat(start, count) + step]
    ] = -np.inf


def nearest(similarity: np.ndarray, depth: int) -> np.ndarray:
    """Columns (rows, depth) of the largest similarities of each row, rounded, in order; equal ones
    by position.

    A sample of the columns says how large a similarity must be, with room to spare; only those that
    reach it are sorted. Where too few of a row do, the exact bound is looked up.
    """
    rows, n = similarity.shape
    depth = min(depth, n)
    share = depth / STRIDE
    place = math.ceil(share + 4 * math.sqrt(share) + 4)  # four standard deviations of a sample
    if 4 * place * STRIDE > n:  # so many are wanted that choosing first saves nothing
        return np.argsort(-np.round(similarity, DECIMALS), axis=1, kind="stable")[:, :depth]
    least = np.partition(similarity[:, ::STRIDE], -place, axis=1)[:, -place]
    row, column, above = _at_least(similarity, least)
    short = np.bincount(row[above], minlength=rows) < depth
    if short.any():
        least[short] = np.partition(similarity[short], n - depth, axis=1)[:, n - depth]
        row, column, above = _at_least(similarity, least)
    count = np.bincount(row, minlength=rows)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    columns = np.zeros((rows, count.max()), dtype=np.int64)
    distance = np.full(columns.shape, np.inf)
    columns[row, slot] = column
    distance[row, slot] = -np.round(similarity[row, column], DECIMALS)
    order = np.argsort(distance, axis=1, kind="stable")[:, :depth]
    return np.take_along_axis(columns, order, axis=1)


def _at_least(
    similarity: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of all similarities that may round to `least` (rows,) or more, and which of
    them are not below it.
    """
    flat = np.flatnonzero(similarity >= least[:, None] - ROUNDING)
    row, column = np.divmod(flat, similarity.shape[1])
    return row, column, similarity.ravel()[flat] >= least[row]


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
    ids = id_codes(query_ids, gallery_ids)
    right = np.asarray(gallery, dtype=np.float64).T
    step = max(1, TILE_ELEMENTS // max(1, right.shape[1]))
    for start in range(0, len(queries), step):
        block = slice(start, start + step)
        similarity = np.round(np.asarray(queries[block], dtype=np.float64) @ right, DECIMALS)
        if ids is not None:
            similarity[ids[0][block, None] == ids[1][None, :]] = -np.inf
        yield block, similarity


def rank(
    queries: np.ndarray,
    gallery: np.ndarray,
    depth: int,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
) -> Ranking:
    """The `depth` nearest gallery rows of every query, exact; equally near ones in gallery order.

    Args:
        queries: Unit rows (n_queries, D).
        gallery: Unit rows (n_gallery, D).
        depth: How many of them, from 1 on; all of them where the gallery has fewer.
        query_ids: What a query must not meet, (n_queries,): its own row or its session.
        gallery_ids: The same of the gallery, (n_gallery,).

    Returns:
        Their rows and similarities, (n_queries, depth).

    Raises:
        ValueError: Rows are not finite or not of length 1, or lengths differ.

    Example:
        >>> import numpy as np
        >>> rows = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> rank(rows[:1], rows, 2).order
        array([[0, 1]])
    """
    check_neighbours(depth)
    check_embeddings(queries=queries, gallery=gallery)
    check_lengths(len(queries), "queries", query_ids=query_ids)
    check_lengths(len(gallery), "gallery", gallery_ids=gallery_ids)
    depth = min(depth, len(gallery))
    order = np.empty((len(queries), depth), dtype=np.int64)
    similarity = np.empty((len(queries), depth))

    def keep(rows: np.ndarray, tile: np.ndarray, nearest_rows: np.ndarray) -> None:
        order[rows] = nearest_rows
        similarity[rows] = np.round(np.take_along_axis(tile, nearest_rows, axis=1), DECIMALS)

    search(queries, gallery, np.full(len(queries), depth), keep, id_codes(query_ids, gallery_ids))
    return Ranking(order, similarity)


def knn_predict(
    queries: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: Any,
    neighbours: int,
    query_ids: np.ndarray | None = None,
    gallery_ids: np.ndarray | None = None,
) -> np.ndarray:
    """Majority label of each query's nearest gallery rows, (n_queries,); among equal votes the
    class of the nearest row wins.

    Unlabelled gallery rows do not vote. Where fewer than `neighbours` rows can vote, all of them
    do.

    Args:
        queries: Unit rows (n_queries, D).
        gallery: Unit rows (n_gallery, D).
        gallery_labels: One label a row, see quadlib.loss.labels.
        neighbours: How many rows vote, from 1 on.
        query_ids: What a query must not meet, (n_queries,): its own row or its session.
        gallery_ids: The same of the gallery, (n_gallery,).

    Returns:
        A label for each query, of the gallery labels' dtype.

    Raises:
        ValueError: Rows are not finite or not of length 1, lengths differ, neighbours is below 1,
            or a query has no labelled row left to vote.

    Example:
        >>> import numpy as np
        >>> gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
        >>> knn_predict(gallery[:1], gallery, np.array(["pore", "crack", "crack"]), 3).tolist()
        ['crack']
    """
    if gallery_labels is None:
        raise ValueError("gallery_labels is None, and kNN votes with them; give one label a row")
    check_neighbours(neighbours)
    check_lengths(len(gallery), "gallery", gallery_labels=gallery_labels, gallery_ids=gallery_ids)
    labels, missing = one_label_each(gallery_labels, "gallery_labels")
    if missing.any():
        labels, gallery = labels[~missing], gallery[~missing]
        gallery_ids = None if gallery_ids is None else np.asarray(gallery_ids)[~missing]
    check_embeddings(queries=queries, gallery=gallery)
    check_lengths(len(queries), "queries", query_ids=query_ids)
    names, codes = np.unique(labels, return_inverse=True)
    winner = np.empty(len(queries), dtype=np.int64)

    def elect(rows: np.ndarray, tile: np.ndarray, order: np.ndarray) -> None:
        winner[rows] = vote(codes, order, tile)

    refuse_no_voter(len(queries), len(gallery))
    depth = np.full(len(queries), min(neighbours, len(gallery)))
    search(queries, gallery, depth, elect, id_codes(query_ids, gallery_ids))
    return names[winner]


def vote(codes: np.ndarray, order: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """The class (rows,) that most of `order` (rows, k) have, the nearest one's among equals;
    excluded rows have no vote.

    Raises ValueError where all gallery rows of a query are excluded.
    """
    counted = np.isfinite(np.take_along_axis(similarity, order, axis=1))
    if not counted[:, 0].all():
        refuse_no_voter(len(order), 0)
    chosen, n_codes = codes[order], int(codes.max()) + 1
    numbered = chosen + n_codes * np.arange(len(order))[:, None]
    votes = np.bincount(numbered[counted], minlength=len(order) * n_codes)[numbered]
    winner = np.argmax(np.where(counted, votes, 0), axis=1)  # the first of the most: the nearest
    return np.take_along_axis(chosen, winner[:, None], axis=1)[:, 0]


def refuse_no_voter(n_queries: int, n_gallery: int) -> None:
    """Raises ValueError where there are queries and no gallery row that may vote."""
    if n_queries and not n_gallery:
        raise ValueError(
            f"the kNN gallery leaves {n_queries} queries without a neighbour: it has no labelled "
            "recording, or all of them share the query's id; give it others, or leave the ids out"
        )


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

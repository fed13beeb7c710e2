"""A two-dimensional map of embeddings: for the eye, never for a conclusion."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

LEAST_FOR_TSNE, MOST_FOR_TSNE = 50, 1_000
PERPLEXITY = 30.0
ITERATIONS = 300
NEIGHBOURS = 3  # between which a recording lies that t-SNE did not place


def embedding_map(embeddings: np.ndarray, seed: int = 0) -> tuple[np.ndarray, str]:
    """Coordinates (n, 2) float32 and the method's name: t-SNE started from PCA, or PCA alone for
    very few recordings. Of more than a thousand, t-SNE places a thousand, and each other lies
    between the nearest of those.

    The same embeddings and seed give the same map on one machine. Fewer than two distinct
    recordings all lie at 0.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    if not len(rows) or np.ptp(rows, axis=0).max() == 0:
        return np.zeros((len(rows), 2), dtype=np.float32), "none: all embeddings are equal"
    if len(rows) <= MOST_FOR_TSNE:
        return _placed(rows, seed)
    chosen = np.sort(np.random.default_rng([seed, 0x3A9]).permutation(len(rows))[:MOST_FOR_TSNE])
    spread, method = _placed(rows[chosen], seed)
    tree = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(rows[chosen])
    distance, nearest = tree.kneighbors(rows)
    weight = 1 / np.maximum(distance, 1e-9)
    places = (weight[:, :, None] * spread[nearest]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    places[chosen] = spread
    return places.astype(np.float32), f"{method} of {MOST_FOR_TSNE:,}, the others between them"


def _placed(rows: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    # full SVD of small matrices: the randomised one would need a seed of its own and gains nothing
    # here
    flat = PCA(min(2, *rows.shape), svd_solver="full").fit_transform(rows)
    flat = np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    if len(rows) < LEAST_FOR_TSNE:
        return flat.astype(np.float32), "PCA"
    start = flat / flat[:, 0].std() * 1e-4
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    spread = TSNE(
        init=start.astype(np.float32), perplexity=perplexity, max_iter=ITERATIONS, random_state=seed
    ).fit_transform(rows)
    return np.asarray(spread, dtype=np.float32), "t-SNE"

"""Neural collapse (Papyan, Han & Donoho 2020): how far classes have become points, and these points
a simplex.
"""

from __future__ import annotations

import numpy as np

from quadlib.evaluation.score import Score


def neural_collapse(embeddings: np.ndarray, codes: np.ndarray) -> dict[str, Score]:
    """`nc1`: variability within classes over that between them, tr(W B^+) / classes, 0 where every
    class is one point. `nc2`: mean absolute difference of the cosines between centred class means
    and -1 / (classes - 1), 0 where these lie as far apart as they can. Embeddings (n, D), codes
    (n,).
    """
    names, codes, count = np.unique(codes, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return dict.fromkeys(("nc1", "nc2"), Score.undefined("it needs two classes"))
    rows = np.asarray(embeddings, dtype=np.float64)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, codes, rows)
    means = sums / count[:, None]
    centred = means - means.mean(axis=0)
    length = np.linalg.norm(centred, axis=1)
    if length.min() < 1e-9:
        reason = "a class mean lies in the middle of all, so no direction leads to it"
        return dict.fromkeys(("nc1", "nc2"), Score.undefined(reason))
    spread = rows - means[codes]
    within = spread.T @ spread / len(rows)
    between = centred.T @ centred / len(names)
    nc1 = float(np.trace(within @ np.linalg.pinv(between, hermitian=True)) / len(names))
    cosine = (centred @ centred.T) / np.outer(length, length)
    apart = ~np.eye(len(names), dtype=bool)
    nc2 = float(np.abs(cosine[apart] + 1 / (len(names) - 1)).mean())
    once = Score.undefined("no class has two recordings")
    return {"nc1": Score(nc1) if count.max() > 1 else once, "nc2": Score(nc2)}

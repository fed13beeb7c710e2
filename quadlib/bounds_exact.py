"""The exact optimum of SupCon for a batch: a convex program over the Gram matrix of the class means."""

from __future__ import annotations

import numpy as np


def exact_floor(counts: np.ndarray, temperature: float, *, rectified: bool = False) -> float:
    """The least value that embeddings of enough dimensions reach for these class counts (n_classes,), in nats; NaN where no anchor has a
    positive.

    At the optimum a class is one point, so the loss is (1/n_v) sum over classes with l >= 2 of l ln(l - 1 + sum over other classes of l'
    exp((G - 1) / T)), convex in the Gram matrix G of the class points: unit diagonal, positive semidefinite. G = U U^T with as many
    dimensions as classes loses nothing, and is minimised by L-BFGS from the regular simplex. With rectified embeddings the axes are the
    optimum, where the closed form is exact.
    """
    from scipy.optimize import minimize  # the rest of the core does without scipy

    from quadlib.bounds import floor_of_counts

    sizes = np.asarray(counts, dtype=np.float64)
    sizes = sizes[sizes > 0]
    closed = float(floor_of_counts(sizes, temperature, rectified=rectified))
    has_positive = sizes >= 2
    if rectified or len(sizes) == 1 or not has_positive.any():
        return closed
    k = len(sizes)
    weights = np.where(has_positive, sizes, 0.0) / sizes[has_positive].sum()
    others = np.repeat(sizes[None], k, 0)
    np.fill_diagonal(others, 0.0)

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        points = flat.reshape(k, k)
        length = np.linalg.norm(points, axis=1, keepdims=True)
        unit = points / length
        energy = others * np.exp((unit @ unit.T - 1.0) / temperature)
        inside = np.where(has_positive, sizes - 1, 1.0) + energy.sum(1)
        pull = energy * (weights / inside)[:, None] / temperature
        by_unit = (pull + pull.T) @ unit
        by_points = (by_unit - unit * (by_unit * unit).sum(1, keepdims=True)) / length
        return float((weights * np.log(inside)).sum()), by_points.ravel()

    # a little off the simplex, so that the search can leave its symmetry
    start = np.eye(k) - 1.0 / k + 0.01 * np.random.default_rng(0).standard_normal((k, k))
    found = minimize(value_and_gradient, start.ravel(), jac=True, method="L-BFGS-B",
                     options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-12})
    return max(float(found.fun), closed)

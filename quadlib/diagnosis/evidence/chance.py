"""What chance alone does: compositions of batches drawn without replacement, and the tail of a
count.

Notation: class sizes n_c adding up to N, batches of B. Multivariate hypergeometric law throughout.
"""

from __future__ import annotations

import math

import numpy as np

_log_factorial = np.vectorize(lambda n: math.lgamma(n + 1.0), otypes=[float])


def log_choose(n: np.ndarray | int, k: np.ndarray | int) -> np.ndarray:
    """ln C(n, k), minus infinity where k > n."""
    n, k = np.broadcast_arrays(np.asarray(n, dtype=float), np.asarray(k, dtype=float))
    possible = (k <= n) & (k >= 0)
    inside = np.where(possible, k, 0)
    return np.where(
        possible, _log_factorial(n) - _log_factorial(inside) - _log_factorial(n - inside), -np.inf
    )


def one_class_log10(sizes: np.ndarray, batch: int) -> float:
    """log10 of P(all of a batch are of one class) = sum_c C(n_c, B) / C(N, B)."""
    logs = log_choose(sizes, batch) - log_choose(int(sizes.sum()), batch)
    top = logs.max(initial=-np.inf)
    return (
        float((top + np.log(np.exp(logs - top).sum())) / math.log(10))
        if np.isfinite(top)
        else -math.inf
    )


def lone_share(sizes: np.ndarray, batch: int) -> float:
    """Expected share of anchors without a positive: sum_c (n_c / N) C(N - n_c, B - 1) / C(N - 1, B
    - 1).
    """
    total = int(sizes.sum())
    if batch > total or total < 2:
        return float("nan")
    return float(
        (
            sizes
            / total
            * np.exp(log_choose(total - sizes, batch - 1) - log_choose(total - 1, batch - 1))
        ).sum()
    )


def composition_log10(counts: np.ndarray, sizes: np.ndarray) -> float:
    """log10 of the probability of one batch's class counts: prod_c C(n_c, count_c) / C(N, B)."""
    return float(
        (log_choose(sizes, counts).sum() - log_choose(int(sizes.sum()), int(counts.sum())))
        / math.log(10)
    )


def binomial_tail(count: int, trials: int, p: float) -> float:
    """P(X >= count) for X ~ Binomial(trials, p)."""
    if count <= 0 or p >= 1:
        return 1.0
    if p <= 0:
        return 0.0
    k = np.arange(count, trials + 1)
    return float(
        min(
            1.0,
            np.exp(log_choose(trials, k) + k * math.log(p) + (trials - k) * math.log1p(-p)).sum(),
        )
    )


def power_of_ten(exponent: float) -> str:
    """A tiny probability as text."""
    if exponent == -math.inf:
        return "0"
    return f"{10**exponent:.2g}" if exponent > -6 else f"1e{math.floor(exponent)}"

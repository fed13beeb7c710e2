"""Where a supervised contrastive loss value stands: its collapse plateau, its floor, its ceiling,
and what a stuck value is.

Notation: N anchors (batch size times views), unit embeddings, temperature T, class counts l_1..l_k
summing to N. Sources: Khosla et al. 2020 (arXiv 2004.11362); Graf et al. 2021 (arXiv 2102.08817);
Kini et al., ICLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from quadlib.loss.labels import class_codes

SUPCONTRAST_BASE_TEMPERATURE = 0.07


def collapse_value(n_anchors: int) -> float:
    """The loss when all similarities are equal: ln(N - 1), whatever the labels and the temperature;
    the gradient there is 0.

    Raises ValueError below 2 anchors, where there is nothing to compare with.
    """
    if n_anchors < 2:
        raise ValueError(
            f"n_anchors is {n_anchors}; at least 2 are needed, since an anchor is compared with "
            "the others"
        )
    return math.log(n_anchors - 1)


def floor(
    labels: Any,
    temperature: float,
    n_views: int = 1,
    *,
    kind: Literal["labels", "counts"] = "labels",
    unlabelled: int | str | None = -1,
    rectified: bool = False,
    exact: bool = False,
) -> float:
    """The value that no embedding of this batch can go below, in nats; NaN where no anchor has a
    positive.

    Args:
        labels: The labels of one batch, (N,); see read_labels. With kind="counts" its counts per
            class, whole numbers, zeros allowed; a mapping from class to count needs no kind.
        temperature: T.
        n_views: Views of each sample; it multiplies the counts.
        kind: What `labels` are. Nothing is guessed: eight each of 1..4 are labels and counts alike.
        unlabelled: The label of samples without one, each of which is a class of its own.
        rectified: The embeddings end in a ReLU, so that no cosine is below 0.
        exact: The optimum itself, by a convex program over the Gram matrix of the class means,
            where the closed form is a lower bound (equal to 1e-5 for T <= 0.1).

    Raises:
        ValueError: No labels or counts of one batch, or a temperature that is none.

    Example:
        >>> round(floor([1, 2, 3, 4] * 8, temperature=0.1), 4)
        1.9459
        >>> round(floor([8, 8, 8, 8], temperature=0.1, kind="counts"), 4)
        1.9459
    """
    _positive("temperature", temperature)
    counts = class_counts(labels, kind, unlabelled) * n_views
    if exact:
        return exact_floor(counts, temperature, rectified=rectified)
    return float(floor_of_counts(counts, temperature, rectified=rectified))


def floor_of_counts(
    counts: np.ndarray, temperature: float, *, rectified: bool = False
) -> np.ndarray:
    """The closed-form floor of many batches at once: counts (..., n_classes) give floors (...), NaN
    where no anchor has a positive.

    The mean over classes with at least two members, weighted by members, of ln(l - 1 + (N - l)
    exp(-2/T)), and, where it is higher, the balanced simplex bound of Graf et al. for batches whose
    classes are equally large.
    """
    counts = np.asarray(counts, dtype=np.float64)
    n_anchors = counts.sum(-1, keepdims=True)
    has_positive = counts >= 2
    others = (n_anchors - counts) * math.exp(-(1.0 if rectified else 2.0) / temperature)
    terms = np.where(
        has_positive, counts * np.log(np.where(has_positive, counts - 1 + others, 1.0)), 0.0
    )
    anchors = np.where(has_positive, counts, 0.0).sum(-1)
    general: np.ndarray = np.divide(
        terms.sum(-1), anchors, out=np.full(anchors.shape, np.nan), where=anchors > 0
    )
    if rectified:
        return general
    n_classes = (counts > 0).sum(-1)
    members = counts.max(-1)
    balanced = (n_classes >= 2) & (members >= 2) & (n_classes * members == n_anchors[..., 0])
    k = np.where(balanced, n_classes, 2)
    simplex = np.log(
        np.maximum(members - 1, 1) + (k - 1) * members * np.exp(-k / ((k - 1) * temperature))
    )
    return np.where(balanced, simplex, general)


def exact_floor(counts: np.ndarray, temperature: float, *, rectified: bool = False) -> float:
    """The least value that embeddings of enough dimensions reach for these class counts
    (n_classes,), in nats; NaN where no anchor has a positive.

    At the optimum a class is one point, so the loss is (1/n_v) sum over classes with l >= 2 of l
    ln(l - 1 + sum over other classes of l' exp((G - 1) / T)), convex in the Gram matrix G of the
    class points: unit diagonal, positive semidefinite. G = U U^T with as many dimensions as classes
    loses nothing, and is minimised by L-BFGS from the regular simplex. With rectified embeddings
    the axes are the optimum, where the closed form is exact.
    """
    from scipy.optimize import minimize  # the rest of the core does without scipy

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
    found = minimize(
        value_and_gradient,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-12},
    )
    return max(float(found.fun), closed)


def ceiling(n_anchors: int, temperature: float) -> float:
    """The value that no unit embeddings can exceed, ln(N - 1) + 2/T: above it the rows are not unit
    vectors, or the value was scaled.
    """
    _positive("temperature", temperature)
    return collapse_value(n_anchors) + 2.0 / temperature


def progress(value: float, n_anchors: int, floor_value: float) -> float:
    """How far a value has come from collapse (0) to the optimum (1): (ln(N-1) - value) / (ln(N-1) -
    floor).

    NaN where the floor is the plateau (a one-class batch) or there is no floor; above 1 proves a
    bug.
    """
    plateau = collapse_value(n_anchors)
    room = plateau - floor_value
    return (plateau - value) / room if room > 1e-9 else math.nan


def class_counts(
    labels: Any,
    kind: Literal["labels", "counts"] = "labels",
    unlabelled: int | str | None = -1,
) -> np.ndarray:
    """Counts per class (n_classes,) int64 of the labels of a batch, or the counts themselves; each
    unlabelled sample is a class of one. A mapping from class to count holds counts.
    """
    if kind not in ("labels", "counts"):
        raise ValueError(f"kind is {kind!r}; expected 'labels' or 'counts'")
    if isinstance(labels, Mapping):
        labels, kind = list(labels.values()), "counts"
    if kind == "labels":
        codes, names = class_codes(labels, unlabelled)
        if not len(codes):
            raise ValueError("labels are empty; those of one batch were expected")
        known = np.bincount(codes[codes >= 0], minlength=len(names))
        return np.concatenate([known, np.ones((codes < 0).sum(), dtype=np.int64)])
    values = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            f"counts of shape {values.shape}; one per class, shape (n_classes,), were expected"
        )
    if values.dtype.kind not in "iuf" or values.min() < 0 or (values != np.floor(values)).any():
        raise ValueError(
            f"counts are whole numbers from 0 up; got {values[:8].tolist()}. Pass kind='labels' if "
            "these are labels"
        )
    return values.astype(np.int64)


def explain_value(
    value: float | str,
    batch_size: int,
    n_views: int = 1,
    temperature: float | None = None,
    base_temperature: float | None = None,
    world_size: int = 1,
    micro_batch: int | None = None,
) -> str | None:
    """Says which constant a stuck loss value is, or None if it is none of those that the declared
    sizes allow.

    Collapse shows s * ln(V * B - 1) with s = T / base_temperature. Only the declared sizes are
    tried, and a scale only where a temperature is declared: a free search would match by chance.
    For the same reason a value needs three digits. It matches within half of its last digit, or
    within 2.5e-4 (relative above 1), whichever is more; the digits are those of the text, or those
    that Python prints for the number.

    Args:
        value: The loss as it was printed: a number, or its text, which keeps a last 0.
        batch_size: Samples in the whole batch, over all processes.
        n_views: Views of each sample.
        temperature: T, where it is known.
        base_temperature: The loss's divisor (SupContrast: 0.07, tried where only T is declared).
        world_size: Processes that share the batch.
        micro_batch: Samples of one accumulated step.

    Returns:
        A sentence, or None.

    Raises:
        ValueError: value is a text that is no number.

    Example:
        >>> explain_value("2.71", batch_size=16).split(":")[0]
        '2.71 is the collapse plateau ln(15) of 16 samples'
        >>> explain_value(2.65, batch_size=16) is None
        True
    """
    text = value if isinstance(value, str) else repr(float(value))
    value = float(value)
    if not math.isfinite(value):
        return None
    half_digit = _half_digit(text)
    scales = [(1.0, "")]
    if temperature is not None:
        base = SUPCONTRAST_BASE_TEMPERATURE if base_temperature is None else base_temperature
        if not math.isclose(temperature, base):
            scaled = (temperature / base, f"({temperature:g}/{base:g}) ")
            scales = [scaled] if base_temperature is not None else [*scales, scaled]
    sizes = [(batch_size, "")]
    if world_size > 1 and batch_size % world_size == 0:
        sizes.append(
            (
                batch_size // world_size,
                f"the share of one of {world_size} processes: negatives were not gathered across "
                "them",
            )
        )
    if micro_batch is not None and micro_batch != batch_size:
        sizes.append(
            (
                micro_batch,
                "one micro-batch: accumulated steps do not share negatives, so this is the batch "
                "the loss sees",
            )
        )
    for scale, scale_text in scales:
        for size, size_text in sizes:
            n_anchors = size * n_views
            if n_anchors < 3:
                continue
            plateau = scale * math.log(n_anchors - 1)
            if abs(value - plateau) <= max(half_digit, 2.5e-4 * max(1.0, plateau)):
                return _explanation(value, scale, scale_text, size, n_views, size_text)
    return None


def _half_digit(text: str) -> float:
    """Half of the last digit of a printed number, and 0 below three digits, where much would match
    by chance.
    """
    printed = Decimal(text).as_tuple()
    if len(printed.digits) < 3:
        return 0.0
    return 0.5 * 10.0 ** int(printed.exponent) * (1 + 1e-9)


def _explanation(
    value: float, scale: float, scale_text: str, size: int, n_views: int, size_text: str
) -> str:
    anchors = f"{size} samples" + (
        f" x {n_views} views = {size * n_views} anchors" if n_views > 1 else ""
    )
    text = (
        f"{value:g} is the collapse plateau {scale_text}ln({size * n_views - 1}) of {anchors}: all "
        "similarities are equal, whatever the labels; the gradient there is 0"
    )
    if size_text:
        text += f". {size} is {size_text}"
    if scale != 1.0:
        text += f". The value is multiplied by T / base_temperature = {scale:.4g}"
    return (
        text + ". Look at the labels of the batches first: a batch of one class can never leave it."
    )


def _positive(name: str, value: float) -> None:
    if not value > 0 or not math.isfinite(value):
        raise ValueError(
            f"{name} is {value}; a finite number above 0 was expected, usually 0.05 to 0.5"
        )

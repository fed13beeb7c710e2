"""Which modalities depend on the label and on each other: permutation tests of the distance
covariance.

Source: Szekely, Rizzo and Bakirov, Annals of Statistics 35(6), 2007; the statistic of two centred
distance matrices A, B is the mean of A * B, its null distribution comes from permuting the rows of
one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis.limits import DEFAULT, Limits
from quadlib.diagnosis.subject import Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


@dataclass(frozen=True)
class Link:
    """Dependence of two things: p of the permutation test, the excess distance correlation (about 0
    when independent), rows used.
    """

    p: float
    strength: float
    n: int


@dataclass(frozen=True)
class Signature:
    """What depends on what. labels: modality -> Link with the label; pairs: (a, b) -> Link; joint:
    all modalities together with the label.

    labels is empty and joint None where there are fewer than three rows a class. within: (a, b) ->
    Link where rows are permuted inside their class only: what a and b share beyond the class. A
    Link of fewer than limits.permuted_rows rows or of a constant modality is left out.
    """

    names: tuple[str, ...]
    labels: Mapping[str, Link]
    pairs: Mapping[tuple[str, str], Link]
    within: Mapping[tuple[str, str], Link]
    joint: Link | None

    def linked(self, name: str, p: float = 0.01) -> list[str]:
        """The other modalities that this one depends on."""
        return [
            b if a == name else a
            for (a, b), link in self.pairs.items()
            if name in (a, b) and link.p <= p
        ]

    def label_lost(self, p: float = 0.01) -> bool:
        """Whether all modalities together tell nothing of the label while at least one pair of them
        is linked.
        """
        return (
            self.joint is not None
            and self.joint.p > p
            and any(link.p <= p for link in self.pairs.values())
        )


def signature(
    features: Mapping[str, np.ndarray],
    labels: Any,
    *,
    permutations: int | None = None,
    most_rows: int | None = None,
    limits: Limits = DEFAULT,
    within: bool = True,
    seed: int = 0,
) -> Signature:
    """Tests every modality against the labels and against every other one, on at most most_rows
    random rows; both numbers are those of the limits unless they are given here.

    features: name -> (n, d), one summary vector a row, a row of NaN where the modality is absent.
    labels: (n,), any dtype. p is (1 + permutations as strong as the data) / (1 + permutations);
    equal inputs and seed give equal results. Raises ValueError on lengths that differ.
    """
    codes = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
    wrong = [
        f"{name} has {len(values)} rows"
        for name, values in features.items()
        if len(values) != len(codes)
    ]
    if wrong:
        raise ValueError(
            f"{'; '.join(wrong)}; one row for each of the {len(codes)} labels was expected"
        )
    random = np.random.default_rng([seed, 0x51])
    most_rows = most_rows or limits.signature_rows
    permutations = permutations or limits.permutations
    rows = np.sort(random.permutation(len(codes))[:most_rows])
    codes = codes[rows]
    points = {
        name: _standardised(np.asarray(values)[rows], limits.signature_features)
        for name, values in features.items()
    }
    points = {
        name: values
        for name, values in points.items()
        if values.shape[1] and (~np.isnan(values[:, 0])).sum() >= limits.permuted_rows
    }
    to_label, joint = _label_links(points, codes, random, limits.label_permutations)
    pairs, inside = {}, {}
    for a, b in combinations(points, 2):
        both = ~np.isnan(points[a][:, 0]) & ~np.isnan(points[b][:, 0])
        if both.sum() < limits.permuted_rows:
            continue
        left, right = _centred(points[a][both]), _centred(points[b][both])
        free = np.argsort(random.random((permutations, int(both.sum()))), axis=1)
        pairs[a, b] = _pair_link(left, right, free)
        if within:
            inside[a, b] = _pair_link(
                left, right, _inside_classes(codes[both], permutations, random)
            )
    return Signature(tuple(features), to_label, pairs, inside, joint)


def signature_of(x: Examination) -> Signature:
    """The signature of what is trained on: arrays of the table, decoded arrays of the dataset, else
    the inputs of the first batches.

    Raises Unavailable where the modalities cannot be read row by row or are too few.
    """
    features, labels = x.features
    fewest = x.limits.permuted_rows
    if not features or len(labels) < fewest:
        raise Unavailable(f"{len(labels)} rows of features; a permutation test needs {fewest}")
    return signature(features, labels, limits=x.limits)


def _standardised(values: np.ndarray, most: int) -> np.ndarray:
    """(n, d) with mean 0 and deviation 1 over the present rows, constant features left out, absent
    rows all NaN.
    """
    values = values.reshape(len(values), -1)[:, :most].astype(np.float64)
    there = np.isfinite(values).all(axis=1)
    result = np.full(values.shape, np.nan)
    if there.any():
        mean, deviation = values[there].mean(axis=0), values[there].std(axis=0)
        varies = deviation > 1e-9 * (1 + np.abs(mean))
        result = result[:, varies]
        result[there] = ((values[there] - mean) / np.where(varies, deviation, 1))[:, varies]
    return result


def _centred(points: np.ndarray) -> np.ndarray:
    """Doubly centred matrix of the distances of all pairs of rows, float32."""
    square = (points**2).sum(axis=1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * points @ points.T, 0))
    mean = distance.mean(axis=0)
    centred: np.ndarray = distance - mean[:, None] - mean + mean.mean()
    return centred.astype(np.float32)


def _label_links(
    points: Mapping[str, np.ndarray],
    codes: np.ndarray,
    random: np.random.Generator,
    permutations: int,
) -> tuple[dict[str, Link], Link | None]:
    """Each modality, and all together, against the classes; the same permutations for all, so that
    they can be added.
    """
    n, classes = len(codes), int(codes.max(initial=-1)) + 1
    if classes < 2 or classes > n / 3 or not points:
        return {}, None
    # permuting labels costs a matrix product only, so that there may be many
    shuffles = np.argsort(random.random((permutations, n)), axis=1)
    labelings = np.concatenate([codes[None], codes[shuffles]])
    one_hot = (labelings.T[:, :, None] == np.arange(classes)).astype(np.float32)
    same = np.equal.outer(codes, codes).astype(np.float64)
    links, standard = {}, []
    for name, values in points.items():
        there = ~np.isnan(values[:, 0])
        centred, held = _centred(values[there]), one_hot[there]
        # the sum of A over pairs of one class is the negated covariance with the distance "another
        # class": 0 or 1
        product = (centred @ held.reshape(len(held), -1)).reshape(held.shape)
        observed = -np.einsum("npc,npc->p", product, held).astype(np.float64)
        scale = float(
            np.linalg.norm(centred) * np.linalg.norm(_recentred(1 - same[np.ix_(there, there)]))
        )
        links[name] = _link(observed, scale, int(there.sum()))
        standard.append((observed - observed[1:].mean()) / max(float(observed[1:].std()), 1e-12))
    joint = _link(np.sum(standard, axis=0), 1.0, n)
    return links, Link(joint.p, float(np.mean([link.strength for link in links.values()])), n)


def _pair_link(left: np.ndarray, right: np.ndarray, orders: np.ndarray) -> Link:
    flat = left.ravel()
    observed = np.array(
        [flat @ right.ravel(), *(flat @ right[order][:, order].ravel() for order in orders)],
        dtype=np.float64,
    )
    return _link(observed, float(np.linalg.norm(left)) * float(np.linalg.norm(right)), len(left))


def _link(observed: np.ndarray, scale: float, n: int) -> Link:
    """observed: the statistic of the data first, then of every permutation."""
    null = observed[1:]
    # equal up to rounding counts as equal, which keeps the test valid where permutations cannot
    # change anything
    as_strong = int((null >= observed[0] - 1e-6 * np.abs(observed).max(initial=0)).sum())
    return Link(
        (1 + as_strong) / (1 + len(null)), float((observed[0] - null.mean()) / max(scale, 1e-12)), n
    )


def _recentred(distance: np.ndarray) -> np.ndarray:
    mean = distance.mean(axis=0)
    centred: np.ndarray = distance - mean[:, None] - mean + mean.mean()
    return centred


def _inside_classes(
    codes: np.ndarray, permutations: int, random: np.random.Generator
) -> np.ndarray:
    """Orders of the rows that exchange only rows of one class."""
    home = np.argsort(codes, kind="stable")
    orders = np.empty((permutations, len(codes)), dtype=np.int64)
    orders[:, home] = np.argsort(codes[None] + random.random((permutations, len(codes))), axis=1)
    return orders

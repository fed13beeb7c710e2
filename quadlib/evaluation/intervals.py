"""How sure: bootstrap over sessions within one evaluation, paired t intervals over seeds between two runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from quadlib.evaluation.score import Score

Statistic = Callable[[np.ndarray], float | None]
LEAST_DEFINED = 0.5  # share of resamples in which a statistic must exist for its interval to be given


def resampled_rows(groups: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of whole sessions drawn with replacement, as many sessions as there are; the same draws for the same seed.

    Recordings of one session share their recipe and their light, so only sessions are independent draws.
    """
    _, session = np.unique(groups, return_inverse=True)
    order = np.argsort(session, kind="stable")
    count = np.bincount(session)
    members = np.split(order, np.cumsum(count)[:-1])
    random = np.random.default_rng([seed, 0xB007])
    for _ in range(resamples):
        yield np.concatenate([members[drawn] for drawn in random.integers(0, len(members), len(members))])


def with_interval(score: Score, statistic: Statistic, groups: np.ndarray, resamples: int, seed: int, confidence: float = 0.95) -> Score:
    """The score with the percentile interval of `statistic(rows)` over session resamples, or with the reason why there is none.

    `groups` (n,) names each recording's session. A statistic that is undefined for some rows returns None there, for
    example AUROC without a good recording; the interval is then over the other resamples, if they are at least half.
    """
    if not score.defined or not resamples:
        return score
    n_sessions = len(np.unique(groups))
    if n_sessions < 2:
        return replace(score, reason="no interval: all recordings are of one session")
    drawn = [statistic(rows) for rows in resampled_rows(groups, resamples, seed)]
    values = [value for value in drawn if value is not None]
    if len(values) < LEAST_DEFINED * resamples:
        return replace(score, reason=f"no interval: the score is undefined in {resamples - len(values)} of {resamples} resamples")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return replace(score, low=float(low), high=float(high))


@dataclass(frozen=True)
class Comparison:
    """Whether `second` scores better than `first`: the mean paired difference, its interval, and the sentence to print."""

    first: str
    second: str
    difference: Score
    pairs: int
    ranked: bool
    text: str


def compare_paired(first: Mapping[int, float], second: Mapping[int, float], names: tuple[str, str] = ("A", "B"),
                   confidence: float = 0.95) -> Comparison:
    """Compares two settings by their scores per seed, paired by seed, with a t interval of the mean difference.

    An interval that spans 0, or fewer than two common seeds, means that the two cannot be ranked.
    """
    seeds = sorted(set(first) & set(second))
    differences = np.array([second[seed] - first[seed] for seed in seeds])
    unranked = f"{names[0]} and {names[1]} cannot be ranked"
    if len(seeds) < 2:
        reason = f"{len(seeds)} seed(s) in common, and an interval needs two; run both with the same seeds"
        single = Score(float(differences[0]), reason=reason) if seeds else Score.undefined(reason)
        return Comparison(*names, single, len(seeds), False, f"{unranked}: {reason}")
    mean, half = float(differences.mean()), 0.0
    if spread := float(differences.std(ddof=1)):
        half = float(stats.t.ppf((1 + confidence) / 2, len(seeds) - 1)) * spread / len(seeds) ** 0.5
    low, high = mean - half, mean + half
    ranked = low > 0 or high < 0
    better, worse = names[::-1] if mean > 0 else names
    ends = (low, high) if mean > 0 else (-high, -low)
    interval = f"{100 * abs(mean):.1f} points [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}] over {len(seeds)} paired seeds"
    text = f"{better} is better than {worse} by {interval}" if ranked else f"{unranked}: they differ by {interval}"
    return Comparison(*names, Score(mean, low, high), len(seeds), ranked, text)

"""How sure: bootstrap over sessions within one evaluation, paired t intervals over seeds between
two runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from quadlib.evaluation.score import Score

Statistic = Callable[[np.ndarray], float | None]
LEAST_DEFINED = (
    0.5  # share of resamples in which a statistic must exist for its interval to be given
)


class SessionBootstrap:
    """Percentile intervals from whole sessions drawn with replacement, as many as there are; the
    same draws for the same seed.

    `groups` (n,) names each recording's session. Recordings of one session share their recipe and
    their light, so only sessions are independent draws.
    """

    def __init__(
        self, groups: np.ndarray, resamples: int, seed: int, confidence: float = 0.95
    ) -> None:
        names, self.session = np.unique(groups, return_inverse=True)
        random = np.random.default_rng([seed, 0xB007])
        self.n_sessions, self.tail = len(names), (1 - confidence) / 2
        self.draws = [self._draw(random) for _ in range(resamples if self.n_sessions > 1 else 0)]
        self.resamples = resamples

    def _draw(self, random: np.random.Generator) -> np.ndarray:
        times = np.bincount(
            random.integers(0, self.n_sessions, self.n_sessions), minlength=self.n_sessions
        )
        return np.repeat(np.arange(len(self.session)), times[self.session])

    def interval(self, score: Score, statistic: Statistic) -> Score:
        """The score with the interval of `statistic(rows)`, or with the reason why there is none;
        unchanged without resamples.

        A statistic that is undefined for some rows returns None there, for example AUROC without a
        good recording; the interval is then over the other resamples, if they are at least half.
        """
        if not score.defined or not self.resamples:
            return score
        if self.n_sessions < 2:
            return replace(score, reason="no interval: all recordings are of one session")
        values = [value for value in map(statistic, self.draws) if value is not None]
        if len(values) < LEAST_DEFINED * self.resamples:
            missing = self.resamples - len(values)
            return replace(
                score,
                reason=f"no interval: the score is undefined in {missing} of {self.resamples} "
                "resamples",
            )
        low, high = np.quantile(values, [self.tail, 1 - self.tail])
        return replace(score, low=float(low), high=float(high))


@dataclass(frozen=True)
class Comparison:
    """Whether `second` scores better than `first`: the mean paired difference, its interval, and
    the sentence to print.
    """

    first: str
    second: str
    difference: Score
    pairs: int
    ranked: bool
    text: str


def compare_paired(
    first: Mapping[int, float],
    second: Mapping[int, float],
    names: tuple[str, str] = ("A", "B"),
    confidence: float = 0.95,
) -> Comparison:
    """Compares two settings by their scores per seed, paired by seed, with a t interval of the mean
    difference.

    An interval that spans 0, or fewer than two common seeds, means that the two cannot be ranked.
    """
    seeds = sorted(set(first) & set(second))
    differences = np.array([second[seed] - first[seed] for seed in seeds])
    unranked = f"{names[0]} and {names[1]} cannot be ranked"
    if len(seeds) < 2:
        reason = (
            f"{len(seeds)} seed(s) in common, and an interval needs two; run both with the same "
            "seeds"
        )
        single = Score(float(differences[0]), reason=reason) if seeds else Score.undefined(reason)
        return Comparison(*names, single, len(seeds), False, f"{unranked}: {reason}")
    mean, half = float(differences.mean()), 0.0
    if spread := float(differences.std(ddof=1)):
        half = float(stats.t.ppf((1 + confidence) / 2, len(seeds) - 1)) * spread / len(seeds) ** 0.5
    low, high = mean - half, mean + half
    ranked = low > 0 or high < 0
    better, worse = names[::-1] if mean > 0 else names
    ends = (low, high) if mean > 0 else (-high, -low)
    interval = (
        f"{100 * abs(mean):.1f} points [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}] over "
        f"{len(seeds)} paired seeds"
    )
    text = (
        f"{better} is better than {worse} by {interval}"
        if ranked
        else f"{unranked}: they differ by {interval}"
    )
    return Comparison(*names, Score(mean, low, high), len(seeds), ranked, text)

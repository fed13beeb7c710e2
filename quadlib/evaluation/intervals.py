"""How sure: bootstrap over sessions within one evaluation, paired t intervals over seeds between
two runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import stats

from quadlib.evaluation.score import Score

BLOCK_ELEMENTS = 8_000_000
LEAST_DEFINED = (
    0.5  # share of resamples in which a statistic must exist for its interval to be given
)


class SessionBootstrap:
    """Percentile intervals from whole sessions drawn with replacement, as many as there are; the
    same draws for the same seed.

    `groups` (n,) names each recording's session; `times` (R, sessions) says how often each resample
    drew each session. Recordings of one session share their recipe and their light, so only
    sessions are independent draws.
    """

    def __init__(
        self, groups: np.ndarray, resamples: int, seed: int, confidence: float = 0.95
    ) -> None:
        names, self.session = np.unique(groups, return_inverse=True)
        self.n_sessions, self.tail = len(names), (1 - confidence) / 2
        self.times = times_drawn(self.n_sessions, resamples, seed)
        self.resamples = resamples

    @classmethod
    def leaving_one_out(cls, groups: np.ndarray) -> SessionBootstrap:
        """All sessions but one, each left out once, in place of resamples."""
        result = cls(groups, 0, 0)
        result.times = 1 - np.eye(result.n_sessions, dtype=np.uint16)
        return result

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sums over the recordings of every resample, (R, k), of values (n, k)."""
        sums = np.zeros((self.n_sessions, values.shape[1]))
        np.add.at(sums, self.session, values)
        blocks = np.array_split(self.times, max(1, self.times.size // BLOCK_ELEMENTS))
        return np.concatenate([block.astype(np.float64) @ sums for block in blocks])

    def interval(self, score: Score, values: np.ndarray) -> Score:
        """The score with the interval of its values (R,) in the resamples, or with the reason why
        there is none; unchanged without resamples.

        A score that is undefined in some resamples is NaN there, for example AUROC without a good
        recording; the interval is then over the others, if they are at least half.
        """
        if not score.defined or not self.resamples:
            return score
        if self.n_sessions < 2:
            return replace(score, reason="no interval: all recordings are of one session")
        known = values[~np.isnan(values)]
        if len(known) < LEAST_DEFINED * self.resamples:
            missing = self.resamples - len(known)
            return replace(
                score,
                reason=f"no interval: the score is undefined in {missing} of {self.resamples} "
                "resamples",
            )
        low, high = np.quantile(known, [self.tail, 1 - self.tail])
        return replace(score, low=float(low), high=float(high))


@lru_cache(maxsize=4)
def times_drawn(n_sessions: int, resamples: int, seed: int) -> np.ndarray:
    """How often each session is drawn in each resample, uint16 (resamples, n_sessions)."""
    random = np.random.default_rng([seed, 0xB007])
    times = np.zeros((resamples, n_sessions), dtype=np.uint16)
    for drawn in times:
        drawn[:] = np.bincount(random.integers(0, n_sessions, n_sessions), minlength=n_sessions)
    times.flags.writeable = False
    return times


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

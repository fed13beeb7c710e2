"""Whether the kNN vote can be believed: how often it is right where so many neighbours agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quadlib.evaluation.neighbours import rank
from quadlib.evaluation.score import Score

MOST_BINS = 10


@dataclass(frozen=True)
class VoteBin:
    """Recordings whose vote was about as clear: the mean share of their neighbours that voted for
    the predicted class, how many recordings these are, and how many of them it was right about.
    """

    share: float
    recordings: int
    right: int

    @property
    def accuracy(self) -> float:
        return self.right / self.recordings


def vote_shares(
    queries: np.ndarray,
    gallery: np.ndarray,
    gallery_labels: np.ndarray,
    predictions: np.ndarray,
    neighbours: int,
) -> np.ndarray:
    """Share (n,) of each query's nearest gallery rows that have the class predicted for it."""
    nearest = rank(queries, gallery, min(neighbours, len(gallery))).order
    return (gallery_labels[nearest] == predictions[:, None]).mean(axis=1)


def reliability(shares: np.ndarray, right: np.ndarray, neighbours: int) -> list[VoteBin]:
    """The recordings by how clear their vote was, (n,) shares and whether it was right: a bin for
    every number of votes, or ten of equal width where there are more.
    """
    bins = min(neighbours, MOST_BINS)
    place = np.clip(np.ceil(shares * bins - 1e-9).astype(int), 1, bins)
    return [
        VoteBin(
            float(shares[place == number].mean()),
            int((place == number).sum()),
            int(right[place == number].sum()),
        )
        for number in range(1, bins + 1)
        if (place == number).any()
    ]


def calibration_error(bins: Sequence[VoteBin]) -> Score:
    """Expected calibration error: by how much share and accuracy differ, mean over recordings
    (Guo et al. 2017).
    """
    total = sum(item.recordings for item in bins)
    if not total:
        return Score.undefined("the split holds no recordings")
    return Score(sum(item.recordings * abs(item.share - item.accuracy) for item in bins) / total)

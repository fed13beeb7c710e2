"""What a random split would have claimed: the same kNN once more, with the recordings of the same
session in its gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quadlib.evaluation.embed import EmbeddingSet
from quadlib.evaluation.metrics import macro_f1, one_class_reason
from quadlib.evaluation.neighbours import knn_predict
from quadlib.evaluation.score import Score, short


@dataclass(frozen=True)
class Leakage:
    """Macro-F1 with the training split as gallery (`grouped_split`), with each one's session added
    to it (`random_split`), and what that says.
    """

    random_split: Score
    grouped_split: Score
    text: str


def session_leakage(
    gallery: EmbeddingSet,
    queries: EmbeddingSet,
    predictions: np.ndarray,
    groups: np.ndarray,
    class_names: Sequence[str],
    neighbours: int = 5,
) -> Leakage:
    """Classifies every query again with the other recordings of its session in the gallery, where a
    random split puts them.

    `predictions` (n,) are the codes found without them, `groups` (n,) the queries' sessions. The
    model itself never saw these sessions, so the difference is what recognising the session alone
    would have flattered.
    """
    reason = one_class_reason(queries.labels, class_names) or _no_shared_session(groups)
    if reason:
        undefined = Score.undefined(reason)
        return Leakage(
            undefined, undefined, f"Random against grouped split was not compared: {reason}."
        )
    helped = predictions.copy()
    _, session, count = np.unique(groups, return_inverse=True, return_counts=True)
    for number in np.flatnonzero(count > 1):
        members = np.flatnonzero(session == number)
        ids = np.concatenate([np.full(len(gallery), -1), members])
        helped[members] = knn_predict(
            queries.fused[members],
            np.concatenate([gallery.fused, queries.fused[members]]),
            np.concatenate([gallery.labels, queries.labels[members]]),
            neighbours,
            members,
            ids,
        )
    random_split, grouped_split = (
        macro_f1(queries.labels, codes, len(class_names)) for codes in (helped, predictions)
    )
    points = 100 * (random_split - grouped_split)
    effect = (
        f"{points:.1f} points for recognising the session"
        if points >= 0.05
        else "nothing is gained by recognising the session"
    )
    return Leakage(
        Score(random_split),
        Score(grouped_split),
        "With other recordings of the same session in its gallery, as in a random split, macro-F1 "
        f"would read {short(random_split, 3)} instead of {short(grouped_split, 3)}: {effect}.",
    )


def _no_shared_session(groups: np.ndarray) -> str:
    return (
        ""
        if len(np.unique(groups)) < len(groups)
        else "every evaluated recording is the only one of its session"
    )

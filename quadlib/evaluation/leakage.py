"""What a random split would have claimed: the same kNN with and without the recording's own session in the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quadlib.evaluation.metrics import macro_f1, one_class_reason
from quadlib.evaluation.neighbours import knn_predict
from quadlib.evaluation.score import Score, short


@dataclass(frozen=True)
class Leakage:
    """Macro-F1 with all other recordings as gallery (`random_split`), with other sessions only (`grouped_split`), and what that says."""

    random_split: Score
    grouped_split: Score
    text: str


def session_leakage(embeddings: np.ndarray, codes: np.ndarray, groups: np.ndarray, asked: np.ndarray, class_names: Sequence[str],
                    neighbours: int = 5) -> Leakage:
    """Classifies the recordings `asked` (n,) bool among all of them, once leaving only themselves out and once their whole session.

    Embeddings (n, D), class codes and session names (n,). A random split puts recordings of the evaluated sessions into the
    gallery, so the difference is what it would have flattered; the model itself never saw those sessions.
    """
    reason = one_class_reason(codes[asked], class_names) or _no_shared_session(groups, asked)
    if reason:
        undefined = Score.undefined(reason)
        return Leakage(undefined, undefined, f"Random against grouped split was not compared: {reason}.")
    scores = []
    for ids in (np.arange(len(groups)), np.unique(groups, return_inverse=True)[1]):
        predictions = knn_predict(embeddings[asked], embeddings, codes, neighbours, ids[asked], ids)
        scores.append(Score(macro_f1(codes[asked], predictions, len(class_names))))
    random_split, grouped_split = scores
    points = 100 * ((random_split.value or 0) - (grouped_split.value or 0))
    effect = f"{points:.1f} points of it would be recognised sessions" if points >= 0.05 else "no session was recognised"
    return Leakage(random_split, grouped_split,
                   f"A random split would have read macro-F1 {short(random_split.value or 0, 3)} "
                   f"instead of {short(grouped_split.value or 0, 3)}: {effect}.")


def _no_shared_session(groups: np.ndarray, asked: np.ndarray) -> str:
    _, session, count = np.unique(groups, return_inverse=True, return_counts=True)
    if len(count) == 1:
        return "all recordings are of one session"
    return "" if (count[session[asked]] > 1).any() else "every evaluated recording is the only one of its session"

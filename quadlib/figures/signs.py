"""The warning signs that the notebooks name, each as a rule: a sentence for every one that shows,
nothing for a healthy result.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from quadlib.data.samples import SPLITS, SampleTable, some
from quadlib.evaluation.metrics import ClassScore
from quadlib.evaluation.record import Evaluation
from quadlib.figures.style import many, score

# A score that stands still, with a twentieth of 160 predictions flipping from epoch to epoch, falls
# by so much between means of three epochs in 2 of 100 runs; by .03 in 8, by .02 in 36.
FELL = 0.04
SMOOTHED = 3  # epochs
WEAK_RECALL = 0.5  # missed more often than found
BETTER = 0.01  # of macro-F1, where the score of all modalities has no interval
NO_ROOM = 0.02  # of the plateau; a batch of 30 and 2 of two classes has 8 %


def batch_signs(table: pd.DataFrame) -> tuple[str, ...]:
    """Batches in which the floor of the loss lies at its plateau, from the batch table."""
    pinned = int((table["room"] < NO_ROOM * table["collapse"]).sum())
    if not pinned:
        return ()
    return (
        f"In {pinned} of {many(len(table), 'batch', 'batches')} the floor lies at the plateau, "
        "which leaves nothing to learn.",
    )


def table_signs(table: SampleTable) -> tuple[str, ...]:
    """Classes of one session, and classes that a split lacks."""
    frame, signs = table.frame, []
    sessions = frame.groupby("label")["group"].nunique()
    lone = [name for name in table.class_names if sessions.get(name, 0) == 1]
    if lone:
        signs.append(
            f"{some(lone)}: one session each, so a class and its session cannot be told apart."
        )
    for split in SPLITS:
        held = frame.loc[frame["split"] == split, "label"]
        missing = [name for name in table.class_names if name not in set(held)]
        if len(held) and missing:
            signs.append(f"{split.capitalize()} has no recording of {some(missing)}.")
    return tuple(signs)


def training_signs(epochs: pd.DataFrame, validation: str, term: str) -> tuple[str, ...]:
    """A validation score that fell while the loss fell too: means of three epochs, the last
    against the best, by more than its standard error where that is known.
    """
    if validation not in epochs or len(epochs) < 2 * SMOOTHED:
        return ()
    smooth = epochs[[validation, term]].rolling(SMOOTHED).mean().dropna().reset_index(drop=True)
    best, last = smooth.iloc[int(smooth[validation].argmax())], smooth.iloc[-1]
    error = epochs[f"{validation}_error"].iloc[-1] if f"{validation}_error" in epochs else 0.0
    fell = best[validation] - last[validation]
    if fell < max(FELL, error) or last[term] >= best[term]:
        return ()
    return (
        f"The loss fell on, but validation fell too, from {score(best[validation])} to "
        f"{score(last[validation])} (means of {SMOOTHED} epochs): it learns its recordings by "
        "heart.",
    )


def evaluation_signs(evaluation: Evaluation) -> tuple[str, ...]:
    """Classes that are missed more often than found, and a subset of the modalities that scores
    better than all of them: above their interval, since the best of 15 is above them by luck alone.
    """
    signs = weak_classes(evaluation.per_class)
    whole = next(
        (item for item in evaluation.subsets if len(item.modalities) == len(evaluation.modalities)),
        None,
    )
    scored = [item for item in evaluation.subsets if item.macro_f1.defined]
    best = max(scored, key=lambda item: item.macro_f1.value or 0, default=None)
    if best and whole and best is not whole and whole.macro_f1.value is not None:
        value, high = best.macro_f1.value or 0, whole.macro_f1.high
        above = value >= whole.macro_f1.value + BETTER if high is None else value > high
        if above and best.n_queries == whole.n_queries:
            signs.append(
                f"{' + '.join(best.modalities)} alone score {score(value)}, better than all "
                f"modalities together ({score(whole.macro_f1.value)}); the subset was found on "
                "these recordings, so check it on others."
            )
    return tuple(signs)


def weak_classes(per_class: Sequence[ClassScore]) -> list[str]:
    """One sentence that names the classes that are missed more often than found, none without."""
    recalls = {item: item.recall.value for item in per_class if item.recall.value is not None}
    names = [
        f"{item.name} ({found(item)})"
        for item, value in sorted(recalls.items(), key=lambda pair: pair[1])
        if value < WEAK_RECALL
    ]
    return [f"Recall below {score(WEAK_RECALL)}: {some(names)}."] if names else []


def found(item: ClassScore) -> str:
    """How many of a class's recordings were found, as a share and counted."""
    share = item.recall.value or 0.0
    return f"{score(share)}, {round(share * item.support)} of {item.support}"


def where_from(evaluation: Evaluation) -> str:
    """Which recordings were scored, and whether their sessions were trained on."""
    scored = f"{many(evaluation.n_queries, evaluation.split + ' recording')} of {evaluation.source}"
    sessions, shared = evaluation.sessions, evaluation.shared_sessions
    if not sessions:
        return scored
    if shared:
        return f"{scored}; {shared} of their {many(sessions, 'session')} were trained on too"
    if sessions == evaluation.n_queries:
        return f"{scored}, none of which it was trained on"
    return f"{scored} from {many(sessions, 'session')} that it never saw"

"""What can be had without looking: scores of classifiers that see only the set-points, only the
duration, or nothing.
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from quadlib.data.sources.weldsim.plan import Recording

SET_POINTS = ("set_current_a", "set_voltage_v", "set_gas_bar", "set_speed_cpm", "thickness_mm")


def oracle_scores(recordings: list[Recording], seed: int) -> dict[str, dict[str, float | None]]:
    """Accuracy, macro-F1 and AUROC (good against defect) on TEST of forests fitted on TRAIN, by
    what they may see.

    `majority` names the commonest class of TRAIN and ranks nothing, so its AUROC is 0.5. An AUROC
    is None where booking errors left TRAIN without a good weld, or TEST without one of the two
    sides.
    """
    labels = np.array([recording.booked.code for recording in recordings])
    train = np.array([recording.split == "TRAIN" for recording in recordings])
    test = np.array([recording.split == "TEST" for recording in recordings])
    set_points = np.array([_set_points(recording) for recording in recordings])
    durations = np.array([[recording.duration_s] for recording in recordings])
    scores = {}
    for name, features in (("set_points", set_points), ("duration", durations)):
        forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed, n_jobs=1).fit(
            features[train], labels[train]
        )
        chances = forest.predict_proba(features[test])
        scores[name] = _score(
            labels[test],
            forest.classes_[chances.argmax(1)],
            1 - chances[:, 0] if 0 in forest.classes_ else None,
        )
    majority = np.full(test.sum(), np.bincount(labels[train]).argmax())
    scores["majority"] = _score(labels[test], majority, np.zeros(test.sum()))
    return scores


def _set_points(recording: Recording) -> list[float]:
    session = recording.session
    return [
        session.set_current_a,
        session.set_voltage_v,
        session.set_gas_bar,
        session.set_speed_cpm,
        session.weld_class.thickness_mm,
    ]


def _score(
    labels: np.ndarray, predicted: np.ndarray, defect: np.ndarray | None
) -> dict[str, float | None]:
    ranked = defect is not None and 0 < (labels == 0).sum() < len(labels)
    return {
        "accuracy": round(float(accuracy_score(labels, predicted)), 4),
        "macro_f1": round(float(f1_score(labels, predicted, average="macro", zero_division=0)), 4),
        "auroc_good_defect": round(float(roc_auc_score(labels != 0, defect)), 4)
        if ranked
        else None,
    }

"""Every warning sign that a notebook names is a rule that shows it, and a healthy result shows
none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quadlib.data.samples import SampleTable
from quadlib.diagnosis.registry import contracts
from quadlib.evaluation.compare import Compared, Difference
from quadlib.evaluation.crossed import session_interval
from quadlib.evaluation.crossval import CrossValidation, FoldScore, Rival
from quadlib.evaluation.intervals import SessionBootstrap
from quadlib.evaluation.metrics import ClassScore, macro_f1
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score
from quadlib.evaluation.subsets import SubsetScore
from quadlib.figures.compare import judge_compare
from quadlib.figures.crossval import fold_scores, judge_crossval, rival_scores
from quadlib.figures.signs import evaluation_signs, training_signs, where_from
from quadlib.figures.verdicts import Verdict, judge_batches, judge_evaluation, judge_training
from quadlib.sampler.plan import BatchPlan

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SIGN = re.compile(r"Warning signs?: ([^.]*(?:\.\d[^.]*)*)\.")


@pytest.fixture
def scored(evaluation: Evaluation) -> Evaluation:
    """An evaluation without any warning sign."""
    good = Score(0.9)
    fine = [ClassScore(name, 4, good, good, good) for name in evaluation.class_names]
    return replace(
        evaluation,
        scores=evaluation.scores | {"macro_f1": Score(0.9, 0.85, 0.95)},
        by_modality={},
        per_class=fine,
    )


def subsets(alone: float, together: float) -> list[SubsetScore]:
    every = ("video", "image", "audio", "sensor")
    parts = [(every[:1], alone), (every, together)]
    return [SubsetScore(n, 16, Score(v), Score(v), Score(v)) for n, v in parts]


AHEAD = Score(0.1, 0.05, 0.15)


def cross_validation(
    ahead: Score = AHEAD, lowest: float = 0.88, recall: float = 0.9
) -> CrossValidation:
    good = Score(0.9, 0.86, 0.94)
    return CrossValidation(
        source="table",
        folds=2,
        seeds=[0],
        n_recordings=40,
        n_sessions=8,
        class_names=["good", "spatter"],
        modalities=["video"],
        scores={"macro_f1": good, "accuracy": good},
        by_fold=[
            FoldScore(0, fold, f"cv-s0-f{fold}", 20, Score(value), Score(value))
            for fold, value in ((1, lowest), (2, 0.92))
        ],
        rivals=[Rival("duration alone", Score(0.8), ahead)],
        per_class=[ClassScore("good", 20, good, Score(recall), good)],
        confusion=[[18, 2], [2, 18]],
        notes=[],
    )


def compared(difference: Score) -> Compared:
    return Compared("macro_f1", [], [Difference("a", "b", difference, 100, 10, 1)], {}, [])


def one_class(plan: BatchPlan) -> BatchPlan:
    return replace(plan, batches=[np.flatnonzero(plan.codes == 0)[:4], *plan.batches[1:]])


def lone_anchor(plan: BatchPlan) -> BatchPlan:
    first = np.flatnonzero(plan.codes == 0)[:3]
    return replace(plan, batches=[np.append(first, np.flatnonzero(plan.codes == 1)[:1])])


def falling(history: list[dict[str, Any]], loss: float = 0.0) -> list[dict[str, Any]]:
    """Ten epochs of which the last five lose .05 of macro-F1 each, while the loss changes by
    `loss`.
    """
    steps = [line for line in history if line["kind"] == "step"]
    last = history[-1]
    epochs = [
        last
        | {
            "epoch": epoch,
            "fused": last["fused"] + (0.05 if loss > 0 else -0.05) * epoch,
            "val_macro_f1": 0.5 + 0.05 * min(epoch, 10 - epoch),
            "best": epoch == 5,
        }
        for epoch in range(1, 11)
    ]
    return steps + epochs


# The sign as the notebook names it -> the verdict that must show it.
Case = Callable[..., Verdict]
SIGNS: dict[str, tuple[Case, ...]] = {
    "a batch of one class, or an anchor without a positive": (
        lambda plan, **_: judge_batches(one_class(plan), 0.1),
        lambda plan, **_: judge_batches(lone_anchor(plan), 0.1),
    ),
    "a floor at the plateau, which leaves nothing to learn": (
        lambda plan, **_: judge_batches(plan, 200.0),
    ),
    "a class with a single session, or missing from a split": (
        lambda plan, table, **_: judge_batches(
            plan,
            0.1,
            table.with_columns(group=table.frame["group"].where(table.codes != 1, "alone")),
        ),
        lambda plan, table, **_: judge_batches(
            plan,
            0.1,
            table.take(np.flatnonzero((table.codes != 1) | (table.frame["split"] != "test"))),
        ),
    ),
    "a loss that stays at the plateau": (
        lambda history, **_: judge_training([*history[:-1], history[-1] | {"progress": 0.01}]),
    ),
    "scores that fall while the loss falls too": (
        lambda history, **_: judge_training(falling(history)),
    ),
    "a model no better than those, or one that relies on a single modality": (
        lambda scored, **_: judge_evaluation(
            replace(
                scored,
                baselines=[
                    replace(item, macro_f1=Score(0.92)) if item.name == "confounds" else item
                    for item in scored.baselines
                ],
            )
        ),
        lambda scored, **_: judge_evaluation(
            replace(scored, by_modality={"video": {"macro_f1": Score(0.9)}})
        ),
    ),
    "a rival inside the interval": (
        lambda scored, **_: judge_evaluation(
            replace(scored, by_modality={"video": {"macro_f1": Score(0.87)}})
        ),
    ),
    "a subset that scores better than all of them": (
        lambda scored, **_: judge_evaluation(replace(scored, subsets=subsets(0.8, 0.7))),
    ),
    "a rival that is not clearly behind, folds that lie far apart, or a class that is missed "
    "more often than found": (
        lambda validation, **_: judge_crossval(validation(ahead=Score(0.02, -0.01, 0.05))),
        lambda validation, **_: judge_crossval(validation(lowest=0.7)),
        lambda validation, **_: judge_crossval(validation(recall=0.4)),
    ),
    "an interval that spans 0, so that the two cannot be ranked": (
        lambda **_: judge_compare(compared(Score(0.01, -0.01, 0.03))),
    ),
    "a class that is missed more often than found": (
        lambda scored, **_: judge_evaluation(
            replace(
                scored,
                per_class=[
                    replace(scored.per_class[0], recall=Score(0.25)),
                    *scored.per_class[1:],
                ],
            )
        ),
    ),
}
# The signs of 03 are contracts of the doctor, each tested beside its check.
CONTRACT_OF = {
    "a module without a gradient, or a parameter that belongs to no group of the optimiser": (
        "QL-N03",
        "QL-N02",
    ),
    "cosines that are all the same, which means collapse": ("QL-N04", "QL-P10"),
}


def named_signs() -> set[str]:
    texts = [
        " ".join("".join(cell["source"]).split())
        for path in NOTEBOOKS.glob("*.ipynb")
        for cell in json.loads(path.read_text())["cells"]
        if cell["cell_type"] == "markdown"
    ]
    return {sign for text in texts for sign in SIGN.findall(text)}


def test_every_sign_of_a_notebook_is_a_rule() -> None:
    assert named_signs() == set(SIGNS) | set(CONTRACT_OF)
    for codes in CONTRACT_OF.values():
        assert set(codes) <= set(contracts())


@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_is_never_fine(
    sign: str,
    plan: BatchPlan,
    table: SampleTable,
    history: list[dict[str, Any]],
    scored: Evaluation,
) -> None:
    given = {"plan": plan, "table": table, "history": history, "scored": scored}
    for case in SIGNS[sign]:
        assert case(**given, validation=cross_validation).level != "fine"


def test_what_is_healthy_shows_no_sign(
    plan: BatchPlan, table: SampleTable, history: list[dict[str, Any]], scored: Evaluation
) -> None:
    assert judge_batches(plan, 0.1, table).level == "fine"
    assert judge_training(history).level == "fine"
    assert judge_training(falling(history, loss=1.0)).level == "fine"
    assert judge_evaluation(scored).level == "fine"
    assert judge_crossval(cross_validation()).level == "fine"
    assert judge_compare(compared(Score(0.02, 0.01, 0.03))).level == "fine"


def test_signs_in_words(scored: Evaluation, history: list[dict[str, Any]]) -> None:
    weak = [replace(scored.per_class[1], recall=Score(0.25)), *scored.per_class[2:]]
    shown = replace(scored, per_class=weak, subsets=subsets(0.8, 0.7))
    assert evaluation_signs(shown) == (
        "Recall below .500: spatter (.250, 1 of 4).",
        "video alone score .800, better than all modalities together (.700); the subset was found "
        "on these recordings, so check it on others.",
    )
    assert "validation fell too, from .717 to .550 (means of 3 epochs)" in (
        judge_training(falling(history)).sentence
    )


def epochs_of(random: np.random.Generator, fall: float) -> pd.DataFrame:
    """24 epochs of which a twentieth of 160 predictions flips from one to the next, about .85 that
    falls by so much in the second half, while the loss falls.
    """
    flips = random.binomial(160, 0.05, 24) / 160 - 0.05
    score = 0.85 + flips - fall * np.clip(np.arange(24) - 12, 0, None) / 11
    return pd.DataFrame(
        {"val_macro_f1": score, "fused": np.linspace(3, 1, 24), "val_macro_f1_error": 0.03}
    )


def test_a_score_that_stands_still_is_rarely_said_to_fall() -> None:
    random = np.random.default_rng(0)

    def share(fall: float, known: bool) -> float:
        tables = [epochs_of(random, fall) for _ in range(100)]
        tables = tables if known else [t.drop(columns="val_macro_f1_error") for t in tables]
        return float(np.mean([bool(training_signs(t, "val_macro_f1", "fused")) for t in tables]))

    assert share(0, known=False) <= 0.05 and share(0, known=True) <= 0.05
    assert share(0.1, known=True) >= 0.9
    # within the standard error of the validation split a fall is none
    wide = epochs_of(random, 0.1).assign(val_macro_f1_error=0.2)
    assert not training_signs(wide, "val_macro_f1", "fused")


def test_the_best_of_equal_subsets_is_rarely_said_to_be_better(scored: Evaluation) -> None:
    """15 subsets of 288 recordings of 24 sessions, right alike often; or one by 10 points more."""
    random = np.random.default_rng(1)
    session = np.repeat(np.arange(24), 12)
    truth = session % 6
    bootstrap = SessionBootstrap(session, 1, 0)
    names = [part for n in (1, 2, 3, 4) for part in combinations(("a", "b", "c", "d"), n)]

    def scored_as(gain: float, whole: bool) -> Score:
        right = common + random.normal(0, 0.3, len(truth)) < 1.2 + 4 * gain
        said = np.where(right, truth, (truth + 1) % 6)
        score = Score(macro_f1(truth, said, 6))
        return session_interval(score, bootstrap, (truth, said), 6) if whole else score

    shown = {0.0: 0, 0.1: 0}
    for gain in shown:
        for _ in range(60):
            common = random.normal(0, 0.3, 24)[session] + random.normal(0, 1, len(truth))
            parts = [
                SubsetScore(name, 288, score, score, score)
                for name in names
                for score in [scored_as(gain if name == ("a", "b") else 0, len(name) == 4)]
            ]
            four = replace(scored, modalities=list("abcd"), subsets=parts, per_class=[])
            shown[gain] += bool(evaluation_signs(four))
    assert shown[0.0] <= 3 and shown[0.1] >= 40


def test_sessions_that_it_never_saw_are_claimed_only_where_that_is_true(
    scored: Evaluation,
) -> None:
    assert where_from(scored) == (
        "16 test recordings of synthetic from 8 sessions that it never saw"
    )
    groups = scored.arrays["group"].copy()
    groups[-1] = groups[0]
    leaking = replace(scored, arrays=scored.arrays | {"group": groups})
    assert where_from(leaking).endswith("; 1 of their 9 sessions were trained on too")
    alone = scored.arrays | {"group": np.arange(len(groups)).astype(str)}
    assert where_from(replace(scored, arrays=alone)).endswith(", none of which it was trained on")


def test_a_cross_validation_in_words_and_figures() -> None:
    behind = cross_validation(ahead=Score(-0.011, -0.02, -0.002))
    assert judge_crossval(behind).sentence == (
        "macro-F1 .900 [.86, .94] | folds .880 to .920 | nearest rival duration alone .800, over 2 "
        "folds and 1 seed, on 40 recordings from 8 sessions of table, each tested by models that "
        "it did not train. No better than duration alone (behind by 1.1 points [0.2, 2.0])."
    )
    folds, rivals = fold_scores(behind), rival_scores(behind)
    assert folds.layout.meta["caption"].startswith("Folds reach .880 to .920; all predictions")
    assert rivals.layout.meta["caption"].endswith(
        "is behind by 1.1 points [0.2, 2.0] on the same recordings."
    )
    assert [row[0] for row in rivals.layout.meta["table"]["rows"]] == [
        "all modalities",
        "duration alone",
    ]
    empty = replace(behind, scores={"macro_f1": Score.undefined("one class")}, by_fold=[])
    assert judge_crossval(empty).level == "broken"

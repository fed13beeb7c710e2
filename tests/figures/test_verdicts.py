"""The first sentence of every notebook."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from quadlib.diagnosis import Diagnosis, Finding
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score
from quadlib.figures.verdicts import (
    Verdict,
    judge_batches,
    judge_diagnosis,
    judge_evaluation,
    judge_training,
)
from quadlib.reports.headline import VERDICT_MIME
from quadlib.sampler.plan import BatchPlan


def test_a_verdict_never_speaks_by_colour_alone_and_escapes_its_text() -> None:
    verdict = Verdict("broken", "class <script>", (("a < b", "1"),)).noting("see <img>")
    bundle = verdict._repr_mimebundle_()
    assert (
        "<script>" not in bundle["text/html"]
        and "<img>" not in bundle["text/html"]
        and "a &lt; b" in bundle["text/html"]
    )
    assert "✕" in bundle["text/html"] and "broken" in bundle["text/html"]
    assert bundle["text/plain"].splitlines() == [
        "✕ broken: class <script>",
        "  a < b: 1",
        "  see <img>",
    ]
    assert bundle[VERDICT_MIME] == {
        "level": "broken",
        "sentence": "class <script>",
        "numbers": [["a < b", "1"]],
        "notes": ["see <img>"],
        "steps": [],
    }


def test_batches(plan: BatchPlan, bad_plan: BatchPlan) -> None:
    good = judge_batches(plan, 0.1)
    assert good.level == "fine"
    assert good.sentence == (
        "Each batch holds 16 recordings of 4 classes, 4 of each class; every anchor has a positive."
    )
    assert ("positives per anchor, minimum / median", "3 / 3") in good.numbers
    bad = judge_batches(bad_plan, 0.1)
    assert bad.level == "broken" and "1 of 3 batches hold one class" in bad.sentence
    assert bad.notes == ("53 of 64 recordings are in no batch of this epoch.",)
    lone = judge_batches(replace(bad_plan, batches=bad_plan.batches[:2]), 0.1)
    assert lone.level == "needs attention"


def test_training(history: list[dict[str, Any]]) -> None:
    verdict = judge_training(history, epochs_planned=10)
    assert verdict.level == "fine"
    assert verdict.sentence.startswith(
        "Learned: the loss is 89 % of the way from collapse to its floor; validation macro-F1 "
        ".800 in epoch 3, which was kept;"
    )
    assert verdict.sentence.endswith("trained to epoch 4 of 10 (stopped early).")
    assert judge_training(history[:3]).sentence == "No epoch was completed."


def test_training_that_began_again(history: list[dict[str, Any]]) -> None:
    for line in history:
        if line["kind"] == "epoch" and line["epoch"] > 2:
            line["restarts"] = 1
    verdict = judge_training(history, epochs_planned=2)
    assert verdict.sentence.endswith("trained to epoch 4 of 4.")
    assert verdict.notes == (
        "The embeddings collapsed. After epoch 2 training began again from the first weights at "
        "a quarter of the learning rate.",
    )


@pytest.mark.parametrize(
    ("progress", "level", "words"),
    [
        (0.01, "broken", "Collapsed"),
        (0.3, "needs attention", "Partly learned"),
        (None, "broken", "Nothing to learn"),
    ],
)
def test_training_that_went_wrong(
    history: list[dict[str, Any]], progress: float | None, level: str, words: str
) -> None:
    history[-1]["progress"] = progress
    verdict = judge_training(history)
    assert verdict.level == level and verdict.sentence.startswith(words)


def test_diagnosis() -> None:
    assert judge_diagnosis(Diagnosis((), ("QL-S01 x",), ())).level == "fine"
    assert (
        judge_diagnosis(Diagnosis((), (), (("QL-S01 x", "no labels"),))).level == "needs attention"
    )
    root = Finding("QL-S01", "error", "one class", "split train", ("12 classes",), "split anew")
    verdict = judge_diagnosis(Diagnosis((root,), ("QL-S01 x",), ()))
    assert (
        verdict.level == "broken"
        and "QL-S01" in verdict.sentence
        and verdict.notes == ("To fix QL-S01: split anew",)
    )
    noted = judge_diagnosis(Diagnosis((replace(root, severity="note"),), ("QL-S01 x",), ()))
    assert noted.level == "fine" and noted.notes == ("Note QL-S01: one class.",)


def test_evaluation(evaluation: Evaluation) -> None:
    sure = replace(
        evaluation, scores=evaluation.scores | {"macro_f1": Score(0.9, 0.85, 0.95)}, by_modality={}
    )
    assert judge_evaluation(sure).level == "fine"
    scored = [replace(baseline, macro_f1=Score(0.5)) for baseline in sure.baselines]
    names = [name for name, _ in judge_evaluation(replace(sure, baselines=scored)).numbers]
    assert {
        "macro-F1",
        "confounds alone",
        "duration alone",
        "most common class",
        "AUROC, good vs all others",
    } <= set(names)
    one_sided = judge_evaluation(
        replace(sure, scores=sure.scores | {"auprc": Score.undefined("no other recording")})
    )
    assert "AUPRC, good vs all others" not in dict(one_sided.numbers)
    assert one_sided.notes[-1] == "AUPRC, good vs all others: undefined, no other recording."
    unnamed = judge_evaluation(replace(sure, normal_class=""))
    assert not [name for name, _ in unnamed.numbers if "AU" in name]
    alone = {"video": {"macro_f1": Score(0.87), "accuracy": Score(0.9), "map_at_r": Score(0.9)}}
    doubtful = judge_evaluation(replace(sure, by_modality=alone))
    assert doubtful.level == "needs attention" and doubtful.sentence.endswith(
        "Not clearly better than video alone (.870)."
    )
    beaten = judge_evaluation(
        replace(sure, by_modality={"video": alone["video"] | {"macro_f1": Score(0.95)}})
    )
    assert "No better than video alone (.950)." in beaten.sentence
    weights = dict.fromkeys(sure.modalities, 0.0) | {"video": 1.0}
    assert "reads video alone" in judge_evaluation(replace(sure, fusion_weights=weights)).notes[0]
    assert not any("reads" in note for note in judge_evaluation(sure).notes)
    undefined = judge_evaluation(
        replace(evaluation, scores=evaluation.scores | {"macro_f1": Score.undefined("one class")})
    )
    assert undefined.level == "broken" and undefined.sentence == "Not scored: one class."


def test_no_number_of_a_verdict_is_an_unmarked_nan(plan: BatchPlan) -> None:
    lonely = replace(plan, batches=[plan.batches[0][[0, 4, 8, 12]]])
    verdict = judge_batches(lonely, 0.1)
    assert not any("nan" in value for _, value in verdict.numbers) and not math.isnan(
        len(verdict.numbers)
    )


def test_three_numbers_are_seen_and_the_rest_and_the_next_steps_are_folded() -> None:
    numbers = tuple((f"number {n}", str(n)) for n in range(5))
    verdict = Verdict("fine", "All is well.", numbers).going_on("Resume: quadlib <run>")
    seen, folded = verdict.to_html().split("<details>", 1)
    assert seen.count("quad-number") == 3 and folded.count("quad-number") == 2
    assert "Next steps</summary><p><code>Resume: quadlib &lt;run&gt;" in folded
    assert str(verdict).endswith("  Resume: quadlib <run>")

"""The sentence that a reader sees first in each notebook: a sign, a word, the finding, and the few
numbers that carry it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quadlib.data.samples import SampleTable
from quadlib.evaluation.record import Evaluation
from quadlib.figures.batches import batch_table, composition_sentence, span
from quadlib.figures.evaluation import baseline_name
from quadlib.figures.history import refit_epochs, split_history, without_refit
from quadlib.figures.signs import (
    WEAK_RECALL,
    batch_signs,
    evaluation_signs,
    found,
    table_signs,
    training_signs,
    where_from,
)
from quadlib.figures.style import many, number, score
from quadlib.figures.training import SCORES
from quadlib.figures.verdict import Level as Level
from quadlib.figures.verdict import Verdict as Verdict
from quadlib.runs import Run
from quadlib.runs.commands import notebook_command
from quadlib.sampler.plan import BatchPlan
from quadlib.training.checkpoint import BEST, LATEST


def judge_batches(
    plan: BatchPlan, temperature: float, recordings: SampleTable | None = None
) -> Verdict:
    """What the batches of an epoch hold, and whether a contrastive loss can learn from them; with
    the table of the recordings, whether each class is in every split and in several sessions.
    """
    table = batch_table(plan, temperature)
    one_class, lone = int((table["classes"] == 1).sum()), int(table["lone_anchors"].sum())
    numbers = (
        ("batches per epoch", f"{len(table):,}"),
        (
            "positives per anchor, minimum / median",
            f"{table['positives_min'].min()} / {table['positives_median'].median():g}",
        ),
        ("loss floor", span(table["floor"])),
        ("collapse plateau", number(float(table["collapse"].mode().iloc[0]), 4)),
    )
    sentence = composition_sentence(plan, table)
    repeats, unseen = int(table["repeats"].sum()), len(plan.unseen)
    notes = tuple(plan.notes) + (
        (f"{unseen:,} of {len(plan.codes):,} recordings are in no batch of this epoch.",)
        if unseen
        else ()
    )
    notes += (
        (f"{many(repeats, 'recording occurs', 'recordings occur')} more than once in a batch.",)
        if repeats
        else ()
    )
    if one_class:
        size = int(table["size"].mode().iloc[0])
        return Verdict(
            "broken",
            f"{one_class} of {len(table)} batches hold one class, so their loss cannot fall below "
            f"ln {size - 1} = {np.log(size - 1):.4f}. {sentence}",
            numbers,
            notes,
        )
    return Verdict(
        "needs attention" if lone or unseen or repeats else "fine", sentence, numbers, notes
    ).warned(*batch_signs(table), *(table_signs(recordings) if recordings else ()))


def judge_training(history: Sequence[Mapping[str, Any]], epochs_planned: int = 0) -> Verdict:
    """How far a run came from collapse to the optimum, and how good its best model is on
    validation.
    """
    if refitted := refit_epochs(history):
        return judge_training(without_refit(history), epochs_planned).noting(
            f"best_model.pth was trained anew on train and val for {many(refitted, 'epoch')}, "
            "which were best on val; no recording is left that could judge it before test."
        )
    steps, epochs = split_history(history)
    if not len(epochs):
        return Verdict(
            "needs attention" if len(steps) else "broken",
            "No epoch was completed.",
            (("steps", f"{len(steps):,}"),),
        )
    last = epochs.iloc[-1]
    done = int(last["epoch"])
    restarted = epochs["restarts"].fillna(0) if "restarts" in epochs else epochs["epoch"] * 0
    notes: tuple[str, ...] = ()
    if restarted.iloc[-1]:
        began = int(epochs["epoch"][restarted < restarted.iloc[-1]].max())
        epochs_planned += began if epochs_planned else 0
        notes = (
            f"The embeddings collapsed. After epoch {began} training began again from the first "
            "weights at a quarter of the learning rate.",
        )
        epochs = epochs[epochs["epoch"] > began]
    stopped = (
        f"epoch {done}"
        + (f" of {epochs_planned}" if epochs_planned else "")
        + (" (stopped early)" if done < epochs_planned else "")
    )
    progress = float(last["progress"]) if last.get("progress") is not None else float("nan")
    shown = [name for name in SCORES if name in epochs]
    best = (
        epochs[epochs["best"].fillna(False).astype(bool)].iloc[-1]
        if "best" in epochs and epochs["best"].any()
        else last
    )
    # the fused term is what the curve shows; the weighted sum of all terms is on another scale
    name, term = ("fused loss", "fused") if "fused" in last else ("loss", "loss")
    numbers = [
        (
            f"{name}, first and last",
            f"{number(float(steps[term].iloc[0]))} to {number(float(last[term]))}",
        )
    ]
    numbers += [
        (f"validation {SCORES[name][0]}, best model", score(float(best[name]))) for name in shown
    ]
    signs = training_signs(epochs, shown[0], term) if shown else ()
    where = (
        f"validation {SCORES[shown[0]][0]} {score(float(best[shown[0]]))} in epoch "
        f"{int(best['epoch'])}, which was kept; trained to {stopped}."
        if shown
        else f"trained to {stopped}."
    )
    if "floor" not in steps:
        fell = float(last[term]) < float(steps[term].iloc[0])
        return Verdict(
            "fine" if fell else "needs attention",
            f"The loss {'fell' if fell else 'did not fall'}; it declares no bounds, so the scores "
            f"alone say how far the run came: {where}",
            tuple(numbers),
            notes,
        ).warned(*signs)
    if progress != progress:
        return Verdict(
            "broken",
            "Nothing to learn: floor and collapse plateau coincide in every batch, or the fused "
            f"term is switched off; {where}",
            tuple(numbers),
            notes,
        )
    numbers.insert(0, ("progress from collapse to floor", f"{100 * progress:.0f} %"))
    if progress < 0.05:
        return Verdict(
            "broken",
            f"Collapsed: the loss is only {100 * progress:.0f} % of the way from collapse to its "
            f"floor; {where}",
            tuple(numbers),
            notes,
        )
    word = "Learned" if progress >= 0.5 else "Partly learned"
    return Verdict(
        "fine" if progress >= 0.5 else "needs attention",
        f"{word}: the loss is {100 * progress:.0f} % of the way from collapse to its floor; "
        f"{where}",
        tuple(numbers),
        notes,
    ).warned(*signs)


def where_to_go_on(run: Run) -> tuple[str, ...]:
    """The next steps from a run: commands that go on with it, diagnose and evaluate it, and where
    its checkpoints are.
    """
    place = (run.checkpoints / BEST).relative_to(run.folder.parent.parent)
    return (
        f"Resume: {notebook_command('02_train', run)}",
        f"Diagnose: {notebook_command('03_diagnose', run)}",
        f"Evaluate: {notebook_command('04_evaluate', run)}",
        f"Checkpoints: {place} and {LATEST} beside it",
    )


def where_it_stopped(run: Run) -> tuple[str, ...]:
    """One note where a run was stopped, none otherwise."""
    stopped = run.record.get("stopped", "")
    return (f"{stopped[0].upper()}{stopped[1:]}.",) if stopped else ()


def judge_diagnosis(diagnosis: Any) -> Verdict:
    """The verdict of a diagnosis in one line, what was checked, and what would help."""
    alarms = [root for root in diagnosis.roots if root.severity != "note"]
    folded = len(diagnosis.findings) - len(diagnosis.roots)
    numbers = (
        ("checks run", str(len(diagnosis.ran))),
        ("checks not run", str(len(diagnosis.not_run))),
        ("root causes", str(len(alarms))),
        ("consequences of those", str(folded)),
    )
    level: Level = (
        "broken"
        if any(root.severity == "error" for root in alarms)
        else "needs attention"
        if alarms or not diagnosis.ran
        else "fine"
    )
    return Verdict(
        level,
        f"{diagnosis.headline()}.",
        numbers,
        (
            *(f"To fix {root.code}: {root.help}" for root in alarms),
            *(
                f"Note {root.code}: {root.title}."
                for root in diagnosis.roots
                if root.severity == "note"
            ),
        ),
    )


def judge_evaluation(evaluation: Evaluation) -> Verdict:
    """How good the model is, beside what needs no recording and beside the best single modality."""
    reached = evaluation.scores["macro_f1"]
    single = evaluation.best_single if len(evaluation.modalities) > 1 else None
    alarm = {
        f"{area}, {evaluation.normal_class} vs all others": evaluation.scores[area.lower()]
        for area in ("AUROC", "AUPRC")
        if evaluation.normal_class and area.lower() in evaluation.scores
    }
    baselines = sorted(
        ((baseline_name(item.name), item.macro_f1) for item in evaluation.baselines),
        key=lambda pair: -(pair[1].value or 0.0),
    )
    scores = [
        ("macro-F1", reached),
        *baselines[:1],
        *([(f"best single modality, {single[0]}", single[1])] if single else []),
        ("accuracy", evaluation.scores["accuracy"]),
        *alarm.items(),
        *baselines[1:],
    ]
    # what has no value gets a sentence with its reason, not a tile
    numbers = [(name, str(value)) for name, value in scores if value.value is not None]
    notes = tuple(evaluation.notes) + tuple(
        f"{name}: undefined, {area.reason}." for name, area in alarm.items() if not area.defined
    )
    read = [name for name, weight in evaluation.fusion_weights.items() if weight > 0]
    if len(read) == 1 < len(evaluation.modalities):
        alone = (
            f"The fusion reads {read[0]} alone: no other modality told the classes of val apart "
            "well enough, so all modalities together score what it scores."
        )
        notes = (alone, *notes)
    if reached.value is None:
        return Verdict("broken", f"Not scored: {reached.reason}.", tuple(numbers), notes)
    rivals = {
        baseline_name(baseline.name): baseline.macro_f1.value for baseline in evaluation.baselines
    } | ({f"{single[0]} alone": single[1].value} if single else {})
    beaten_by = {
        name: value
        for name, value in rivals.items()
        if value is not None
        and value >= (reached.low if reached.low is not None else reached.value)
    }
    sentence = f"{evaluation.headline()}, on {where_from(evaluation)}.{_weakest(evaluation)}"
    signs = evaluation_signs(evaluation)
    if not beaten_by:
        return Verdict("fine", sentence, tuple(numbers), notes).warned(*signs)
    surely = any(value >= reached.value for value in beaten_by.values())
    others = ", ".join(f"{name} ({score(value)})" for name, value in beaten_by.items())
    doubt = f" {'No better than' if surely else 'Not clearly better than'} {others}."
    return Verdict("needs attention", sentence + doubt, tuple(numbers), notes).warned(*signs)


def _weakest(evaluation: Evaluation) -> str:
    """The class that is found least, where not all are found alike and a sign does not name it."""
    recalls = {
        item: item.recall.value for item in evaluation.per_class if item.recall.value is not None
    }
    if len(set(recalls.values())) < 2:
        return ""
    weakest, value = min(recalls.items(), key=lambda pair: pair[1])
    if value < WEAK_RECALL:
        return ""
    return f" Weakest class: {weakest.name}, recall {found(weakest)}."

"""An evaluation as figures: how good, against what, how sure, resting on what."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import binomtest

from quadlib.evaluation.baselines import MAJORITY
from quadlib.evaluation.crossval import CrossValidation
from quadlib.evaluation.metrics import ClassScore
from quadlib.evaluation.record import Evaluation
from quadlib.evaluation.score import Score
from quadlib.figures.maps import embedding_map
from quadlib.figures.modalities import fusion_weights, modality_retrieval, shapley_bars, subset_dots
from quadlib.figures.style import QUIET, SEQUENTIAL, finish, label

MOST_ANNOTATED = 30  # classes whose confusion is still printed in the cells


def evaluation_figures(evaluation: Evaluation) -> list[go.Figure]:
    """Every figure of an evaluation, in the order in which a report shows them."""
    figures = [score_line(evaluation)]
    if evaluation.shapley:
        figures.append(shapley_bars(evaluation))
    figures += [confusion_map(evaluation), per_class(evaluation)]
    if len(evaluation.subsets) > 1:
        figures.append(subset_dots(evaluation))
    return [
        *figures,
        embedding_map(evaluation),
        fusion_weights(evaluation),
        modality_retrieval(evaluation),
    ]


def score_line(evaluation: Evaluation) -> go.Figure:
    """Macro-F1 with its interval, above the best single modality and the baselines that see no
    recording.
    """
    entries: list[tuple[str, Score]] = [("all modalities", evaluation.scores["macro_f1"])]
    if evaluation.best_single is not None and len(evaluation.modalities) > 1:
        entries.append((f"best single: {evaluation.best_single[0]}", evaluation.best_single[1]))
    entries += [
        (baseline_name(baseline.name), baseline.macro_f1) for baseline in evaluation.baselines
    ]
    defined = [(name, score) for name, score in entries if score.value is not None]
    figure = go.Figure()
    for name, score in reversed(defined):
        value = score.value or 0.0
        error = None
        if score.low is not None and score.high is not None:
            error = {
                "type": "data",
                "symmetric": False,
                "array": [score.high - value],
                "arrayminus": [value - score.low],
                "thickness": 2,
                "width": 6,
            }
        fused = name == defined[0][0]
        figure.add_scatter(
            x=[value],
            y=[label(name)],
            error_x=error,
            mode="markers",
            showlegend=False,
            marker={
                "size": 14 if fused else 10,
                "color": "#0072B2" if fused else QUIET,
                "symbol": "diamond" if fused else "circle",
            },
            hovertemplate=f"%{{y}}: {score}<extra></extra>",
        )
        figure.add_annotation(
            x=1.02,
            xref="x",
            y=label(name),
            text=str(score),
            showarrow=False,
            xanchor="left",
            font_size=13,
        )
    absent = [name for name, score in entries if score.value is None]
    caption = (
        f"On {evaluation.n_queries:,} {evaluation.split} recordings: {evaluation.headline()}."
        + (f" Not available for this table: {', '.join(absent)}." if absent else "")
    )
    rows = [[name, score.value, score.low, score.high, score.reason] for name, score in entries]
    return finish(
        figure,
        "Macro-F1, with baselines that see no recording",
        caption,
        ["model", "macro-F1", "low", "high", "reason if missing"],
        rows,
        xaxis={"title": "macro-F1", "range": [0, 1.02]},
        margin_r=130,
        height=110 + 42 * max(len(defined), 1),
    )


def baseline_name(name: str) -> str:
    """The plain name of a baseline: what it sees."""
    return "most common class" if name == MAJORITY else f"{name} alone"


def confusion_order(confusion: np.ndarray) -> np.ndarray:
    """An order of the classes in which those that are confused are neighbours (average linkage,
    optimal leaf order).
    """
    if len(confusion) < 3:
        return np.arange(len(confusion))
    rates = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    distance = 1 - (rates + rates.T) / 2
    np.fill_diagonal(distance, 0)
    return leaves_list(
        linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    )


def confusion_map(evaluation: Evaluation | CrossValidation) -> go.Figure:
    """Confusion matrix in percent of the true class; confused classes are neighbours, counts on
    hover.
    """
    counts = np.array(evaluation.confusion)
    order = confusion_order(counts)
    counts = counts[np.ix_(order, order)]
    raw = [evaluation.class_names[code] for code in order]
    names, totals = [label(name) for name in raw], counts.sum(axis=1, keepdims=True)
    rates = np.where(totals > 0, 100 * counts / np.maximum(totals, 1), np.nan)
    printed = (
        np.where(counts > 0, np.char.mod("%.0f", np.nan_to_num(rates)), "")
        if len(names) <= MOST_ANNOTATED
        else None
    )
    figure = go.Figure(
        go.Heatmap(
            z=rates,
            x=names,
            y=names,
            customdata=counts,
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=100,
            xgap=1,
            ygap=1,
            text=printed,
            texttemplate="%{text}" if printed is not None else None,
            colorbar={
                "title": {"text": "% of the<br>true class"},
                "thickness": 10,
                "outlinewidth": 0,
            },
            hovertemplate="%{y} predicted as %{x}: %{customdata} recordings, %{z:.1f} "
            "%<extra></extra>",
        )
    )
    wrong = np.where(np.eye(len(counts), dtype=bool), -1.0, np.nan_to_num(rates, nan=-1.0))
    true, taken = np.unravel_index(int(wrong.argmax()), wrong.shape)
    caption = (
        f"Most common error: {rates[true, taken]:.0f} % of {raw[true]} ({counts[true, taken]} of "
        f"{int(totals[true, 0])}) are predicted as {raw[taken]}."
        if wrong.max() > 0
        else "Every recording is predicted correctly."
    )
    rows = [[name, *row] for name, row in zip(raw, counts, strict=True)]
    return finish(
        figure,
        "Confusion matrix (% of the true class)",
        caption,
        ["true class", *raw],
        rows,
        height=190 + max(26 * len(names), 120),
        xaxis={"title": "predicted class", "type": "category", "showgrid": False, "tickangle": -40},
        yaxis={
            "title": "true class",
            "type": "category",
            "autorange": "reversed",
            "showgrid": False,
        },
    )


def per_class(evaluation: Evaluation | CrossValidation) -> go.Figure:
    """Recall of each class with its interval, the 95 % Wilson interval over recordings where it has
    none, precision beside it, weakest class first.
    """
    classes = sorted(
        (score for score in evaluation.per_class if score.support),
        key=lambda score: score.recall.value or 0.0,
    )
    names = [f"{label(score.name)} (n = {score.support})" for score in classes]
    recalls = np.array([score.recall.value or 0.0 for score in classes])
    bounds = [_recall_bounds(score) for score in classes]
    figure = go.Figure()
    figure.add_scatter(
        x=recalls,
        y=names,
        mode="markers",
        name="recall with 95 % interval",
        marker={"size": 10, "color": "#0072B2"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value for (_, high), value in zip(bounds, recalls, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(bounds, recalls, strict=True)],
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="%{y}: recall %{x:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=[score.precision.value for score in classes],
        y=names,
        mode="markers",
        name="precision",
        marker={"size": 10, "color": "#E69F00", "symbol": "square-open", "line": {"width": 2}},
        hovertemplate="%{y}: precision %{x:.3f}<extra></extra>",
    )
    empty = [score.name for score in evaluation.per_class if not score.support]
    caption = (
        f"{classes[0].name} has the lowest recall: {classes[0].recall} of {classes[0].support} "
        "recordings."
        if classes
        else "No class has a recording."
    )
    caption += f" This split has no recording of {', '.join(empty)}." if empty else ""
    rows = [
        [
            score.name,
            score.support,
            score.recall.value,
            *bound,
            score.precision.value,
            score.f1.value,
        ]
        for score, bound in zip(classes, bounds, strict=True)
    ]
    return finish(
        figure,
        "Per-class recall and precision, worst first",
        caption,
        ["class", "recordings", "recall", "low", "high", "precision", "F1"],
        rows,
        margin_t=88,
        xaxis={
            "title": "recall and precision",
            "range": [max(0.0, min([low for low, _ in bounds], default=0.0) - 0.05), 1.02],
        },
        yaxis={"autorange": "reversed"},
        height=140 + 28 * len(classes),
    )


def _recall_bounds(score: ClassScore) -> tuple[float, float]:
    """The ends of a recall's interval: its own, else Wilson's over recordings."""
    if score.recall.low is not None and score.recall.high is not None:
        return score.recall.low, score.recall.high
    hits = round((score.recall.value or 0.0) * score.support)
    bound = binomtest(hits, score.support).proportion_ci(method="wilson")
    return float(bound.low), float(bound.high)


class Neighbour(NamedTuple):
    """A training recording: its row in the table, its name and class, its cosine to another."""

    row: int
    sample_id: str
    label: str
    cosine: float


def neighbours_of(evaluation: Evaluation, row: int, count: int) -> list[Neighbour]:
    """The training recordings whose fused embeddings lie nearest to that of an evaluated one,
    which is named by its row in the table.
    """
    arrays, names = evaluation.arrays, evaluation.class_names
    (place,) = np.flatnonzero((arrays["rows"] == row) & (arrays["split"] == evaluation.split))
    cosines = arrays["fused"][: evaluation.n_gallery] @ arrays["fused"][place]
    return [
        Neighbour(
            int(arrays["rows"][near]),
            str(arrays["sample_id"][near]),
            names[arrays["labels"][near]],
            float(cosines[near]),
        )
        for near in np.argsort(-cosines, kind="stable")[:count]
    ]


def worst_recordings(evaluation: Evaluation) -> pd.DataFrame:
    """The recordings that lie deepest in another class, worst first, with the training recording
    that each lies nearest to: to listen to and look at.
    """
    rows = []
    for item in evaluation.worst:
        row = {
            "recording": item.sample_id,
            "session": item.group,
            "class": item.label,
            "predicted": item.predicted,
            "margin": None if item.margin is None else round(item.margin, 3),
            "heaviest modality": max(item.weights, key=item.weights.__getitem__, default=""),
        }
        for near in neighbours_of(evaluation, item.row, 1):
            row |= {"nearest in training": near.sample_id, "its class": near.label}
            row |= {"cosine": round(near.cosine, 3)}
        rows.append(row)
    return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1))

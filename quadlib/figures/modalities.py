"""What an evaluation rests on: the share, the weights and the subsets of the modalities as
figures.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quadlib.evaluation.record import Evaluation
from quadlib.figures.style import FUSED, SEQUENTIAL, finish, label, modality_marks


def shapley_bars(evaluation: Evaluation) -> go.Figure:
    """What each modality adds to macro-F1, averaged over every order in which the modalities could
    be added (Shapley).
    """
    names = [name for name in evaluation.modalities if name in evaluation.shapley]
    values = [evaluation.shapley[name].value for name in names]
    marks = modality_marks(evaluation.modalities)
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[label(name) for name in names],
            orientation="h",
            width=0.55,
            marker_color=[marks[name].colour for name in names],
            text=["" if value is None else f"{value:+.3f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:+.3f} macro-F1<extra></extra>",
        )
    )
    known = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    first, last = (
        (max(known, key=lambda name: known[name]), min(known, key=lambda name: known[name]))
        if known
        else ("", "")
    )
    caption = (
        f"{first} contributes most to the score ({known[first]:+.3f}), {last} least "
        f"({known[last]:+.3f})."
        if known
        else "No subset of the modalities was scored, so contributions are undefined."
    )
    rows = [
        [name, evaluation.shapley[name].value, evaluation.shapley[name].reason] for name in names
    ]
    return finish(
        figure,
        "Contribution of each modality (Shapley values)",
        caption,
        ["modality", "macro-F1 added", "reason if missing"],
        rows,
        margin_r=70,
        xaxis_title="macro-F1 added, relative to the most common class",
        yaxis={"autorange": "reversed", "showgrid": False},
        height=110 + 40 * len(names),
    )


def subset_dots(evaluation: Evaluation) -> go.Figure:
    """Macro-F1 when only some modalities are visible, every subset a row, best first; symbols on
    the left say which are visible.
    """
    subsets = sorted(
        (subset for subset in evaluation.subsets if subset.macro_f1.value is not None),
        key=lambda subset: -(subset.macro_f1.value or 0.0),
    )
    marks, names = modality_marks(evaluation.modalities), evaluation.modalities
    places = list(range(len(subsets)))
    figure = make_subplots(
        rows=1, cols=2, column_widths=[0.26, 0.74], shared_yaxes=True, horizontal_spacing=0.02
    )
    for position, name in enumerate(names):
        inside = [
            place
            for place, subset in zip(places, subsets, strict=True)
            if name in subset.modalities
        ]
        figure.add_scatter(
            x=[position] * len(inside),
            y=inside,
            mode="markers",
            marker={"color": marks[name].colour, "symbol": marks[name].symbol, "size": 11},
            showlegend=False,
            hovertemplate=f"{label(name)} is visible<extra></extra>",
            row=1,
            col=1,
        )
    texts = [" + ".join(subset.modalities) for subset in subsets]
    single = [
        marks[subset.modalities[0]] if len(subset.modalities) == 1 else marks[FUSED]
        for subset in subsets
    ]
    values = [subset.macro_f1.value for subset in subsets]
    figure.add_scatter(
        x=values,
        y=places,
        mode="markers+text",
        text=[str(subset.macro_f1) for subset in subsets],
        textposition="middle right",
        showlegend=False,
        cliponaxis=False,
        marker={
            "size": 11,
            "color": [mark.colour for mark in single],
            "symbol": [mark.symbol for mark in single],
        },
        customdata=[label(text) for text in texts],
        hovertemplate="%{customdata}: %{text}<extra></extra>",
        row=1,
        col=2,
    )
    best = subsets[0] if subsets else None
    everything = next((subset for subset in subsets if len(subset.modalities) == len(names)), None)
    caption = "No subset could be scored."
    if best is not None:
        caption = (
            f"The best subset is {texts[0]} with {best.macro_f1}"
            if len(best.modalities) < len(names)
            else f"All {len(names)} modalities together score best, with {best.macro_f1}"
        )
        if everything is not None and everything is not best:
            caption += f"; all {len(names)} reach {everything.macro_f1}"
        alone = [subset for subset in subsets if len(subset.modalities) == 1]
        caption += (
            f"; the best single modality is {alone[0].modalities[0]} with {alone[0].macro_f1}."
            if alone
            else "."
        )
    rows = [
        [
            text,
            subset.n_queries,
            subset.macro_f1.value,
            subset.accuracy.value,
            subset.map_at_r.value,
        ]
        for text, subset in zip(texts, subsets, strict=True)
    ]
    low = max(0.0, min([value or 0.0 for value in values], default=0.0) - 0.06)
    figure.update_xaxes(
        row=1,
        col=1,
        tickvals=list(range(len(names))),
        ticktext=[label(name) for name in names],
        range=[-0.6, len(names) - 0.4],
        side="top",
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(row=1, col=2, title_text="macro-F1", range=[low, 1.04])
    figure.update_yaxes(autorange="reversed", showticklabels=False, zeroline=False, dtick=1)
    return finish(
        figure,
        "Macro-F1 of every subset of modalities",
        caption,
        ["visible", "recordings", "macro-F1", "accuracy", "MAP@R"],
        rows,
        height=150 + 24 * len(subsets),
        margin_t=88,
    )


def fusion_weights(evaluation: Evaluation) -> go.Figure:
    """How much weight the fusion gives each modality, over the evaluated recordings that have it:
    quartiles, 5th and 95th percentile.
    """
    asked = evaluation.arrays["split"] == evaluation.split
    weights, present = (
        evaluation.arrays["weights"][asked],
        evaluation.arrays["present"][asked].astype(bool),
    )
    marks = modality_marks(evaluation.modalities)
    figure, rows = go.Figure(), []
    for position, name in enumerate(evaluation.modalities):
        own = weights[present[:, position], position]
        if not len(own):
            continue
        low, first, median, third, high = np.percentile(own, [5, 25, 50, 75, 95])
        rows.append([name, len(own), float(own.mean()), median, low, high])
        figure.add_box(
            y=[label(name)],
            lowerfence=[low],
            q1=[first],
            median=[median],
            q3=[third],
            upperfence=[high],
            orientation="h",
            showlegend=False,
            line={"color": marks[name].colour, "width": 2},
            width=0.5,
        )
    heaviest = max(rows, key=lambda row: row[2], default=None)
    caption = (
        f"{heaviest[0]} has the largest mean fusion weight, {heaviest[2]:.2f}; equal weights would "
        f"be {1 / len(evaluation.modalities):.2f}."
        if heaviest
        else "No recording was scored."
    )
    return finish(
        figure,
        "Fusion weights",
        caption,
        ["modality", "recordings", "mean", "median", "5 %", "95 %"],
        rows,
        xaxis={"title": "weight", "rangemode": "tozero"},
        yaxis={"autorange": "reversed", "showgrid": False},
        height=120 + 40 * len(rows),
    )


def modality_retrieval(evaluation: Evaluation) -> go.Figure:
    """MAP@R when one modality's embeddings search among another's: whether the modalities share one
    space.
    """
    names = [label(name) for name in evaluation.modalities]
    values = np.array(
        [
            [np.nan if value is None else value for value in row]
            for row in evaluation.modality_to_modality
        ],
        dtype=float,
    )
    for position, name in enumerate(evaluation.modalities):
        within = evaluation.by_modality[name]["map_at_r"].value
        values[position, position] = np.nan if within is None else within
    printed = np.where(np.isnan(values), "", np.char.mod("%.2f", np.nan_to_num(values)))
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=names,
            y=names,
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=1,
            xgap=2,
            ygap=2,
            text=printed,
            texttemplate="%{text}",
            showscale=False,
            hovertemplate="query %{y}, gallery %{x}: %{z:.3f}<extra></extra>",
        )
    )
    crossed = evaluation.scores["modality_to_modality_map_at_r"]
    caption = (
        f"MAP@R from one modality to another is {crossed} on average; the diagonal is retrieval "
        "within one modality."
        if len(names) > 1
        else "There is one modality, so nothing is searched from one to another; the value is "
        "MAP@R within it."
    )
    rows = [[name, *row] for name, row in zip(evaluation.modalities, values, strict=True)]
    return finish(
        figure,
        "Cross-modal retrieval (MAP@R)",
        caption,
        ["query", *evaluation.modalities],
        rows,
        height=150 + 46 * len(names),
        xaxis={"title": "gallery", "showgrid": False},
        yaxis={"title": "query", "autorange": "reversed", "showgrid": False},
    )

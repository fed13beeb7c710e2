"""A diagnosis as figures: what was found, and the facts that are always shown, from its `facts`
(pandas tables).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pandas.io.formats.style import Styler

from quadlib.data.samples import SPLITS
from quadlib.diagnosis import Diagnosis
from quadlib.figures.batches import span
from quadlib.figures.style import BROKEN, FINE, QUIET, SEQUENTIAL, finish, label, many, number


def facts_figures(facts: Mapping[str, pd.DataFrame]) -> list[go.Figure]:
    """The figures of every fact that the diagnosis could establish, in the order of the
    pipeline.
    """
    drawn = {
        "labels": label_composition,
        "positives_per_batch": positives_per_batch,
        "frozen_parameters": trainable_share,
        "gradient_flow": gradient_flow,
    }
    return [
        draw(facts[name])
        for name, draw in drawn.items()
        if name in facts and len(facts[name]) and "not available" not in facts[name]
    ]


def label_composition(labels: pd.DataFrame) -> go.Figure:
    """Recordings of each class in each split, from a table with columns class and one a split;
    zeros stand out.
    """
    found = [column for column in labels.columns if column != "class"]
    splits = [split for split in SPLITS if split in found] + [
        split for split in found if split not in SPLITS
    ]
    counts = labels[splits].to_numpy()
    figure = go.Figure(
        go.Heatmap(
            z=counts,
            x=splits,
            y=[label(str(name)) for name in labels["class"]],
            colorscale=SEQUENTIAL,
            zmin=0,
            xgap=2,
            ygap=2,
            texttemplate="%{z}",
            showscale=False,
            hovertemplate="%{y}, %{x}: %{z} recordings<extra></extra>",
        )
    )
    held = {split: int((labels[split] > 0).sum()) for split in splits}
    caption = (
        "; ".join(f"{split} has {count} of {len(labels)} classes" for split, count in held.items())
        + "."
    )
    return finish(
        figure,
        "Recordings per class and split",
        caption,
        ["class", *splits],
        labels[["class", *splits]].itertuples(index=False),
        xaxis={"side": "top", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        margin_b=16,
        height=130 + max(22 * len(labels), 80),
        margin_t=84,
    )


def positives_per_batch(batches: pd.DataFrame) -> go.Figure:
    """Distinct classes and fewest positives of an anchor in each batch, from columns batch, size,
    classes, positives_min, lone_anchors.
    """
    figure = go.Figure()
    for column, name, colour, symbol in (
        ("classes", "classes", "#0072B2", "circle"),
        ("positives_min", "fewest positives per anchor", "#E69F00", "square"),
    ):
        figure.add_scatter(
            x=batches["batch"],
            y=batches[column],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 1.5},
            marker={"symbol": symbol},
            hovertemplate=f"batch %{{x}}: %{{y}} {name}<extra></extra>",
        )
    stuck, lone = int((batches["classes"] < 2).sum()), int(batches["lone_anchors"].sum())
    caption = (
        f"{stuck} of {len(batches)} batches hold one class; "
        f"{many(lone, 'anchor has', 'anchors have')} no positive."
        if stuck or lone
        else f"Each of the {len(batches)} batches holds {span(batches['classes'])} classes, "
        f"and every anchor has at least "
        f"{many(int(batches['positives_min'].min()), 'positive')}."
    )
    return finish(
        figure,
        "Classes and positives per batch",
        caption,
        [str(column).replace("_", " ") for column in batches.columns],
        batches.itertuples(index=False),
        xaxis={
            "title": "batch",
            "range": [-0.5, len(batches) - 0.5],
            "dtick": max(1, round(len(batches) / 20)),
        },
        yaxis={"title": "count", "rangemode": "tozero"},
        height=300,
        margin_t=88,
    )


def trainable_share(parts: pd.DataFrame) -> go.Figure:
    """Share of each part's parameters that training may change, from columns module, parameters,
    frozen.
    """
    share = 100 * (1 - parts["frozen"] / parts["parameters"].clip(lower=1))
    frozen = parts[parts["frozen"] > 0]
    figure = go.Figure(
        go.Bar(
            x=share,
            y=[label(name) for name in parts["module"]],
            orientation="h",
            marker_color=FINE,
            width=0.6,
            text=[
                f"{count:,} parameters" if value else ""
                for count, value in zip(parts["parameters"], share, strict=True)
            ],
            textposition="inside",
            insidetextanchor="start",
            hovertemplate="%{y}: %{x:.0f} % trainable<extra></extra>",
        )
    )
    caption = (
        f"All {int(parts['parameters'].sum()):,} parameters are trainable."
        if not len(frozen)
        else f"{int(frozen['frozen'].sum()):,} of {int(parts['parameters'].sum()):,} parameters "
        f"are frozen: {', '.join(frozen['module'])}."
    )
    return finish(
        figure,
        "Trainable parameters",
        caption,
        [str(column).replace("_", " ") for column in parts.columns],
        parts.itertuples(index=False),
        xaxis={"title": "trainable (%)", "range": [0, 100]},
        yaxis={"autorange": "reversed", "showgrid": False},
        height=110 + 32 * len(parts),
    )


def gradient_flow(parts: pd.DataFrame) -> go.Figure:
    """Gradient norm that reaches each part, on a logarithmic axis, from columns module,
    gradient_norm; none at all is crossed out.
    """
    norms = parts["gradient_norm"]
    reached = norms > 0
    lowest = norms[reached].min() / 10 if reached.any() else 1e-12
    shown = norms.where(reached, lowest)
    decades = np.log10(shown.max() / shown.min())
    figure = go.Figure(
        go.Scatter(
            x=shown,
            y=[label(name) for name in parts["module"]],
            mode="markers",
            showlegend=False,
            marker={
                "size": 11,
                "color": np.where(reached, "#0072B2", BROKEN),
                "symbol": np.where(reached, "circle", "x"),
            },
            customdata=norms,
            hovertemplate="%{y}: %{customdata:.3g}<extra></extra>",
        )
    )
    dead = list(parts["module"][~reached])
    caption = (
        f"No gradient reaches {', '.join(dead)}."
        if dead
        else f"A gradient reaches all {len(parts)} modules; its norm is {number(norms.min())} to "
        f"{number(norms.max())}."
    )
    return finish(
        figure,
        "Gradient norms on the first batch",
        caption,
        [str(column).replace("_", " ") for column in parts.columns],
        parts.itertuples(index=False),
        xaxis={
            "title": "gradient norm",
            "type": "log",
            "tickformat": "~g",
            "dtick": "D2" if decades < 2 else 1,
        },
        yaxis={"autorange": "reversed"},
        height=110 + 28 * len(parts),
    )


def similarity_histogram(similarity: np.ndarray, same_class: np.ndarray) -> go.Figure:
    """Cosines of pairs of embeddings, of the same class and of different ones: (N, N) similarities
    and a bool mask of the same shape.
    """
    upper = np.triu_indices(len(similarity), k=1)
    cosines, same = similarity[upper], same_class[upper]
    figure, bins = go.Figure(), {"start": -1, "end": 1.0001, "size": 0.04}
    for kind, chosen, colour in (
        ("different classes", ~same, QUIET),
        ("same class", same, "#0072B2"),
    ):
        figure.add_histogram(
            x=cosines[chosen],
            xbins=bins,
            histnorm="percent",
            name=kind,
            marker_color=colour,
            opacity=0.75,
        )
    apart = (
        float(cosines[same].mean() - cosines[~same].mean())
        if same.any() and (~same).any()
        else float("nan")
    )
    caption = (
        f"All cosines lie within {number(float(np.ptp(cosines)))} of each other: the embeddings "
        "have collapsed."
        if np.ptp(cosines) < 1e-3
        else f"The mean cosine of same-class pairs is {number(abs(apart))} "
        f"{'higher' if apart >= 0 else 'lower'} than that of different-class pairs."
        if not np.isnan(apart)
        else "The batch has pairs of one sort only, so there is nothing to compare."
    )
    edges = np.arange(-1, 1.01, 0.2)
    counts = [np.histogram(cosines[chosen], edges)[0] for chosen in (same, ~same)]
    rows = [
        [f"{low:.1f} to {low + 0.2:.1f}", *pair]
        for low, *pair in zip(edges[:-1], *counts, strict=True)
    ]
    return finish(
        figure,
        "Cosine similarity of pairs",
        caption,
        ["cosine", "same class", "different classes"],
        rows,
        barmode="overlay",
        xaxis={"title": "cosine", "range": [-1, 1.02]},
        yaxis_title="share of pairs (%)",
        height=300,
        margin_t=88,
    )


def loss_place(value: float, floor: float | None, plateau: float | None) -> go.Figure:
    """Where one loss value stands between the floor of its batch and the collapse plateau; said in
    words where the loss declares none.
    """
    figure = go.Figure()
    if floor is None or plateau is None:
        words = f"The loss of this batch is {number(value, 4)}; it has no floor and no plateau."
        return finish(figure, "The loss of one batch", words, ["loss"], [[value]], height=190)
    figure.add_scatter(
        x=[floor, plateau],
        y=[0, 0],
        mode="lines",
        line={"color": QUIET, "width": 10},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=[value],
        y=[0],
        mode="markers+text",
        marker={"size": 16, "symbol": "diamond", "color": "#0072B2"},
        text=[f"loss {number(value, 4)}"],
        textposition="top center",
        showlegend=False,
        hovertemplate="loss %{x:.4f}<extra></extra>",
    )
    for place, name in ((floor, "floor"), (plateau, "collapse")):
        figure.add_annotation(
            x=place, y=0, yshift=-22, text=f"{name} {number(place, 4)}", showarrow=False
        )
    room = plateau - floor
    caption = (
        "Floor and plateau coincide: this batch holds one class, and no network can lower its loss."
        if room < 1e-9
        else f"The loss is {100 * (plateau - value) / room:.1f} % of the way from collapse to the "
        "floor of its batch."
    )
    return finish(
        figure,
        "Loss between floor and collapse plateau",
        caption,
        ["floor", "loss", "plateau"],
        [[floor, value, plateau]],
        xaxis_title="loss (nats)",
        yaxis={"visible": False, "range": [-1, 1]},
        height=190,
    )


def not_run_table(diagnosis: Diagnosis) -> Styler:
    """The checks that could not be made, by the reason: what they would need. Styled, since a plain
    frame cuts long reasons.
    """
    return pd.DataFrame(diagnosis.not_run, columns=["check", "reason"]).style.hide(axis="index")

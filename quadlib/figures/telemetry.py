"""How a run was driven, as figures: learning rate, gradients and updates, time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quadlib.figures.history import Record, epoch_axis, split_history
from quadlib.figures.style import FUSED, finish, many, modality_marks, number

PHASES = {
    "load_seconds": ("load", "#56B4E9"),
    "forward_seconds": ("forward", "#0072B2"),
    "backward_seconds": ("backward", "#E69F00"),
    "validate_seconds": ("validate", "#009E73"),
}


def learning_rate_curve(history: Sequence[Record]) -> go.Figure:
    """The learning rate that every optimiser step really took."""
    steps, _ = split_history(history)
    figure = go.Figure()
    if "learning_rate" not in steps:
        return finish(figure, "Learning rate", "No learning rate was recorded.", ["epoch"], [])
    steps = steps.dropna(subset="learning_rate")  # batches that only accumulate take no step
    rates = steps["learning_rate"]
    figure.add_scatter(
        x=steps["at"],
        y=rates,
        mode="lines",
        line={"color": "#0072B2", "width": 2},
        hovertemplate="epoch %{x:.2f}: %{y:.2e}<extra></extra>",
    )
    peak = int(rates.to_numpy().argmax())
    caption = (
        f"The learning rate peaked at {number(rates.max())} in step "
        f"{int(steps['step'].iloc[peak])} and ended at {number(rates.iloc[-1])}."
        if rates.max() > 0
        else "The learning rate was 0 throughout, so nothing was learned."
    )
    rows = (
        steps.groupby("epoch")["learning_rate"]
        .agg(["min", "max"])
        .reset_index()
        .itertuples(index=False)
    )
    return finish(
        figure,
        "Learning rate",
        caption,
        ["epoch", "lowest", "highest"],
        rows,
        xaxis=epoch_axis(history),
        yaxis_title="learning rate",
        yaxis={"rangemode": "tozero", "exponentformat": "e"},
        height=260,
    )


def gradient_curves(history: Sequence[Record]) -> go.Figure:
    """Gradient norm, and size of an update relative to the weights, of every part by epoch; both
    axes logarithmic.

    Encoders are solid and heads dotted, in the colour of their modality; what serves all modalities
    is ink.
    """
    _, epochs = split_history(history)
    panels = {"gradient_norms": "gradient norm", "update_ratios": "update / weight norm"}
    figure = make_subplots(
        rows=1, cols=2, subplot_titles=list(panels.values()), horizontal_spacing=0.09
    )
    if not set(panels) & set(epochs.columns):
        return finish(
            figure, "Gradients and updates", "No gradient norms were recorded.", ["epoch"], []
        )
    tables = {
        name: pd.DataFrame(list(epochs[name]), index=epochs["epoch"])
        for name in panels
        if name in epochs
    }
    parts = list(dict.fromkeys(part for table in tables.values() for part in table.columns))
    marks = modality_marks(
        part.removeprefix("encoders.") for part in parts if part.startswith("encoders.")
    )
    dashes = {"encoders": "solid", "modality_heads": "dot", "fusion": "solid", "fused_head": "dash"}
    for column, table in enumerate(tables.values(), start=1):
        for part in table.columns:
            kind, _, name = part.partition(".")
            mark = marks.get(name, marks[FUSED])
            drawn = table[part].where(table[part] > 0)
            figure.add_scatter(
                x=table.index,
                y=drawn,
                mode="lines+markers",
                name=_short(part),
                legendgroup=part,
                showlegend=column == 1,
                row=1,
                col=column,
                line={"color": mark.colour, "width": 2, "dash": dashes.get(kind, "dashdot")},
                marker={"symbol": mark.symbol, "size": 5},
                hovertemplate=f"{_short(part)}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
            )
        span = table.where(table > 0).stack()
        decades = np.log10(span.max() / span.min()) if len(span) else 0.0
        figure.update_yaxes(
            type="log", tickformat="~g", dtick="D2" if decades < 2 else 1, row=1, col=column
        )
    norms = tables.get("gradient_norms", pd.DataFrame())
    silent = [_short(part) for part in norms.columns if (norms[part] == 0).all()]
    caption = (
        f"No gradient ever reached {', '.join(silent)}: frozen or disconnected from the loss."
        if silent
        else f"A gradient reached all {len(parts)} modules in every epoch."
        if (norms > 0).all().all()
        else "Some modules received no gradient in some epochs, shown as gaps."
    )
    rows = [
        [
            epoch,
            _short(part),
            *(table[part].get(epoch) if part in table else None for table in tables.values()),
        ]
        for epoch in epochs["epoch"]
        for part in parts
    ]
    figure.update_xaxes(**epoch_axis(history))
    return finish(
        figure,
        "Gradient norms and update ratios",
        caption,
        ["epoch", "module", *(panels[name] for name in tables)],
        rows,
        height=420,
        margin_t=88,
        legend={
            "orientation": "v",
            "x": 1.01,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "tracegroupgap": 0,
        },
    )


def _short(part: str) -> str:
    return part.removeprefix("encoders.").replace("modality_heads.", "head of ").replace("_", " ")


def time_per_epoch(timings: Sequence[Record]) -> go.Figure:
    """Seconds of each epoch, split into load, forward, backward and validate."""
    table = pd.DataFrame(list(timings))
    figure, shown = go.Figure(), [name for name in PHASES if name in table]
    if not shown:
        return finish(figure, "Time per epoch", "No times were recorded.", ["epoch"], [])
    for name in shown:
        label, colour = PHASES[name]
        figure.add_bar(
            x=table["epoch"],
            y=table[name],
            name=label,
            marker_color=colour,
            hovertemplate=f"epoch %{{x}}: {label} %{{y:.2f}} s<extra></extra>",
        )
    totals = table[shown].sum()
    slowest, seconds = str(totals.idxmax()), float(totals.sum())
    caption = (
        f"{number(seconds)} s in {many(len(table), 'epoch')}, {number(seconds / len(table))} s "
        f"each; {PHASES[slowest][0]} took most, {100 * totals.max() / max(seconds, 1e-12):.0f} %."
    )
    return finish(
        figure,
        "Time per epoch",
        caption,
        ["epoch", *(f"{PHASES[name][0]} (s)" for name in shown)],
        table[["epoch", *shown]].itertuples(index=False),
        xaxis=epoch_axis(timings),
        yaxis_title="seconds",
        barmode="stack",
        height=300,
        margin_t=96,
    )

"""A training run as figures: from the records of its history to plotly, nothing read from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quadlib.figures.style import (
    BAND,
    FUSED,
    INK,
    LOOK_HERE,
    QUIET,
    finish,
    many,
    modality_marks,
    number,
    score,
)

Record = Mapping[str, Any]
SCORES = {
    "val_macro_f1": ("macro-F1", "#0072B2", "circle"),
    "val_map_at_r": ("MAP@R", "#E69F00", "square"),
    "val_accuracy": ("accuracy", "#009E73", "diamond"),
}
PHASES = {
    "load_seconds": ("load", "#56B4E9"),
    "forward_seconds": ("forward", "#0072B2"),
    "backward_seconds": ("backward", "#E69F00"),
    "validate_seconds": ("validate", "#009E73"),
}


def epoch_axis(history: Sequence[Record]) -> dict[str, Any]:
    """An axis of epochs with ticks at whole ones."""
    last = max((record["epoch"] for record in history), default=1)
    return {
        "title": {"text": "epoch"},
        "tick0": 0,
        "dtick": max(1, round(last / 10)),
        "range": [0.45, last + 0.55],
    }


def split_history(history: Sequence[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The step records and the epoch records, each as a table; a step's `at` is its place in
    epochs, epoch 1 from 0.5 to 1.5.
    """
    steps = pd.DataFrame([record for record in history if record["kind"] == "step"])
    epochs = pd.DataFrame([record for record in history if record["kind"] == "epoch"])
    if len(steps):
        by_epoch = steps.groupby("epoch")
        steps["at"] = (
            steps["epoch"]
            - 0.5
            + (by_epoch.cumcount() + 1) / by_epoch["epoch"].transform("size").max()
        )
    return steps, epochs


def training_figures(
    history: Sequence[Record], timings: Sequence[Record] = (), findings: Sequence[Any] = ()
) -> list[go.Figure]:
    """Every figure of a training run, in the order in which a report shows them."""
    figures = [
        loss_curve(history, findings),
        validation_curve(history),
        learning_rate_curve(history),
        gradient_curves(history),
    ]
    return [*figures, time_per_epoch(timings)] if timings else figures


def loss_curve(history: Sequence[Record], findings: Sequence[Any] = ()) -> go.Figure:
    """The fused term between the floor of its batches (a band, lowest to highest) and the collapse
    plateau.

    `findings` (of a diagnosis) that name a step are marked on the curve.
    """
    steps, _ = split_history(history)
    figure = go.Figure()
    if not len(steps):
        return finish(figure, "Loss", "Nothing was trained yet.", ["epoch"], [])
    if "fused" not in steps:
        return _total_loss(
            history, steps, "fused_weight is 0, so this is the sum of the other terms"
        )
    if steps["floor"].isna().all():
        return _total_loss(
            history, steps, "No batch holds a positive pair, so this is what the other terms left"
        )
    steps = steps.dropna(subset="floor")
    steps["progress"] = pd.to_numeric(
        steps["progress"]
    )  # None where every batch holds one class: 0 / 0
    per_epoch = steps.groupby("epoch").agg(
        low=("floor", "min"),
        high=("floor", "max"),
        loss=("fused", "mean"),
        plateau=("collapse", "max"),
        progress=("progress", "mean"),
    )
    end = float(steps["at"].max())
    figure.add_scatter(
        x=steps["at"],
        y=steps["fused"],
        mode="lines",
        name="each batch",
        line={"color": QUIET, "width": 1},
        hovertemplate="epoch %{x:.2f}: loss %{y:.4f}<extra>one batch</extra>",
    )
    figure.add_scatter(
        x=[*per_epoch.index, *per_epoch.index[::-1]],
        y=[*per_epoch["high"], *per_epoch["low"][::-1]],
        mode="lines",
        fill="toself",
        fillcolor=BAND,
        line={"width": 0.5, "color": QUIET},
        name="floor of the batches",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=per_epoch.index,
        y=per_epoch["loss"],
        mode="lines+markers",
        name="mean of an epoch",
        line={"color": "#0072B2", "width": 2.5},
        customdata=100 * per_epoch["progress"],
        hovertemplate="epoch %{x}: loss %{y:.4f}, progress %{customdata:.0f} %<extra></extra>",
    )
    plateau = float(steps["collapse"].mode().iloc[0])
    name = f"ln {round(np.exp(plateau))} = {plateau:.3f}: collapse"
    figure.add_scatter(
        x=[0, end],
        y=[plateau, plateau],
        mode="lines",
        name=name,
        showlegend=False,
        line={"color": "#D55E00", "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_annotation(
        x=end, y=plateau, text=name, xanchor="right", yanchor="bottom", showarrow=False
    )
    last = per_epoch.iloc[-1]
    figure.add_annotation(
        x=end,
        y=float(last["low"]),
        text=f"floor {number(last['low'])}",
        xanchor="right",
        yanchor="top" if last["low"] > plateau / 8 else "bottom",
        showarrow=False,
    )
    _mark_findings(figure, findings, steps)
    way = (
        "these batches hold one class each, so floor and collapse are the same and nothing can be "
        "learned from them"
        if np.isnan(last["progress"])
        else f"{100 * last['progress']:.0f} % of the way from collapse to the optimum of these "
        "batches"
    )
    caption = (
        f"The loss went from {number(steps['fused'].iloc[0], 4)} to {number(last['loss'], 4)}: "
        f"{way}."
    )
    rows = [[epoch, *row] for epoch, row in zip(per_epoch.index, per_epoch.to_numpy(), strict=True)]
    bottom = min(0.0, float(steps["fused"].min()))
    return finish(
        figure,
        "Loss between floor and collapse",
        caption,
        ["epoch", "lowest floor", "highest floor", "loss", "plateau", "progress"],
        rows,
        xaxis=epoch_axis(history),
        yaxis_title="supervised contrastive loss (nats)",
        yaxis_rangemode="tozero" if bottom == 0 else "normal",
        height=420,
        margin_t=96,
    )


def _total_loss(history: Sequence[Record], steps: pd.DataFrame, why: str) -> go.Figure:
    """The loss of a run whose fused term is off or has no positive pair: floor and plateau do not
    apply to it.
    """
    figure = go.Figure(
        go.Scatter(
            x=steps["at"],
            y=steps["loss"],
            mode="lines",
            name="each batch",
            line={"color": "#0072B2"},
        )
    )
    caption = f"{why}: it has no common floor and plateau to stand between."
    rows = steps.groupby("epoch")["loss"].mean().items()
    return finish(
        figure,
        "Loss",
        caption,
        ["epoch", "loss"],
        rows,
        xaxis=epoch_axis(history),
        yaxis_title="sum of the weighted terms (nats)",
    )


def _mark_findings(figure: go.Figure, findings: Sequence[Any], steps: pd.DataFrame) -> None:
    """Marks the findings that name a step."""
    for finding in findings:
        seen = steps[steps["step"] == getattr(finding, "step", None)]
        if len(seen):
            figure.add_annotation(
                x=seen["at"].iloc[0],
                y=seen["fused"].iloc[0],
                text=f"▲ {finding.code}",
                arrowcolor=LOOK_HERE,
                hovertext=finding.title,
            )


def validation_curve(history: Sequence[Record]) -> go.Figure:
    """Validation scores of every epoch, from 0 to 1, the epochs that wrote best_model.pth
    marked.
    """
    _, epochs = split_history(history)
    figure, shown = (
        go.Figure(),
        [name for name in SCORES if name in epochs and epochs[name].notna().any()],
    )
    if not shown:
        return finish(figure, "Validation", "This run was not validated.", ["epoch"], [])
    for name in shown:
        label, colour, symbol = SCORES[name]
        figure.add_scatter(
            x=epochs["epoch"],
            y=epochs[name],
            mode="lines+markers",
            name=label,
            line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 6},
            hovertemplate=f"epoch %{{x}}: {label} %{{y:.3f}}<extra></extra>",
        )
    best = (
        epochs[epochs["best"].fillna(False).astype(bool)] if "best" in epochs else epochs.iloc[:0]
    )
    caption = (
        f"After epoch {int(epochs['epoch'].iloc[-1])} the validation {SCORES[shown[0]][0]} is "
        f"{score(epochs[shown[0]].iloc[-1])}."
    )
    if len(best):
        row, (label, colour, _) = best.iloc[-1], SCORES[shown[0]]
        later = int(epochs["epoch"].iloc[-1] - row["epoch"])
        figure.add_scatter(
            x=[row["epoch"]],
            y=[row[shown[0]]],
            mode="markers",
            name="best model",
            hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 13, "color": INK, "line": {"width": 2}},
        )
        figure.add_annotation(
            x=row["epoch"],
            y=row[shown[0]],
            text=f"best: {score(row[shown[0]])}",
            showarrow=True,
            ax=0,
            ay=34,
            arrowcolor=QUIET,
        )
        caption = (
            f"The best model is that of epoch {int(row['epoch'])}, validation {label} "
            f"{score(row[shown[0]])}; "
            + (
                f"{many(later, 'epoch')} followed without a better one."
                if later
                else "it is the last one."
            )
        )
    columns = ["epoch", *shown]
    return finish(
        figure,
        "Validation scores",
        caption,
        ["epoch", *(SCORES[name][0] for name in shown)],
        epochs[columns].itertuples(index=False),
        xaxis=epoch_axis(history),
        yaxis_title="score (1 is perfect)",
        yaxis_range=[0, 1.03],
        margin_t=96,
    )


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
        f"The rate rose to {number(rates.max())} at step {int(steps['step'].iloc[peak])} and ended "
        f"at {number(rates.iloc[-1])}."
        if rates.max() > 0
        else "The learning rate was 0 throughout: nothing can have been learned."
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
        f"No gradient ever reached {', '.join(silent)}: it is frozen or cut off."
        if silent
        else f"A gradient reached each of the {len(parts)} parts in every epoch."
        if (norms > 0).all().all()
        else "A gradient was missing in some epochs: see the gaps."
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
        "Gradients and updates of every part",
        caption,
        ["epoch", "part", *(panels[name] for name in tables)],
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
        f"{number(seconds)} s in {len(table)} epochs, {number(seconds / len(table))} s each; most "
        f"of it, {100 * totals.max() / max(seconds, 1e-12):.0f} %, went to {PHASES[slowest][0]}."
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

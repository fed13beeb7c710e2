"""A training run as figures: from the records of its history to plotly, nothing read from disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quadlib.figures.history import Record, epoch_axis, split_history, without_refit
from quadlib.figures.style import (
    ATTENTION,
    BAND,
    INK,
    QUIET,
    finish,
    many,
    number,
    score,
)
from quadlib.figures.telemetry import gradient_curves, learning_rate_curve, time_per_epoch

SCORES = {
    "val_macro_f1": ("macro-F1", "#0072B2", "circle"),
    "val_map_at_r": ("MAP@R", "#E69F00", "square"),
    "val_accuracy": ("accuracy", "#009E73", "diamond"),
}


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
        return finish(figure, "Loss", "No training step was recorded.", ["epoch"], [])
    if "fused" not in steps:
        return _total_loss(
            history, steps, "fused_weight is 0, so this is the sum of the other terms"
        )
    if "floor" not in steps:
        return _total_loss(history, steps, "This loss declares no bounds")
    if steps["floor"].isna().all():
        return _total_loss(
            history, steps, "No batch holds a positive pair, so only the other terms are left"
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
        name="floor",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=per_epoch.index,
        y=per_epoch["loss"],
        mode="lines+markers",
        name="epoch mean",
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
        "each of these batches holds one class, so floor and plateau coincide and nothing can be "
        "learned from them"
        if np.isnan(last["progress"])
        else f"{100 * last['progress']:.0f} % of the way from collapse to the floor"
    )
    losses = [number(value, 4) for value in per_epoch["loss"]]
    caption = (
        f"The loss of an epoch went from {losses[0]} to {losses[-1]}: {way}."
        if len(losses) > 1
        else f"The loss of the one epoch was {losses[0]}: {way}."
    )
    rows = [[epoch, *row] for epoch, row in zip(per_epoch.index, per_epoch.to_numpy(), strict=True)]
    bottom = min(0.0, float(steps["fused"].min()))
    return finish(
        figure,
        "Loss between floor and collapse plateau",
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
    """The loss of a run whose fused term is off or has no positive pair, or whose loss declares no
    bounds: floor and plateau do not apply to it.
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
    caption = f"{why}; it has no common floor and plateau."
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
                arrowcolor=ATTENTION,
                hovertext=finding.title,
            )


def validation_curve(history: Sequence[Record]) -> go.Figure:
    """Validation scores of every epoch, from 0 to 1, the epochs that wrote best_model.pth
    marked.
    """
    history = without_refit(history)
    _, epochs = split_history(history)
    figure, shown = (
        go.Figure(),
        [name for name in SCORES if name in epochs and epochs[name].notna().any()],
    )
    if not shown:
        return finish(figure, "Validation", "This run has no validation scores.", ["epoch"], [])
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
            f"The best model is from epoch {int(row['epoch'])}, with validation {label} "
            f"{score(row[shown[0]])}; "
            + (
                f"{many(later, 'later epoch was', 'later epochs were')} no better."
                if later
                else "it is the last epoch."
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

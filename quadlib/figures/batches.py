"""The label composition of batches as figures: from a BatchPlan and a SampleTable, no file
decoded.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quadlib.figures.style import BROKEN, SEQUENTIAL, finish, label, many, number
from quadlib.sampler.plan import BatchPlan

MOST_BATCHES = 60  # columns that a heat map still shows legibly
MOST_PRINTED = 60 * 16  # cells into which counts still fit


def batch_table(plan: BatchPlan, temperature: float) -> pd.DataFrame:
    """The plan's summary (one row a batch, in the order of the epoch) with the median of positives
    and `room`.

    `room` is plateau minus floor, what there is to learn: 0 in a one-class batch, NaN where no
    anchor has a positive.
    """
    table = plan.summary(temperature)
    table["positives_median"] = [
        float(np.median(positives)) if len(positives) else 0.0 for positives in plan.positives()
    ]
    table["room"] = table["collapse"] - table["floor"]
    return table


def worst_first(table: pd.DataFrame) -> np.ndarray:
    """Batch numbers from the worst on: one-class batches, then those with most lone anchors, then
    those with the least room.
    """
    room = table["room"].fillna(-1.0).round(9).to_numpy()
    return np.lexsort(
        (
            np.arange(len(table)),
            room,
            -table["lone_anchors"].to_numpy(),
            table["classes"].to_numpy() > 1,
        )
    )


def batch_overview(plan: BatchPlan, temperature: float) -> list[go.Figure]:
    """The static twin of the inspector: composition, with the worst batch opened."""
    return [batch_inspection(plan, temperature)]


def batch_heatmap(plan: BatchPlan, temperature: float, order: str = "worst") -> go.Figure:
    """How many of each class every batch holds; worst batch first (`order="worst"`) or as the epoch
    goes (`order="epoch"`).
    """
    table, names = batch_table(plan, temperature), list(plan.class_names)
    chosen = (worst_first(table) if order == "worst" else np.arange(len(table)))[:MOST_BATCHES]
    counts = plan.counts[chosen].T
    figure = go.Figure(
        go.Heatmap(
            z=counts,
            x=[str(batch) for batch in chosen],
            y=[label(name) for name in names],
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=max(int(counts.max()), 1),
            xgap=1,
            ygap=1,
            text=np.where(counts > 0, counts.astype(str), "")
            if counts.size <= MOST_PRINTED
            else None,
            texttemplate="%{text}" if counts.size <= MOST_PRINTED else None,
            colorbar={
                "title": {"text": "recordings"},
                "thickness": 10,
                "outlinewidth": 0,
                "tickformat": "d",
                "nticks": 6,
            },
            hovertemplate="batch %{x}<br>%{y}: %{z} recordings<extra></extra>",
        )
    )
    part = (
        ""
        if len(chosen) == len(table)
        else f" Shown are the {len(chosen)} {'worst' if order == 'worst' else 'first'} of "
        f"{len(table)} batches."
    )
    rows = [[batch, *plan.counts[batch]] for batch in chosen]
    side = "Batches are sorted worst first." if order == "worst" else "Batches are in epoch order."
    return finish(
        figure,
        "Label composition of each batch",
        f"{composition_sentence(plan, table)} {side}{part}",
        ["batch", *names],
        rows,
        xaxis={"title": "batch", "type": "category", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        height=130 + max(22 * len(names), 120),
    )


def batch_inspection(plan: BatchPlan, temperature: float, chosen: int | None = None) -> go.Figure:
    """The heat map, and beside it the classes of one batch (the worst, unless one is chosen), on
    the same rows.
    """
    heatmap, table, names = (
        batch_heatmap(plan, temperature),
        batch_table(plan, temperature),
        list(plan.class_names),
    )
    chosen = int(worst_first(table)[0]) if chosen is None else chosen
    counts = plan.counts[chosen]
    colours = [BROKEN if count == 1 else "#0072B2" for count in counts]
    words = [
        "" if not count else "no positive ✕" if count == 1 else many(int(count) - 1, "positive")
        for count in counts
    ]
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, column_widths=[0.68, 0.32], horizontal_spacing=0.02
    )
    figure.add_trace(heatmap.data[0], row=1, col=1)
    figure.data[0].update(showscale=False)
    figure.add_bar(
        x=counts,
        y=[label(name) for name in names],
        orientation="h",
        marker_color=colours,
        text=words,
        textposition="auto",
        row=1,
        col=2,
        showlegend=False,
        hovertemplate="%{y}: %{x} recordings<extra></extra>",
    )
    place = list(heatmap.data[0].x).index(str(chosen)) if str(chosen) in heatmap.data[0].x else None
    if place is not None:
        figure.add_shape(
            type="rect",
            x0=place - 0.5,
            x1=place + 0.5,
            y0=-0.5,
            y1=len(names) - 0.5,
            line={"color": BROKEN, "width": 2},
            row=1,
            col=1,
        )
    meta = heatmap.layout.meta
    figure.update_xaxes(title_text="batch", type="category", showgrid=False, row=1, col=1)
    figure.update_xaxes(
        title_text=f"recordings in batch {chosen}",
        range=[0, 1.9 * max(counts.max(), 3)],
        row=1,
        col=2,
    )
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return finish(
        figure,
        "Label composition of each batch",
        f"{meta['caption']} Right: batch {chosen}.",
        meta["table"]["columns"],
        meta["table"]["rows"],
        height=heatmap.layout.height,
    )


def composition_sentence(plan: BatchPlan, table: pd.DataFrame) -> str:
    """What every batch holds, in one sentence, lone anchors included."""
    counts = plan.counts
    sizes, classes, each = span(table["size"]), span(table["classes"]), span(counts[counts > 0])
    lone = int(table["lone_anchors"].sum())
    tail = (
        "every anchor has a positive"
        if not lone
        else f"{lone:,} of {int(table['size'].sum()):,} anchors have no positive and contribute no "
        "gradient"
    )
    plural = "class" if classes == "1" else "classes"
    return (
        f"Each batch holds {sizes} recordings of {classes} {plural}, {each} of each class; {tail}."
    )


def span(values: pd.Series | np.ndarray) -> str:
    """Lowest to highest as words: `2 to 4`, `32` where they are the same to three digits,
    `undefined` where all are.
    """
    known = np.asarray(values)
    if np.issubdtype(known.dtype, np.integer):
        low, high = f"{known.min():,}", f"{known.max():,}"
    elif np.isnan(known).all():
        return "undefined"
    else:
        low, high = number(float(np.nanmin(known))), number(float(np.nanmax(known)))
    return low if low == high else f"{low} to {high}"

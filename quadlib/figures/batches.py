"""The label composition of batches as figures: from a BatchPlan and a SampleTable, no file
decoded.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.stats import hypergeom

from quadlib.figures.style import BROKEN, QUIET, SEQUENTIAL, finish, label, many, number
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
        else f" The {len(chosen)} {'worst' if order == 'worst' else 'first'} of {len(table)} "
        "batches are shown."
    )
    rows = [[batch, *plan.counts[batch]] for batch in chosen]
    side = (
        "The worst batch comes first."
        if order == "worst"
        else "Batches are in the order of the epoch."
    )
    return finish(
        figure,
        "Label composition of every batch",
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
        "Label composition of every batch",
        f"{meta['caption']} On the right, batch {chosen}.",
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
        "no anchor is without a positive"
        if not lone
        else f"{lone:,} of {int(table['size'].sum()):,} anchors have no positive and teach nothing"
    )
    plural = "class" if classes == "1" else "classes"
    return f"Every batch of {sizes} holds {classes} {plural}, {each} of each; {tail}."


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


def positives_per_anchor(plan: BatchPlan, temperature: float) -> go.Figure:
    """Fewest and median positives that an anchor of each batch has; a batch with lone anchors is
    crossed out.
    """
    table = batch_table(plan, temperature)
    lone = table[table["positives_min"] == 0]
    figure = go.Figure()
    gaps_x = np.stack([table.index, table.index, table.index], axis=1).astype(object)
    gaps_y = np.stack(
        [table["positives_min"], table["positives_median"], np.full(len(table), None)], axis=1
    )
    figure.add_scatter(
        x=gaps_x.ravel(),
        y=gaps_y.ravel(),
        mode="lines",
        line={"color": QUIET, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_scatter(
        x=table.index,
        y=table["positives_median"],
        mode="markers",
        name="median",
        marker={"color": "#0072B2", "size": 8},
        hovertemplate="batch %{x}: median %{y} positives<extra></extra>",
    )
    figure.add_scatter(
        x=table.index,
        y=table["positives_min"],
        mode="markers",
        name="fewest",
        marker={"color": "#E69F00", "size": 8, "symbol": "square"},
        hovertemplate="batch %{x}: fewest %{y} positives<extra></extra>",
    )
    if len(lone):
        figure.add_scatter(
            x=lone.index,
            y=lone["positives_min"],
            mode="markers",
            name="anchors without a positive",
            customdata=lone["lone_anchors"],
            marker={"color": BROKEN, "size": 11, "symbol": "x"},
            hovertemplate="batch %{x}: %{customdata} lone anchors<extra></extra>",
        )
    caption = (
        f"{int(lone['lone_anchors'].sum()):,} anchors in {len(lone)} of {len(table)} batches have "
        "no positive; the loss leaves them out."
        if len(lone)
        else f"Every anchor has {many(table['positives_min'].min(), 'positive')} or more, "
        f"in the median {table['positives_median'].median():g}."
    )
    return finish(
        figure,
        "Positives per anchor",
        caption,
        ["batch", "fewest", "median", "lone anchors"],
        table[["positives_min", "positives_median", "lone_anchors"]].itertuples(),
        xaxis={
            "title": "batch",
            "range": [-0.5, len(table) - 0.5],
            "dtick": max(1, round(len(table) / 20)),
        },
        yaxis={
            "title": "positives per anchor",
            "rangemode": "tozero",
            "dtick": 1 if table["positives_median"].max() < 8 else None,
        },
        height=300,
        margin_t=88,
    )


def batch_floors(plan: BatchPlan, temperature: float) -> go.Figure:
    """The lowest loss that each batch allows, against the plateau of a collapsed network: the gap
    is what can be learned.
    """
    table = batch_table(plan, temperature)
    figure = go.Figure()
    figure.add_scatter(
        x=table.index,
        y=table["collapse"],
        mode="lines",
        name="collapse plateau",
        line={"color": BROKEN, "dash": "dash", "width": 1.5},
        hovertemplate="batch %{x}: plateau %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=table.index,
        y=table["floor"],
        mode="lines+markers",
        name="floor",
        line={"color": "#0072B2", "width": 1.5},
        fill="tonexty",
        fillcolor="rgba(0,158,115,0.10)",
        hovertemplate="batch %{x}: floor %{y:.4f}<extra></extra>",
    )
    size, plateau = int(table["size"].mode().iloc[0]), float(table["collapse"].mode().iloc[0])
    stuck = int((table["classes"] == 1).sum())
    caption = (
        f"{stuck} of {len(table)} batches hold one class: their floor is the plateau, so no "
        "network can lower their loss."
        if stuck
        else f"The floor of a batch is {span(table['floor'])}; a collapsed network stays at ln "
        f"{size - 1} = {plateau:.3f}."
    )
    figure.add_annotation(
        x=0.99,
        xref="paper",
        xanchor="right",
        y=plateau,
        yanchor="bottom",
        showarrow=False,
        text=f"ln {size - 1} = {plateau:.3f}: collapse",
    )
    return finish(
        figure,
        f"Floor and plateau of every batch, T = {temperature:g}",
        caption,
        ["batch", "floor", "plateau"],
        table[["floor", "collapse"]].itertuples(),
        xaxis={
            "title": "batch",
            "range": [-0.5, len(table) - 0.5],
            "dtick": max(1, round(len(table) / 20)),
        },
        yaxis_title="loss (nats)",
        yaxis_rangemode="tozero",
        height=300,
        margin_t=88,
    )


def chance_of_lone_anchor(class_sizes: np.ndarray, batch_size: int) -> float:
    """Chance that an anchor of a random batch has no positive: C(N - n_c, B - 1) / C(N - 1, B - 1),
    averaged over the recordings.
    """
    sizes = np.asarray(class_sizes)
    total = sizes.sum()
    alone = hypergeom.pmf(0, total - 1, np.maximum(sizes - 1, 0), batch_size - 1)
    return float((sizes / total * alone).sum())


def chance_of_one_class(class_sizes: np.ndarray, batch_size: int) -> float:
    """Chance that a random batch holds one class alone: the sum of C(n_c, B) / C(N, B)."""
    sizes = np.asarray(class_sizes)
    return float(hypergeom.pmf(batch_size, sizes.sum(), sizes, batch_size).sum())


def random_odds(plan: BatchPlan) -> go.Figure:
    """How many positives an anchor has under this plan, beside what batches drawn at random would
    give (hypergeometric).
    """
    counts = plan.counts
    sizes = counts.sum(axis=0)
    sizes = sizes[sizes > 0]
    batch_size = int(np.median(counts.sum(axis=1)))
    planned = np.bincount((counts[counts > 0] - 1), weights=counts[counts > 0]) / counts.sum()
    # The tail of the random draw is cut where less than one anchor in ten thousand is left.
    kept = min(
        batch_size, int(hypergeom.ppf(0.9999, sizes.sum() - 1, sizes.max() - 1, batch_size - 1)) + 1
    )
    positives = np.arange(max(len(planned), kept))
    random = sum(
        size / sizes.sum() * hypergeom.pmf(positives, sizes.sum() - 1, size - 1, batch_size - 1)
        for size in sizes
    )
    planned = np.pad(planned, (0, len(positives) - len(planned)))
    figure = go.Figure()
    figure.add_bar(
        x=positives,
        y=100 * random,
        name="drawn at random",
        marker_color=QUIET,
        hovertemplate="%{x} positives: %{y:.2f} % at random<extra></extra>",
    )
    figure.add_bar(
        x=positives,
        y=100 * planned,
        name="this plan",
        marker_color="#0072B2",
        hovertemplate="%{x} positives: %{y:.2f} % here<extra></extra>",
    )
    lone, one_class = (
        chance_of_lone_anchor(sizes, batch_size),
        chance_of_one_class(sizes, batch_size),
    )
    caption = (
        f"At random an anchor would be without a positive with probability {_chance(lone)}, "
        f"{number(lone * counts.sum())} anchors an epoch; here {_chance(planned[0])}. A random "
        f"batch would hold one class alone with probability {_chance(one_class)}."
    )
    return finish(
        figure,
        f"Positives per anchor, against batches of {batch_size} at random",
        caption,
        ["positives", "at random (%)", "this plan (%)"],
        zip(positives, 100 * np.asarray(random), 100 * planned, strict=True),
        xaxis={"title": "positives of an anchor", "dtick": 1 if len(positives) < 24 else None},
        yaxis_title="share of anchors (%)",
        barmode="group",
        height=300,
        margin_t=88,
    )


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _chance(value: float) -> str:
    if value == 0:
        return "0"
    if value < 1e-4:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa} · 10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return f"{100 * value:.3g} %"

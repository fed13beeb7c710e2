"""What the batches of a plan let an anchor learn: its positives, the floor of the loss, and the
odds of batches drawn at random.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from scipy.stats import hypergeom

from quadlib.figures.batches import batch_table, span
from quadlib.figures.style import BROKEN, QUIET, finish, many, number
from quadlib.sampler.plan import BatchPlan


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
        f"{many(int(lone['lone_anchors'].sum()), 'anchor')} in {len(lone)} of {len(table)} batches "
        "without a positive; the loss leaves them out."
        if len(lone)
        else f"Every anchor has at least {many(table['positives_min'].min(), 'positive')}; the "
        f"median is {table['positives_median'].median():g}."
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
        f"{stuck} of {len(table)} batches hold one class: their floor equals the plateau, so no "
        "network can lower their loss."
        if stuck
        else f"The floor is {span(table['floor'])}; a collapsed network stays at ln "
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
        f"Loss floor and collapse plateau of each batch (temperature {temperature:g})",
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
        name="random batches",
        marker_color=QUIET,
        hovertemplate="%{x} positives: %{y:.2f} % in random batches<extra></extra>",
    )
    figure.add_bar(
        x=positives,
        y=100 * planned,
        name="this plan",
        marker_color="#0072B2",
        hovertemplate="%{x} positives: %{y:.2f} % in this plan<extra></extra>",
    )
    lone, one_class = (
        chance_of_lone_anchor(sizes, batch_size),
        chance_of_one_class(sizes, batch_size),
    )
    caption = (
        f"In random batches an anchor has no positive with probability {_chance(lone)}, or "
        f"{number(lone * counts.sum())} anchors per epoch; in this plan {_chance(planned[0])}. A "
        f"random batch holds a single class with probability {_chance(one_class)}."
    )
    return finish(
        figure,
        f"Positives per anchor: this plan and random batches of {batch_size}",
        caption,
        ["positives", "random batches (%)", "this plan (%)"],
        zip(positives, 100 * np.asarray(random), 100 * planned, strict=True),
        xaxis={"title": "positives per anchor", "dtick": 1 if len(positives) < 24 else None},
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

"""Whether the kNN vote can be believed, as a figure."""

from __future__ import annotations

import plotly.graph_objects as go
from scipy.stats import binomtest

from quadlib.evaluation.record import Evaluation
from quadlib.figures.style import QUIET, finish


def reliability_curve(evaluation: Evaluation) -> go.Figure:
    """How often the vote is right, over the share of neighbours that agree; on the dashed line the
    share is the chance of being right.
    """
    bins = evaluation.calibration
    bounds = [
        binomtest(item.right, item.recordings).proportion_ci(method="wilson") for item in bins
    ]
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        showlegend=False,
        line={"color": QUIET, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[item.share for item in bins],
        y=[item.accuracy for item in bins],
        mode="lines+markers",
        showlegend=False,
        marker={"size": 11, "color": "#0072B2"},
        line={"color": "#0072B2", "width": 2},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [bound.high - item.accuracy for item, bound in zip(bins, bounds, strict=True)],
            "arrayminus": [
                item.accuracy - bound.low for item, bound in zip(bins, bounds, strict=True)
            ],
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[item.recordings for item in bins],
        hovertemplate="%{x:.0%} agree, %{y:.0%} right (%{customdata} recordings)<extra></extra>",
    )
    error = evaluation.scores["ece"]
    clear = bins[-1] if bins else None
    caption = (
        f"Where {clear.share:.0%} of the neighbours agree, the vote is right about "
        f"{clear.right:,} of {clear.recordings:,} recordings; calibration error {error}."
        if clear is not None
        else f"The calibration error is {error}."
    )
    return finish(
        figure,
        "Can the vote be believed?",
        caption,
        ["share that agrees", "recordings", "right", "accuracy", "low", "high"],
        [
            [item.share, item.recordings, item.right, item.accuracy, bound.low, bound.high]
            for item, bound in zip(bins, bounds, strict=True)
        ],
        xaxis={"title": "share of the neighbours that agree", "range": [0, 1.03]},
        yaxis={"title": "share that is right", "range": [0, 1.03]},
        height=380,
    )

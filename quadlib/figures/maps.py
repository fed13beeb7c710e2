"""The map of embeddings: one figure whose buttons colour it by class, by session or by error."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from quadlib.evaluation.record import Evaluation
from quadlib.figures.style import BROKEN, QUIET, class_marks, finish, label

NAME_TAG = {
    "font": {"color": "#1a1a1a"},
    "bgcolor": "rgba(255,255,255,0.8)",
    "borderpad": 1,
}  # reads on any colour, in either theme
MOST_NAMED = 24  # classes whose names are written on the map


def embedding_map(evaluation: Evaluation) -> go.Figure:
    """Gallery (small, pale) and evaluated recordings on one map; for the eye, never for a
    conclusion.
    """
    arrays, names = evaluation.arrays, evaluation.class_names
    place, labels, predictions = arrays["map"], arrays["labels"], arrays["predictions"]
    asked = arrays["split"] == evaluation.split
    hover = np.array(
        [
            f"{label(str(sample))}<br>{label(names[true])}, session {label(str(group))}"
            + ("" if true == taken else f"<br>predicted as {label(names[taken])}")
            for sample, group, true, taken in zip(
                arrays["sample_id"], arrays["group"], labels, predictions, strict=True
            )
        ]
    )
    figure, views = go.Figure(), []

    def add(view: str, rows: np.ndarray, **marker: object) -> None:
        figure.add_scatter(
            x=place[rows, 0],
            y=place[rows, 1],
            mode="markers",
            marker=marker,
            text=hover[rows],
            customdata=np.flatnonzero(rows),
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
            visible=view == "class",
        )
        views.append(view)

    marks = class_marks(names)
    for code, name in enumerate(names):
        for split, size, opacity in ((~asked, 4, 0.3), (asked, 8, 0.9)):
            if (split & (labels == code)).any():
                add(
                    "class",
                    split & (labels == code),
                    color=marks[name].colour,
                    symbol=marks[name].symbol,
                    size=size,
                    opacity=opacity,
                )
    sessions = np.unique(arrays["group"], return_inverse=True)[1]
    colours = np.array([mark.colour for mark in class_marks([str(i) for i in range(24)]).values()])[
        sessions % 24
    ]
    symbols = np.array([mark.symbol for mark in class_marks([str(i) for i in range(24)]).values()])[
        sessions % 24
    ]
    add(
        "session",
        np.ones(len(labels), dtype=bool),
        color=colours,
        symbol=symbols,
        size=np.where(asked, 8, 4),
        opacity=0.7,
    )
    wrong = labels != predictions
    add("error", asked & ~wrong, color=QUIET, symbol="circle", size=6, opacity=0.6)
    add("error", asked & wrong, color=BROKEN, symbol="x", size=9, opacity=1.0)

    written = (
        [
            {
                "x": float(np.median(place[labels == code, 0])),
                "y": float(np.median(place[labels == code, 1])),
                "text": f"<b>{label(name)}</b>",
                "showarrow": False,
                **NAME_TAG,
            }
            for code, name in enumerate(names)
            if (labels == code).any()
        ]
        if len(names) <= MOST_NAMED
        else []
    )
    buttons = [
        {
            "label": f"by {view}",
            "method": "update",
            "args": [
                {"visible": [own == view for own in views]},
                {"annotations": written if view == "class" else []},
            ],
        }
        for view in ("class", "session", "error")
    ]
    missed = int((asked & wrong).sum())
    caption = (
        f"{missed} of {int(asked.sum()):,} evaluated recordings are predicted as another class "
        f"({evaluation.map_method} of {len(labels):,} embeddings; distances on the map are not to "
        "scale)."
    )
    rows = [
        [name, int((labels[asked] == code).sum()), int((asked & wrong & (labels == code)).sum())]
        for code, name in enumerate(names)
    ]
    return finish(
        figure,
        "Map of embeddings",
        caption,
        ["class", "evaluated", "predicted as another class"],
        rows,
        annotations=written,
        height=560,
        margin_t=96,
        xaxis={"visible": False},
        yaxis={"visible": False, "scaleanchor": "x"},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "x": 0,
                "y": 1.02,
                "xanchor": "left",
                "yanchor": "bottom",
                "showactive": True,
                "buttons": buttons,
                "bgcolor": "rgba(128,128,128,0.15)",
                "bordercolor": QUIET,
            }
        ],
    )

"""The recordings of a table as figures: classes by split and session, and which modalities are
there.
"""

from __future__ import annotations

import plotly.graph_objects as go

from quadlib.data.samples import SPLITS, SampleTable
from quadlib.figures.style import SEQUENTIAL, finish, label, many, modality_marks


def split_table(table: SampleTable) -> go.Figure:
    """Recordings and sessions of each class in each split; an empty cell is a class that the split
    cannot teach or test.
    """
    frame, names = table.frame, list(table.class_names)
    splits = [split for split in SPLITS if (frame["split"] == split).any()] + (
        [""] if (frame["split"] == "").any() else []
    )
    grouped = frame.groupby(["label", "split"])
    counts = grouped.size().unstack(fill_value=0).reindex(index=names, columns=splits, fill_value=0)
    sessions = (
        grouped["group"]
        .nunique()
        .unstack(fill_value=0)
        .reindex(index=names, columns=splits, fill_value=0)
    )
    text = [
        [f"{count} / {held}" for count, held in zip(*row, strict=True)]
        for row in zip(counts.to_numpy(), sessions.to_numpy(), strict=True)
    ]
    labels = [split or "no split" for split in splits]
    figure = go.Figure(
        go.Heatmap(
            z=counts.to_numpy(),
            x=labels,
            y=[label(name) for name in names],
            text=text,
            texttemplate="%{text}",
            colorscale=SEQUENTIAL,
            zmin=0,
            xgap=2,
            ygap=2,
            showscale=False,
            hovertemplate="%{y}, %{x}: %{text} (recordings / sessions)<extra></extra>",
        )
    )
    empty = [
        f"{name} in {shown}"
        for name in names
        for split, shown in zip(splits, labels, strict=True)
        if counts.loc[name, split] == 0
    ]
    shared = int((frame[frame["split"] != ""].groupby("group")["split"].nunique() > 1).sum())
    caption = (
        f"{len(frame):,} recordings of {len(names)} classes from {frame['group'].nunique():,} "
        "sessions; "
        + (
            "every split has every class; "
            if not empty
            else f"missing: {', '.join(empty[:6])}"
            + (f" and {len(empty) - 6} more; " if len(empty) > 6 else "; ")
        )
        + (
            "no session is in more than one split."
            if not shared
            else f"{many(shared, 'session is', 'sessions are')} in more than one split, so scores "
            "will be too high."
        )
    )
    rows = [[name, *row] for name, row in zip(names, text, strict=True)]
    return finish(
        figure,
        "Recordings / sessions per class and split",
        caption,
        ["class", *labels],
        rows,
        xaxis={"side": "top", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        margin_b=16,
        height=130 + max(22 * len(names), 80),
        margin_t=84,
    )


def availability(table: SampleTable) -> go.Figure:
    """How many recordings have each modality."""
    names, present = list(table.modalities), table.present
    marks, have = modality_marks(names), present.sum(axis=0)
    figure = go.Figure(
        go.Bar(
            x=100 * have / len(table),
            y=[label(name) for name in names],
            orientation="h",
            marker_color=[marks[name].colour for name in names],
            width=0.55,
            cliponaxis=False,
            text=[f"{count:,} of {len(table):,}" for count in have],
            textposition="inside",
            insidetextanchor="end",
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    )
    complete = int(present.all(axis=1).sum())
    lacking = [
        f"{len(table) - count:,} lack {name}"
        for name, count in zip(names, have, strict=True)
        if count < len(table)
    ]
    caption = f"{complete:,} of {len(table):,} recordings have all {len(names)} modalities" + (
        f"; {', '.join(lacking)} (masked, never filled with zeros)." if lacking else "."
    )
    return finish(
        figure,
        "Available modalities",
        caption,
        ["modality", "present", "missing"],
        zip(names, have, len(table) - have, strict=True),
        xaxis={"title": "recordings with this modality (%)", "range": [0, 100]},
        yaxis={"type": "category", "autorange": "reversed", "showgrid": False},
        height=110 + 40 * len(names),
    )

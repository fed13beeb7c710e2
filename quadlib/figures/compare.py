"""Runs against each other as figures, a verdict, and a table for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from quadlib.evaluation.compare import Compared, Variant
from quadlib.evaluation.score import Score, points, short
from quadlib.figures.history import epoch_axis, split_history, without_refit
from quadlib.figures.style import QUIET, finish, label, number
from quadlib.figures.verdicts import Level, Verdict
from quadlib.files import write_text

ACCENT = "#0072B2"
# Okabe-Ito without the colours of the modalities' figures that stand for a verdict
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
TITLES = {"macro_f1": "macro-F1", "accuracy": "accuracy"}


def judge_compare(compared: Compared) -> Verdict:
    """Which run is better by how much, and which cannot be ranked."""
    ranked = [item for item in compared.differences if item.ranked]
    others = [item for item in compared.differences if not item.ranked]
    sentence = " ".join(f"{item}." for item in [*ranked, *others])
    numbers = tuple(
        (f"{TITLES[compared.measure]}, {variant.name}", str(variant.scores[compared.measure]))
        for variant in compared.variants
    )
    level: Level = "needs attention" if others else "fine"
    return Verdict(level, sentence, numbers, tuple(compared.notes))


def differences(compared: Compared) -> go.Figure:
    """The difference of every two with its interval, in points; grey where it spans 0."""
    known = [item for item in compared.differences if item.score.value is not None]
    names = [label(f"{item.second} minus {item.first}") for item in known]
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": QUIET, "width": 1.5})
    for name, item in zip(names, known, strict=True):
        value = 100 * (item.score.value or 0.0)
        low, high = (
            value if end is None else 100 * end for end in (item.score.low, item.score.high)
        )
        figure.add_scatter(
            x=[value],
            y=[name],
            mode="markers",
            showlegend=False,
            marker={
                "size": 12,
                "color": ACCENT if item.ranked else QUIET,
                "symbol": "diamond" if item.ranked else "circle",
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value],
                "arrayminus": [value - low],
                "thickness": 2,
                "width": 6,
            },
            hovertemplate=f"%{{y}}: {points(item.score)}<extra></extra>",
        )
    doubtful = len(compared.differences) - sum(item.ranked for item in known)
    caption = (
        f"{doubtful} of {len(compared.differences)} differences cannot be ranked: their intervals "
        "span 0, or are missing."
        if doubtful
        else "Every interval leaves out 0."
    )
    rows = [
        [
            item.first,
            item.second,
            item.score.value,
            item.score.low,
            item.score.high,
            item.recordings,
            item.sessions,
            item.seeds,
            item.score.reason,
        ]
        for item in compared.differences
    ]
    return finish(
        figure,
        f"Paired differences in {TITLES[compared.measure]}",
        caption,
        [
            "first",
            "second",
            "second minus first",
            "low",
            "high",
            "recordings",
            "sessions",
            "seeds",
            "reason if missing",
        ],
        rows,
        xaxis={"title": "points"},
        yaxis={"showgrid": False, "autorange": "reversed"},
        height=130 + 40 * max(len(known), 1),
    )


def curves(compared: Compared, column: str = "progress") -> go.Figure:
    """A figure of every epoch, by default the progress from collapse to floor, which may be
    compared across batches of different composition; one line a run or fold, one colour a variant.
    """
    title = {
        "progress": "Progress from collapse to floor (%)",
        "val_macro_f1": "Validation macro-F1",
    }[column]
    scale = 100 if column == "progress" else 1
    figure = go.Figure()
    rows: list[tuple[str, str, int, float]] = []
    records: list[Any] = []
    for place, variant in enumerate(compared.variants):
        for run in variant.models:
            history = without_refit(run.history())
            _, epochs = split_history(history)
            if column not in epochs:
                continue
            values = scale * pd.to_numeric(epochs[column])
            records += history
            rows += [
                (variant.name, run.name, int(epoch), float(value))
                for epoch, value in zip(epochs["epoch"], values, strict=True)
            ]
            figure.add_scatter(
                x=epochs["epoch"],
                y=values,
                mode="lines+markers",
                name=label(variant.name),
                legendgroup=variant.name,
                showlegend=run == variant.models[0],
                line={"color": COLOURS[place % len(COLOURS)], "width": 2},
                hovertemplate=f"{label(run.name)}, epoch %{{x}}: %{{y:.3g}}<extra></extra>",
            )
    ends = {name: value for name, _, _, value in rows}  # of each variant the last
    caption = (
        "At the end: " + ", ".join(f"{name} {number(value)}" for name, value in ends.items()) + "."
        if ends
        else "No run has recorded this."
    )
    return finish(
        figure,
        title,
        caption,
        ["variant", "run", "epoch", title],
        rows,
        xaxis=epoch_axis(records),
        yaxis={"title": title, "rangemode": "tozero"},
    )


def differing_settings(compared: Compared) -> pd.DataFrame:
    """The settings that are not the same in all variants, one column a variant."""
    return pd.DataFrame(
        {
            variant.name: [str(row[place]) for row in compared.differing.values()]
            for place, variant in enumerate(compared.variants)
        },
        index=pd.Index(list(compared.differing), name="setting"),
    )


def paper_table(compared: Compared, form: str = "markdown") -> str:
    """The scores for a paper, as Markdown or LaTeX (booktabs); bold is what is ranked above all
    others.
    """
    best = _above_all(compared)
    head = ["Model", "Seeds", "Recordings", *TITLES.values()]
    lines = [
        [
            variant.name,
            str(variant.seeds),
            f"{variant.predictions['sample_id'].nunique():,}",
            *(
                _cell(variant.scores[key], variant is best and key == compared.measure, form)
                for key in TITLES
            ),
        ]
        for variant in compared.variants
    ]
    if form == "markdown":
        rows = [head, ["---"] * len(head), *[[_plain(line[0], "|"), *line[1:]] for line in lines]]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    body = "\n".join(" & ".join([_tex(line[0]), *line[1:]]) + r" \\" for line in lines)
    return (
        "\\begin{tabular}{lrrll}\n\\toprule\n"
        + " & ".join(head)
        + " \\\\\n\\midrule\n"
        + body
        + "\n\\bottomrule\n\\end{tabular}\n"
    )


def write_paper(compared: Compared, folder: Path) -> str:
    """Writes scores.md and scores.tex into a folder; returns both as one text to paste from."""
    for name, form in (("scores.md", "markdown"), ("scores.tex", "latex")):
        write_text(folder / name, paper_table(compared, form))
    return f"{paper_table(compared)}\n{paper_table(compared, 'latex')}"


def _above_all(compared: Compared) -> Variant | None:
    """The variant that is ranked above every other, if there is one."""
    first = compared.variants[0]
    own = [item for item in compared.differences if first.name in (item.first, item.second)]
    return first if all(item.ranked for item in own) else None


def _cell(score: Score, bold: bool, form: str) -> str:
    if score.value is None:
        return "n/a"
    value = short(score.value, 3)
    shown = (f"\\textbf{{{value}}}" if form == "latex" else f"**{value}**") if bold else value
    if score.low is None or score.high is None:
        return shown
    return f"{shown} [{short(score.low, 3)}, {short(score.high, 3)}]"


def _tex(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "&%$#_{}" else sign for sign in text)


def _plain(text: str, sign: str) -> str:
    return text.replace(sign, f"\\{sign}")

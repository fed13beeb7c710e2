"""A cross-validation as figures: every fold, and what stands beside all of them."""

from __future__ import annotations

import plotly.graph_objects as go

from quadlib.evaluation.crossval import CrossValidation, Rival
from quadlib.evaluation.score import Score, points, short
from quadlib.figures.signs import weak_classes
from quadlib.figures.style import QUIET, finish, label, many
from quadlib.figures.verdicts import Verdict

ACCENT = "#0072B2"
FAR_APART = 0.1  # of macro-F1, between the lowest and the highest fold


def fold_scores(validation: CrossValidation) -> go.Figure:
    """Macro-F1 of every fold with its interval over sessions, above the band of the interval over
    sessions, folds and seeds.
    """
    folds = [item for item in validation.by_fold if item.macro_f1.defined]
    names = [f"seed {item.seed}, fold {item.fold}" for item in folds]
    figure = go.Figure()
    whole = validation.scores["macro_f1"]
    if whole.low is not None and whole.high is not None:
        figure.add_vrect(
            x0=whole.low, x1=whole.high, fillcolor=ACCENT, opacity=0.14, line_width=0, layer="below"
        )
    figure.add_vline(x=whole.value, line={"color": ACCENT, "width": 1.5, "dash": "dot"})
    _dots(figure, names, [item.macro_f1 for item in folds], [QUIET] * len(folds))
    spread = validation.spread
    caption = (
        f"Folds reach {short(spread[0], 3)} to {short(spread[1], 3)}; all predictions together "
        f"{whole} (line and band, over sessions, folds and seeds)."
        if spread
        else "No fold could be scored."
    )
    rows = [
        [
            item.seed,
            item.fold,
            item.n_queries,
            item.macro_f1.value,
            item.macro_f1.low,
            item.macro_f1.high,
            item.accuracy.value,
            item.run,
        ]
        for item in validation.by_fold
    ]
    return finish(
        figure,
        "Macro-F1 of every fold",
        caption,
        ["seed", "fold", "recordings", "macro-F1", "low", "high", "accuracy", "run"],
        rows,
        xaxis={"title": "macro-F1", "range": _range([item.macro_f1 for item in folds])},
        yaxis={"autorange": "reversed", "showgrid": False},
        margin_r=130,
        height=130 + 30 * max(len(folds), 1),
    )


def rival_scores(validation: CrossValidation) -> go.Figure:
    """The model and every rival on the same folds, each with its interval over sessions, folds and
    seeds; the table holds by how much the model is ahead.
    """
    scores = [validation.scores["macro_f1"], *(item.macro_f1 for item in validation.rivals)]
    names = ["all modalities", *(item.name for item in validation.rivals)]
    figure = go.Figure()
    _dots(figure, [label(name) for name in names], scores, [ACCENT, *[QUIET] * (len(names) - 1)])
    rival = validation.best_rival
    caption = (
        f"The nearest rival is {rival.name} with {rival.macro_f1}; the model is "
        f"{_ahead(rival)} on the same recordings."
        if rival is not None
        else "Nothing stands beside the model: no modality alone, no confound, no duration."
    )
    rows = [["all modalities", scores[0].value, scores[0].low, scores[0].high, "", "", ""]] + [
        [
            item.name,
            item.macro_f1.value,
            item.macro_f1.low,
            item.macro_f1.high,
            item.ahead.value,
            item.ahead.low,
            item.ahead.high,
        ]
        for item in validation.rivals
    ]
    return finish(
        figure,
        "Macro-F1 beside its rivals, on the same folds",
        caption,
        ["model", "macro-F1", "low", "high", "all modalities ahead by", "low", "high"],
        rows,
        xaxis={"title": "macro-F1", "range": [0, 1.02]},
        yaxis={"autorange": "reversed", "showgrid": False},
        margin_r=130,
        height=130 + 34 * len(names),
    )


def judge_crossval(validation: CrossValidation) -> Verdict:
    """How good the model is over all folds and seeds, how far these lie apart, and what stands
    beside it.
    """
    reached, spread = validation.scores["macro_f1"], validation.spread
    over = f"{many(validation.folds, 'fold')} and {many(len(validation.seeds), 'seed')}"
    if reached.value is None or spread is None:
        return Verdict("broken", "No fold could be scored.", notes=tuple(validation.notes))
    nearest = validation.best_rival
    first = [nearest] if nearest else []
    others = [item for item in validation.rivals if item is not nearest]
    numbers = [
        (f"macro-F1, over {over}", str(reached)),
        ("lowest and highest fold", f"{short(spread[0], 3)}, {short(spread[1], 3)}"),
        *((f"nearest rival, {item.name}", str(item.macro_f1)) for item in first),
        ("accuracy", str(validation.scores["accuracy"])),
        *(
            (f"{area}, {validation.normal_class} vs all others", str(validation.scores[key]))
            for area, key in (("AUROC", "auroc"), ("AUPRC", "auprc"))
            if validation.normal_class
        ),
        *((item.name, str(item.macro_f1)) for item in others),
    ]
    sessions = (
        f" from {many(validation.n_sessions, 'session')}"
        if validation.n_sessions < validation.n_recordings
        else ""
    )
    sentence = (
        f"{validation.headline()}, over {over}, on "
        f"{many(validation.n_recordings, 'recording')}{sessions} of {validation.source}, each "
        "tested by models that it did not train."
    )
    return Verdict("fine", sentence, tuple(numbers), tuple(validation.notes)).warned(
        *_signs(validation, spread)
    )


def _signs(validation: CrossValidation, spread: tuple[float, float]) -> list[str]:
    """Rivals that are not behind for sure, folds that lie far apart, and weak classes."""
    near = [item for item in validation.rivals if (item.ahead.low or 0.0) <= 0]
    beaten = [item for item in near if (item.ahead.value or 0.0) <= 0]
    signs = []
    for word, items in (
        ("No better than", beaten),
        ("Not clearly better than", [item for item in near if item not in beaten]),
    ):
        if items:
            named = ", ".join(f"{item.name} ({_ahead(item)})" for item in items)
            signs.append(f"{word} {named}.")
    if spread[1] - spread[0] > FAR_APART:
        signs.append(
            f"The folds lie {short(spread[1] - spread[0])} apart, so a single one says little."
        )
    return [*signs, *weak_classes(validation.per_class)]


def _ahead(rival: Rival) -> str:
    """`ahead by 1.2 points [0.4, 2.0]`, or behind."""
    value = rival.ahead.value or 0.0
    return f"ahead by {points(rival.ahead)}" if value >= 0 else f"behind by {points(-rival.ahead)}"


def _dots(figure: go.Figure, names: list[str], scores: list[Score], colours: list[str]) -> None:
    """One row a score: dot, interval, and the text beside it."""
    shown = [(n, s, c) for n, s, c in zip(names, scores, colours, strict=True) if s.defined]
    for name, score, colour in shown:
        value = score.value or 0.0
        low, high = (value if end is None else end for end in (score.low, score.high))
        figure.add_scatter(
            x=[value],
            y=[name],
            mode="markers",
            showlegend=False,
            marker={"size": 11, "color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value],
                "arrayminus": [value - low],
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=f"%{{y}}: {score}<extra></extra>",
        )
        figure.add_annotation(
            x=1.02,
            xref="paper",
            y=name,
            text=str(score),
            showarrow=False,
            xanchor="left",
            font_size=13,
        )


def _range(scores: list[Score]) -> list[float]:
    """From a little below the lowest end to 1."""
    ends = [end for score in scores for end in (score.low, score.value) if end is not None]
    return [max(0.0, min(ends, default=0.0) - 0.05), 1.01]

"""outputs/index.html: every run at a glance, newest first, linked to its reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from quadlib.config import DataSettings, RunSettings, TrainSettings
from quadlib.files import FileError, outputs_folder, read_record, write_text
from quadlib.reports.headline import ENDINGS
from quadlib.reports.render import environment, shell
from quadlib.runs import Run, damaged_runs, list_runs
from quadlib.runs.commands import compare_command, demo_command

# Whose verdict stands for the whole run: how good it is, else how it trained, else what was found.
SPOKESMEN = ("06", "05", "04", "02", "03", "01")
PLACES = {*RunSettings.model_fields} - {"seed"}
UNCOMPARED = PLACES | {"path"}
_DEFAULTS = {name: field.default for name, field in TrainSettings.model_fields.items()}
WIDTH, HEIGHT, MARGIN = 200, 74, 12


@dataclass(frozen=True)
class Card:
    """One run as the gallery shows it; `changed` is what differs from the run before it on the same
    source, as (setting, before, now). `compared` is what the page lays beside that of other runs:
    score, progress by epoch, settings that are not defaults; empty where there is neither score nor
    progress.
    """

    name: str
    tone: str
    status: str
    source: str
    verdict: str
    score: str
    created: str
    curve: Markup
    previous: str
    changed: tuple[tuple[str, str, str], ...]
    reports: tuple[tuple[str, str, str], ...]
    compared: Mapping[str, Any] = field(default_factory=dict)


def write_gallery(outputs: str | Path = "") -> Path:
    """Writes index.html into the outputs folder, one card a run, and returns its path; a damaged
    run is a card that names its file and the cause.

    Args:
        outputs: Outputs folder; empty takes the project's own.

    Returns:
        The page's path; it opens from the file system.

    Example:
        >>> write_gallery("outputs").name
        'index.html'
    """
    folder, runs = outputs_folder(str(outputs)), list_runs(str(outputs))
    cards = [
        _card_or_damage(run, _before(run, runs[position + 1 :]))
        for position, run in enumerate(runs)
    ]
    cards += [_damaged(item.run, item.cause) for item in damaged_runs(str(outputs))]
    page = (
        environment()
        .get_template("gallery.html.j2")
        .render(
            **shell(engine=False, script="gallery.js"),
            page_title="quadlib runs",
            cards=cards,
            demo=demo_command(folder),
            compare=compare_command(folder),
            compared=_inert(
                {
                    "runs": {card.name: card.compared for card in cards if card.compared},
                    "defaults": {name: _text(value) for name, value in _DEFAULTS.items()},
                }
            ),
        )
    )
    path = folder / "index.html"
    write_text(path, page)
    return path


def scored(run: Run) -> str:
    """The headline of a run's cross-validation or evaluation, "" before either; raises FileError
    for a damaged file.
    """
    return str(_evaluation(run).get("headline", ""))


def _evaluation(run: Run) -> dict[str, Any]:
    for kind in ("crossval", "evaluation"):
        if (path := run.path(f"{kind}.json")).exists():
            return dict(read_record(path, kind))
    return {}


def _compared(run: Run, evaluation: Mapping[str, Any], history: Sequence[Mapping]) -> dict:
    """What the page lays beside that of other runs."""
    progress = [
        [record["epoch"], round(record["progress"], 4)]
        for record in history
        if record.get("kind") == "epoch" and record.get("progress") is not None
    ]
    headline = str(evaluation.get("headline", ""))
    if not headline and len(progress) < 2:
        return {}
    score = evaluation.get("scores", {}).get("macro_f1", {})
    settings = {
        name: _text(value)
        for name, value in run.record["settings"].items()
        if name not in PLACES and value != _DEFAULTS.get(name)
    }
    value = {"score": score.get("value"), "words": headline.partition(" | ")[0]}
    return {**value, "progress": progress, "settings": settings}


def _inert(value: Any) -> Markup:
    """JSON that no HTML parser can mistake for the end of its script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def loss_curve(history: Sequence[Mapping[str, Any]]) -> Markup:
    """The fused loss by epoch between its floor and the collapse plateau, as a small inline SVG;
    empty before two epochs. Where both bounds are one value, no loss can fall, and the curve is
    drawn above 0.
    """
    epochs = [
        record
        for record in history
        if record.get("kind") == "epoch" and record.get("fused") is not None
    ]
    if len(epochs) < 2:
        return Markup("")
    lines = {key: [record.get(key) for record in epochs] for key in ("collapse", "floor", "fused")}
    known = [value for values in lines.values() for value in values if value is not None]
    bounded = "floor" in epochs[0]
    pinned = bounded and lines["collapse"] == lines["floor"]
    low, high = 0.0 if pinned else min(known), max(known)
    across = WIDTH / (len(epochs) - 1)
    up = (HEIGHT - 2 * MARGIN) / max(high - low, 1e-9)
    drawn = []
    for key, values in lines.items():
        points = " ".join(
            f"{index * across:.1f},{HEIGHT - MARGIN - (value - low) * up:.1f}"
            for index, value in enumerate(values)
            if value is not None
        )
        drawn.append(f'<polyline class="spark {key}" points="{points}"/>')
    words = (
        f"Loss by epoch: {epochs[0]['fused']:.2f} to {epochs[-1]['fused']:.2f} in {len(epochs)} "
        "epochs"
    )
    texts = ""
    if pinned:
        words += ", pinned where floor and collapse plateau are one value"
        texts = f'<text x="0" y="{MARGIN - 4}">floor = collapse</text>'
    elif bounded:
        words += ", between floor and collapse plateau"
        texts = (
            f'<text x="0" y="{MARGIN - 4}">collapse</text><text x="0" y="{HEIGHT - 1}">floor</text>'
        )
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(words)}">{"".join(drawn)}{texts}</svg>'
    )


def _card_or_damage(run: Run, before: Run | None) -> Card:
    try:
        return _card(run, before)
    except FileError as error:
        return _damaged(run, str(error))


def _damaged(run: Run, cause: str) -> Card:
    """The card of a run of which a file is damaged."""
    return Card(
        name=run.name,
        tone="broken",
        status="✕ Damaged",
        source="",
        verdict=cause,
        score="",
        created="",
        curve=Markup(""),
        previous="",
        changed=(),
        reports=_reports(run, {}),
    )


def _card(run: Run, before: Run | None) -> Card:
    record = run.record
    notebooks = record.get("notebooks", {})
    headlines = {
        name: entry["headline"] for name, entry in notebooks.items() if "headline" in entry
    }
    tone, sign, word = ENDINGS[record["status"]]
    spoken = next(
        (
            headlines[name]
            for start in SPOKESMEN
            for name in sorted(headlines)
            if name.startswith(start)
        ),
        None,
    )
    if record["status"] == "done" and spoken is not None:
        tone, sign = spoken["tone"], spoken["sign"]
        word += "" if tone == "fine" else f": {spoken['word'].lower()}"
    error, evaluation, history = record["error"] or {}, _evaluation(run), run.history()
    verdict = (
        spoken["sentence"]
        if spoken and not error
        else f"{error.get('type', '')}: {error.get('message', '')}"
        if error
        else ""
    )
    return Card(
        name=run.name,
        tone=tone,
        status=f"{sign} {word}",
        source=record["source"] or record["settings"].get("source", ""),
        verdict=verdict,
        score=str(evaluation.get("headline", "")),
        created=record["created"][:16].replace("T", " ") + " UTC",
        curve=loss_curve(history),
        previous=before.name if before else "",
        changed=_changed(before.record["settings"] if before else {}, record["settings"]),
        reports=_reports(run, headlines),
        compared=_compared(run, evaluation, history),
    )


def _reports(run: Run, headlines: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Name, address and sign of each report of a run."""
    return tuple(
        (
            path.stem.replace("_", " "),
            f"{run.name}/reports/{path.name}",
            "✕" if path.stem.endswith("-failed") else headlines.get(path.stem, {}).get("sign", ""),
        )
        for path in sorted(run.path("reports").glob("*.html"))
    )


def _before(run: Run, older: Sequence[Run]) -> Run | None:
    """The run to compare with: the newest older one on the same source, else the newest older
    one.
    """
    source = run.record["source"]
    return next(
        (other for other in older if other.record["source"] == source), older[0] if older else None
    )


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """The settings that both runs recorded with different values."""
    shared = [
        name
        for name in now
        if name in before and name not in UNCOMPARED and before[name] != now[name]
    ]
    order = {name: position for position, name in enumerate(DataSettings.model_fields)}
    return tuple(
        (name, _text(before[name]), _text(now[name]))
        for name in sorted(shared, key=lambda name: order.get(name, 99))
    )


def _text(value: Any) -> str:
    return value or "(empty)" if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""The loss so far as a small SVG: drawn anew every few seconds, and seen wherever a notebook is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from quadlib.figures.history import Record
from quadlib.figures.style import number

WIDTH, HEIGHT, LEFT, RIGHT, TOP, FOOT = 680, 240, 60, 60, 14, 30
MOST_POINTS = 400
LINES = {  # key: colour, dashes, width, words
    "collapse": ("#D55E00", "6 4", 1.5, "collapse"),
    "floor": ("#009E73", "", 1.5, "floor"),
    "fused": ("#0072B2", "", 2, "loss"),
}


def loss_svg(history: Sequence[Record]) -> str:
    """The fused loss by step between the floor of its batches and the collapse plateau; of a loss
    without bounds, the loss alone.
    """
    steps = [record for record in history if record["kind"] == "step"]
    known = {key: [record.get(key) for record in steps] for key in LINES}
    lines = {
        key: np.array(values, dtype=float)
        for key, values in known.items()
        if values and values[-1] is not None
    } or {"fused": np.array([record["loss"] for record in steps], dtype=float)}
    if not steps:
        return "<p>No step was recorded yet.</p>"
    at = np.array([record["step"] for record in steps], dtype=float)
    everything = np.concatenate(list(lines.values()))
    low, high = np.nanmin(everything), np.nanmax(everything)
    x = LEFT + (WIDTH - LEFT - RIGHT) * (at - at[0]) / max(float(np.ptp(at)), 1.0)
    up = (HEIGHT - TOP - FOOT) / max(high - low, 1e-9)
    chosen = np.unique(np.linspace(0, len(at) - 1, MOST_POINTS).round().astype(int))
    drawn = []
    for key, values in lines.items():
        colour, dashes, width, words = LINES[key]
        y = HEIGHT - FOOT - (values - low) * up
        points = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in chosen if np.isfinite(y[i]))
        drawn.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-dasharray="{dashes}"/><text x="{x[-1] + 4:.0f}" y="{y[-1] + 4:.0f}">{words}'
            "</text>"
        )
    ends = f"steps {steps[0]['step']} to {steps[-1]['step']}, epoch {steps[-1]['epoch']}"
    words = f"Loss of {ends}: {number(lines['fused'][0])} to {number(lines['fused'][-1])}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" style="max-width:{WIDTH}px;width:100%" role="img" '
        f'aria-label="{escape(words)}"><g font-family="system-ui, sans-serif" font-size="12" '
        f'fill="currentColor">{"".join(drawn)}<text x="0" y="{TOP + 4}">{number(high)}</text>'
        f'<text x="0" y="{HEIGHT - FOOT + 4}">{number(low)}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">{ends}</text></g></svg>'
    )

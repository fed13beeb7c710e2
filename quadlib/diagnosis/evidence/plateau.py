"""A loss that stays on one value, and which constant of the declared sizes that is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quadlib.diagnosis import conventions
from quadlib.diagnosis.evidence.reference import declared_temperatures
from quadlib.diagnosis.subject import Unavailable
from quadlib.loss import bounds

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


@dataclass(frozen=True)
class Pinned:
    """A loss that ended on a constant: its value, how many of the last values show it, from which
    record on, and what it is.

    size: the samples whose collapse plateau it is. how: "batch", "micro-batch" or "share of a
    process". text: the sentence. start: index of the first of the values that stay.
    """

    value: float
    count: int
    start: int
    size: int
    how: str
    text: str


@dataclass(frozen=True)
class Declared:
    """The sizes and scales that a subject declares; a value is decoded with these alone."""

    batch_size: int | None
    views: int
    temperature: float | None
    base_temperature: float | None
    world_size: int
    micro_batch: int | None
    accumulation: int

    def decode(self, value: float) -> tuple[int, str, str] | None:
        """Size, how and sentence of the plateau that a value is, or None."""
        if not self.batch_size:
            return None
        tries: list[tuple[int, str, dict[str, Any]]] = [(self.batch_size, "batch", {})]
        if self.world_size > 1:
            tries.append(
                (
                    self.batch_size // self.world_size,
                    "share of a process",
                    {"world_size": self.world_size},
                )
            )
        if self.micro_batch:
            tries.append((self.micro_batch, "micro-batch", {"micro_batch": self.micro_batch}))
        for size, how, more in tries:
            text = bounds.explain_value(
                value, self.batch_size, self.views, self.temperature, self.base_temperature, **more
            )
            if text is not None:
                return size, how, text
        return None


def declared(x: Examination) -> Declared:
    """The declared sizes; the batch size is counted in a batch where no setting has it."""
    s = x.subject
    size = _whole(s.setting(*conventions.BATCH_SIZE))
    if size is None and (s.batch_sampler is not None or s.loader is not None):
        size = _whole(getattr(x.batch_sampler, "batch_size", None)) or (
            len(x.drawn[0]) if x.drawn else None
        )
    accumulation = _whole(s.setting(*conventions.ACCUMULATION)) or 1
    micro = _whole(s.setting(*conventions.MICRO_BATCH))
    if micro is None and accumulation > 1 and size and size % accumulation == 0:
        micro = size // accumulation
    base = s.setting("base_temperature")
    base = getattr(s.loss, "base_temperature", None) if base is None else base
    return Declared(
        size,
        _whole(s.setting(*conventions.VIEWS)) or _views_seen(x),
        next(declared_temperatures(s), None),
        float(base) if isinstance(base, (int, float)) else None,
        _whole(s.setting(*conventions.WORLD_SIZE)) or 1,
        micro,
        accumulation,
    )


def _views_seen(x: Examination) -> int:
    """Embeddings of each sample in the first batch; 1 where none can be made."""
    if x.subject.loader is None or x.subject.model is None:
        return 1
    try:
        return max(len(x.embedded_labels) // max(len(x.batch_labels), 1), 1)
    except Unavailable:
        return 1


def pinned(x: Examination) -> Pinned | None:
    """The constant on which the history ended, where it is a collapse plateau; None where it moves
    or is none. Raises Unavailable.
    """
    values, limits = x.losses, x.limits
    last = values[-limits.plateau_window :]
    if len(last) < limits.plateau_values or not np.isfinite(last).any():
        return None
    centre = float(np.median(last[np.isfinite(last)]))
    plateau = _recorded_plateau(x, len(values))
    decoded = _decoded(x, centre) if plateau is None else _named(x, centre, plateau)
    if decoded is None:
        return None
    level = centre if plateau is None else plateau
    on_it = np.abs(values - level) <= limits.plateau_width * np.maximum(1.0, np.abs(level))
    fewest = max(limits.plateau_values, math.ceil(limits.plateau_share * len(last)))
    if on_it[-limits.plateau_window :].sum() < fewest:
        return None
    start = next(
        i for i in range(len(on_it)) if on_it[i] and on_it[i:].mean() >= limits.plateau_share
    )
    return Pinned(centre, int(on_it[start:].sum()), start, *decoded)


def _decoded(x: Examination, value: float) -> tuple[int, str, str] | None:
    """Size, how and sentence of the plateau that a value is by the declared sizes; None for none,
    and for a part of a batch whose plateau is also a healthy end.
    """
    sizes = declared(x)
    plateau = sizes.decode(value)
    if plateau is not None and plateau[1] != "batch" and _healthy_end(x, sizes, value):
        return None
    return plateau


def _named(x: Examination, value: float, plateau: np.ndarray) -> tuple[int, str, str]:
    """The same where the history records the plateau of every batch, whatever its size."""
    anchors = round(math.exp(float(np.median(plateau[-x.limits.plateau_window :])))) + 1
    return declared(x).decode(value) or (
        anchors,
        "batch",
        f"{value:.4f} is the collapse plateau ln({anchors - 1}) of its batch of {anchors}: "
        "all similarities are equal, whatever the labels; the gradient there is 0",
    )


def classes_in_batches(x: Examination) -> int | None:
    """The most distinct labels that a training batch is known to hold: by the history, the sampler,
    or one batch; None where unknown.
    """
    looks: tuple[Callable[[], int], ...] = (
        lambda: max(int(item["classes"]) for item in x.history if "classes" in item),
        lambda: int((x.batch_counts > 0).sum(axis=1).max()),
        lambda: len(np.unique(x.batch_labels)),
    )
    for look in looks:
        try:
            return look()
        except (Unavailable, ValueError, IndexError):  # this source does not know; the next one may
            continue
    return None


def _recorded_plateau(x: Examination, count: int) -> np.ndarray | None:
    steps = [item for item in x.history if item.get("kind", "step") == "step"] or x.history
    values = [item.get("collapse") for item in steps]
    return (
        np.array(values, dtype=float)
        if len(values) == count and all(isinstance(v, (int, float)) for v in values)
        else None
    )


def _healthy_end(x: Examination, sizes: Declared, value: float) -> bool:
    """Whether the value is also ln(n - 1), where runs with n of each class in a batch end in
    health.
    """
    try:
        classes = len(np.unique(x.train_labels))
    except Unavailable:
        return False
    each = (sizes.batch_size or 0) * sizes.views / max(classes, 1)
    return classes > 1 and any(
        n > 2 and abs(value - math.log(n - 1)) < x.limits.healthy_end
        for n in (math.floor(each), math.ceil(each))
    )


def _whole(value: Any) -> int | None:
    return (
        int(value)
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value > 0
        else None
    )

"""Contract of what belongs to the weights: class names and normalisation are those of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.checkpoint.contracts import C04
from quadlib.diagnosis.checks.checkpoint.weights import where_is
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(C04, "the checkpoint's classes and normalisation are those of the data", "epoch")
def labels_and_normaliser(x: Examination) -> Iterator[Finding]:
    content = x.checkpoint
    kept = _class_names(content)
    names = getattr(x.subject.table, "class_names", None)
    normaliser = getattr(getattr(x.subject.loader, "dataset", None), "normaliser", None)
    if (kept is None or names is None) and not (
        "normaliser" in content and hasattr(normaliser, "state_dict")
    ):
        raise Unavailable(
            "the checkpoint names no classes" if kept is None else "the table names no classes"
        )
    if kept is not None and names is not None and kept != [str(name) for name in names]:
        same = set(kept) == set(map(str, names))
        moved = [
            name
            for position, name in enumerate(kept)
            if position >= len(names) or str(names[position]) != name
        ]
        what = "in another order" if same else "of other data"
        yield C04.broken(
            "error",
            f"the checkpoint has the classes {what}: {len(moved)} of {len(kept)} indices mean "
            "another one in the table",
            where=where_is(x),
            evidence=(
                f"checkpoint: {', '.join(kept[:8])}",
                f"table: {', '.join(map(str, list(names)[:8]))}",
            ),
            ruled_out=("the weights: only the meaning of the indices differs",),
            help="take class_names from the checkpoint when labels become indices   [changes the "
            "score]",
        )
    if "normaliser" in content and normaliser is not None and hasattr(normaliser, "state_dict"):
        differing = _differing(
            content["normaliser"], normaliser.state_dict(), x.limits.same_statistics
        )
        if differing:
            yield C04.broken(
                "error",
                "the data are normalised with other statistics than the checkpoint's: "
                f"{differing[0]}",
                where=where_is(x),
                evidence=(
                    f"{len(differing)} values differ by more than 1e-4 of their size: "
                    f"{', '.join(differing[:4])}",
                ),
                help="Normaliser.from_state_dict(checkpoint['normaliser'])   [changes the inputs]",
            )


def _class_names(content: Mapping[str, Any]) -> list[str] | None:
    for key in conventions.CLASS_KEYS:
        value = content.get(key)
        if isinstance(value, Mapping):
            return [str(name) for name, _ in sorted(value.items(), key=lambda item: item[1])]
        if isinstance(value, (list, tuple)):
            return [str(name) for name in value]
    return None


def _differing(one: Any, other: Any, room: float, path: str = "") -> list[str]:
    """Paths of numbers that differ in two nested structures."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        found = [f"{path}{key} is in one of them" for key in one.keys() ^ other.keys()]
        return found + [
            text
            for key in one.keys() & other.keys()
            for text in _differing(one[key], other[key], room, f"{path}{key} ")
        ]
    if isinstance(one, (Tensor, np.ndarray, float, int, list, tuple)) and not isinstance(one, bool):
        try:
            a, b = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
        except (TypeError, ValueError):
            return []
        return (
            [path.strip()]
            if a.shape != b.shape
            or not np.allclose(a, b, rtol=room, atol=room / 100, equal_nan=True)
            else []
        )
    return []

"""Which rows a scikit-learn estimator is fitted on, and which of them it is asked about again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import wraps
from types import FunctionType
from typing import Any

import numpy as np

from quadlib.diagnosis.observe.patches import Looking, Patches, Watching

MOST_PROBES = 64
MOST_ROWS = 20_000
ASKING = ("predict", "predict_proba", "decision_function")


@dataclass
class Probe:
    """An estimator. fitted: of how many rows; asked: of each later question (rows, share of them
    that it was fitted on).
    """

    estimator: Any
    fitted: int = 0
    asked: list[tuple[int, float]] = field(default_factory=list)
    rows: set[bytes] = field(default_factory=set, repr=False)


class ProbeWatch(Patches):
    """Fills a list of probes from `install` to `remove`; without scikit-learn, does nothing."""

    def __init__(self, probes: list[Probe], watching: Watching, looking: Looking) -> None:
        super().__init__()
        self.probes, self.watching, self.looking = probes, watching, looking

    def install(self) -> None:
        base = sys.modules.get("sklearn.base")
        for owner in _classes(base.ClassifierMixin) if base is not None else ():
            if isinstance(vars(owner).get("fit"), FunctionType):
                self._replace(owner, "fit", self._fit)
            for name in ASKING:
                if isinstance(vars(owner).get(name), FunctionType):
                    self._replace(owner, name, self._ask)

    def _fit(self, old: Any) -> Any:
        @wraps(old)
        def fit(estimator: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
            if self.watching() and len(self.probes) < MOST_PROBES:
                with self.looking():
                    rows = _rows(X)
                    if rows is not None:
                        self.probes.append(Probe(estimator, len(rows), rows=set(rows)))
            return old(estimator, X, *args, **kwargs)

        return fit

    def _ask(self, old: Any) -> Any:
        @wraps(old)
        def ask(estimator: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
            probe = next((p for p in self.probes[::-1] if p.estimator is estimator), None)
            if probe is not None and self.watching():
                with self.looking():
                    if rows := _rows(X):
                        known = sum(row in probe.rows for row in rows)
                        probe.asked.append((len(rows), known / len(rows)))
            return old(estimator, X, *args, **kwargs)

        return ask


def _rows(table: Any) -> list[bytes] | None:
    """The rows of a table of numbers, each as bytes; None of anything else."""
    values = np.asarray(table)
    if values.ndim != 2 or values.dtype.kind not in "fiu" or not 0 < len(values) <= MOST_ROWS:
        return None
    return [row.tobytes() for row in np.ascontiguousarray(values, dtype=np.float32)]


def _classes(base: type[Any]) -> Iterator[type[Any]]:
    kind: type[Any]
    for kind in base.__subclasses__():
        yield kind
        yield from _classes(kind)

"""How an observed loop numbers the names of its classes, and whether it does so more than once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from quadlib.diagnosis.observe.frames import is_library
from quadlib.diagnosis.observe.patches import Looking, Patches, Watching

MOST_ENCODINGS = 64
MOST_NAMES = 10_000


@dataclass(frozen=True)
class Encoding:
    """Names were numbered. how: by which call; rows: of how many samples; numbers: of each name."""

    how: str
    rows: int
    numbers: dict[str, int]


class EncodingWatch(Patches):
    """Fills a list from `install` to `remove`, by LabelEncoder and pandas' factorize."""

    def __init__(self, found: list[Encoding], watching: Watching, looking: Looking) -> None:
        super().__init__()
        self.found, self.watching, self.looking = found, watching, looking

    def install(self) -> None:
        import pandas as pd
        from sklearn.preprocessing import LabelEncoder  # slow to import, and needed here alone

        for name in ("fit", "fit_transform"):
            self._replace(LabelEncoder, name, self._fit)
        for owner in (pd, pd.Series):
            self._replace(owner, "factorize", self._factorize)

    def _fit(self, old: Any) -> Any:
        return self._noting(
            old, "LabelEncoder.fit", lambda encoder, values, result: list(encoder.classes_)
        )

    def _factorize(self, old: Any) -> Any:
        return self._noting(old, "factorize", lambda values, *rest: list(rest[-1][1]))

    def _noting(self, old: Any, how: str, names_of: Callable[..., list[Any]]) -> Any:
        @wraps(old)
        def numbered(*args: Any, **kwargs: Any) -> Any:
            result = old(*args, **kwargs)
            caller = sys._getframe(1)
            wanted = self.watching() and not is_library(caller)
            if wanted and args and not kwargs and len(self.found) < MOST_ENCODINGS:
                with self.looking():
                    names = names_of(*args, result)
                    if len(names) <= MOST_NAMES and all(isinstance(n, str) for n in names):
                        numbers = {str(name): k for k, name in enumerate(names)}
                        self.found.append(Encoding(how, len(args[-1]), numbers))
            return result

        return numbered

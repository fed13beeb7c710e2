"""Score: a figure with its interval, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A finite figure, its interval where one was computed, or None with the reason; 0 never stands
    for "undefined".

    With a value, `reason` may say why the interval is missing. Raises ValueError for a value that
    is not finite and for a missing value without a reason.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(
                    f"{name} of a score is {number}; give None and a reason where it is undefined"
                )
        if self.value is None and not self.reason:
            raise ValueError("a score without a value needs a reason")

    @classmethod
    def undefined(cls, reason: str) -> Score:
        return cls(None, reason=reason)

    @property
    def defined(self) -> bool:
        return self.value is not None

    def __str__(self) -> str:
        """`.862 [.81, .90]`, `.862` or `undefined: why`."""
        if self.value is None:
            return f"undefined: {self.reason}"
        if self.low is None or self.high is None:
            return short(self.value, 3)
        return f"{short(self.value, 3)} [{short(self.low)}, {short(self.high)}]"


def short(value: float, digits: int = 2) -> str:
    """A share in the reports' manner: `.862`, `-.05`, `1.00`."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text

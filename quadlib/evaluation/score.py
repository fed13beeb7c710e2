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

    def __neg__(self) -> Score:
        """The other way round, for a difference."""
        value, low, high = (
            None if end is None else -end for end in (self.value, self.high, self.low)
        )
        return Score(value, low, high, self.reason)

    def __str__(self) -> str:
        """`.862 [.81, .90]`, `.862` or `undefined: why`."""
        if self.value is None:
            return f"undefined: {self.reason}"
        if self.low is None or self.high is None:
            return short(self.value, 3)
        return f"{short(self.value, 3)} [{short(self.low)}, {short(self.high)}]"


def points(difference: Score) -> str:
    """A difference of shares in points: `2.1 points [0.6, 3.4]`."""
    if difference.value is None:
        return str(difference)
    text = f"{100 * difference.value:.1f} points"
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{100 * difference.low:.1f}, {100 * difference.high:.1f}]"


def short(value: float, digits: int = 2) -> str:
    """A share in the reports' manner: `.862`, `-.05`, `1.00`."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text

"""How findings write lists, sizes, probabilities and names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def some(values: Iterable[Any], most: int = 4) -> str:
    """The first few values, and how many more there are."""
    listed = list(values)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(map(str, listed[:most])) + more


def sizes_of(counts: Iterable[Any]) -> str:
    """Smallest and largest of some sizes, or the one that all have."""
    sizes = [int(count) for count in counts]
    low, high = min(sizes), max(sizes)
    return f"{low} each" if low == high else f"{low} to {high}"


def name_of(path: str) -> str:
    """The last two parts of a path, enough to find it by."""
    return "/".join(Path(path).parts[-2:])


def power_of_ten(exponent: float) -> str:
    """A probability, of which this is the logarithm to base 10, as text."""
    if exponent == -math.inf:
        return "0"
    return f"{10**exponent:.2g}" if exponent > -6 else f"1e{math.floor(exponent)}"


def has_part(name: str, parts: tuple[str, ...]) -> bool:
    """Whether one of these, in lower case, is a part of a name."""
    return any(part in name.lower() for part in parts)

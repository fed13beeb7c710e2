"""Facts are concluded from a record once and kept with it, the reason why one cannot be too."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.subject import Unavailable

T = TypeVar("T")


def fact(make: Callable[[Record], T]) -> Callable[[Record], T]:
    """Makes a function of the record remember its result, or the Unavailable that it raised."""
    key = f"{make.__module__}.{make.__name__}"

    @wraps(make)
    def remembered(record: Record) -> T:
        if key not in record.facts:
            try:
                record.facts[key] = make(record)
            except Unavailable as reason:
                record.facts[key] = reason
        value: T | Unavailable = record.facts[key]
        if isinstance(value, Unavailable):
            raise value
        return value

    return remembered

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
    return fact_of(lambda record: 0)(make)


def fact_of(
    state: Callable[[Record], int],
) -> Callable[[Callable[[Record], T]], Callable[[Record], T]]:
    """The same for a conclusion that is drawn anew whenever `state` of the record is another."""

    def fact_of_state(make: Callable[[Record], T]) -> Callable[[Record], T]:
        name = f"{make.__module__}.{make.__name__}"

        @wraps(make)
        def remembered(record: Record) -> T:
            key = f"{name} {state(record)}"
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

    return fact_of_state

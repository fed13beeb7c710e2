"""A run as all processes but the first see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quadlib.runs import Run


class FollowedRun(Run):
    """A run that another process writes: it is read here, and what would be noted is not."""

    def update(self, **fields: Any) -> None:
        pass

    @contextmanager
    def hold(self) -> Iterator[None]:
        yield

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        yield

"""How far a job is, and how long it will still take."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0


class Progress:
    """Says of a job with `total` equal parts how many are done and the seconds still to go, at most
    once in two seconds; a job that is over by then says nothing.
    """

    def __init__(self, doing: str, total: int, parts: str) -> None:
        self.doing, self.total, self.parts = doing, total, parts
        self.done, self.began = 0, time.monotonic()
        self.said = self.began

    def step(self, parts: int = 1) -> None:
        """So many parts more are done."""
        self.done += parts
        now = time.monotonic()
        if now - self.said >= EVERY_SECONDS:
            self.said = now
            remaining = (now - self.began) / self.done * (self.total - self.done)
            log.info(
                f"{self.doing}  {self.done:,}/{self.total:,} {self.parts}  ~{remaining:.0f} s left"
            )

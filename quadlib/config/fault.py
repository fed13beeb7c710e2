"""The setting of the fault lab."""

from __future__ import annotations

from pydantic import Field

from quadlib.config.base import Settings


class FaultSettings(Settings):
    """What is broken on purpose, to see what it does and how the doctor names it."""

    fault: str = Field("", description="id of a fault to inject, such as S1; empty injects none")

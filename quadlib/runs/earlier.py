"""Runs of earlier versions: what was so before there was a setting for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEFORE = {"vector_scale": "standard"}  # settings whose default is not what was so before


def as_recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A run's recorded settings, with what its version had no setting for; empty where it recorded
    none.
    """
    return BEFORE | dict(settings) if settings else {}

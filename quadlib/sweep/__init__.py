"""Many runs of one file: a grid of settings, or a search for the best.

.. include:: README.md
"""

from __future__ import annotations

from quadlib.sweep.plan import Plan, read_plan
from quadlib.sweep.run import sweep

__all__ = ["Plan", "read_plan", "sweep"]

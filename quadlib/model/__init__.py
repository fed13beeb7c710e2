"""
.. include:: README.md
"""

from __future__ import annotations

from quadlib.model.quad import Embeddings, QuadModel, freeze

__all__ = ["Embeddings", "QuadModel", "freeze"]

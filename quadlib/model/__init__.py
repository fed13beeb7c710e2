"""The model: one encoder per kind, cross-attention fusion, heads to the unit sphere."""

from __future__ import annotations

from quadlib.model.quad import Embeddings, QuadModel, freeze

__all__ = ["Embeddings", "QuadModel", "freeze"]

"""Contracts of the batches: given the split, what the sampler may and may not draw."""

from __future__ import annotations

"""Contracts of the loss: unit embeddings, the value recomputed, and its place between floor, plateau and ceiling."""

from __future__ import annotations

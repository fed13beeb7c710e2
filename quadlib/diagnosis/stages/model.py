"""Contracts of the model: what is trainable, where gradient arrives, what moves, where the batch variance dies."""

from __future__ import annotations

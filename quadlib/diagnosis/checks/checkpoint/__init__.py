"""Contracts of the stage checkpoint."""

from quadlib.diagnosis.checks.checkpoint import best as best
from quadlib.diagnosis.checks.checkpoint import contents as contents

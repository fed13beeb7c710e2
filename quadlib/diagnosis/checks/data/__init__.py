"""Contracts of the stage data."""

from quadlib.diagnosis.checks.data import recordings as recordings
from quadlib.diagnosis.checks.data import units as units

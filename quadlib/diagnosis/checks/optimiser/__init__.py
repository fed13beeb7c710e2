"""Contracts of the stage optimiser."""

from quadlib.diagnosis.checks.optimiser import groups as groups
from quadlib.diagnosis.checks.optimiser import steps as steps

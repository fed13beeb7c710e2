"""Contracts of the stage split."""

from quadlib.diagnosis.checks.split import composition as composition
from quadlib.diagnosis.checks.split import leakage as leakage

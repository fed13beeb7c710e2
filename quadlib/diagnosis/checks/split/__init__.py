"""Contracts of the stage split."""

from quadlib.diagnosis.checks.split import composition as composition
from quadlib.diagnosis.checks.split import leakage as leakage
from quadlib.diagnosis.checks.split import observed as observed
from quadlib.diagnosis.checks.split import observed_preparation as observed_preparation

"""Contracts of the stage model."""

from quadlib.diagnosis.checks.model import observed as observed
from quadlib.diagnosis.checks.model import observed_averages as observed_averages
from quadlib.diagnosis.checks.model import observed_flags as observed_flags
from quadlib.diagnosis.checks.model import observed_rows as observed_rows
from quadlib.diagnosis.checks.model import parameters as parameters
from quadlib.diagnosis.checks.model import signal as signal
from quadlib.diagnosis.checks.model import wiring as wiring

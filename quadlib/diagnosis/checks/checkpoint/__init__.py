"""Contracts of the stage checkpoint."""

from quadlib.diagnosis.checks.checkpoint import belonging as belonging
from quadlib.diagnosis.checks.checkpoint import best as best
from quadlib.diagnosis.checks.checkpoint import file as file
from quadlib.diagnosis.checks.checkpoint import later as later
from quadlib.diagnosis.checks.checkpoint import later_best as later_best
from quadlib.diagnosis.checks.checkpoint import observed as observed
from quadlib.diagnosis.checks.checkpoint import resume as resume
from quadlib.diagnosis.checks.checkpoint import weights as weights

"""Contracts of the stage evaluation."""

from quadlib.diagnosis.checks.evaluation import later as later
from quadlib.diagnosis.checks.evaluation import observed as observed
from quadlib.diagnosis.checks.evaluation import protocol as protocol
from quadlib.diagnosis.checks.evaluation import scores as scores

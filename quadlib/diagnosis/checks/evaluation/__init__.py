"""Contracts of the stage evaluation."""

from quadlib.diagnosis.checks.evaluation import later_choice as later_choice
from quadlib.diagnosis.checks.evaluation import later_comparisons as later_comparisons
from quadlib.diagnosis.checks.evaluation import later_inputs as later_inputs
from quadlib.diagnosis.checks.evaluation import later_modes as later_modes
from quadlib.diagnosis.checks.evaluation import later_weights as later_weights
from quadlib.diagnosis.checks.evaluation import observed as observed
from quadlib.diagnosis.checks.evaluation import observed_embeddings as observed_embeddings
from quadlib.diagnosis.checks.evaluation import observed_preparation as observed_preparation
from quadlib.diagnosis.checks.evaluation import protocol as protocol
from quadlib.diagnosis.checks.evaluation import scores as scores

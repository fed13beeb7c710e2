"""Contracts of the stage loss."""

from quadlib.diagnosis.checks.loss import formula as formula
from quadlib.diagnosis.checks.loss import gradient as gradient
from quadlib.diagnosis.checks.loss import observed as observed
from quadlib.diagnosis.checks.loss import observed_direction as observed_direction
from quadlib.diagnosis.checks.loss import observed_finite as observed_finite
from quadlib.diagnosis.checks.loss import observed_forces as observed_forces
from quadlib.diagnosis.checks.loss import observed_joined as observed_joined
from quadlib.diagnosis.checks.loss import observed_logits as observed_logits
from quadlib.diagnosis.checks.loss import observed_pairs as observed_pairs
from quadlib.diagnosis.checks.loss import observed_targets as observed_targets
from quadlib.diagnosis.checks.loss import value as value

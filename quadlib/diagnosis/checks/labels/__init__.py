"""Contracts of the stage labels."""

from quadlib.diagnosis.checks.labels import assignment as assignment
from quadlib.diagnosis.checks.labels import dependence as dependence
from quadlib.diagnosis.checks.labels import observed as observed
from quadlib.diagnosis.checks.labels import observed_encodings as observed_encodings
from quadlib.diagnosis.checks.labels import observed_maps as observed_maps
from quadlib.diagnosis.checks.labels import observed_parts as observed_parts
from quadlib.diagnosis.checks.labels import observed_unlabelled as observed_unlabelled

"""Contracts of the stage batch."""

from quadlib.diagnosis.checks.batch import composition as composition
from quadlib.diagnosis.checks.batch import coverage as coverage
from quadlib.diagnosis.checks.batch import loading as loading
from quadlib.diagnosis.checks.batch import observed as observed
from quadlib.diagnosis.checks.batch import observed_graphs as observed_graphs
from quadlib.diagnosis.checks.batch import observed_items as observed_items
from quadlib.diagnosis.checks.batch import observed_order as observed_order
from quadlib.diagnosis.checks.batch import observed_repeats as observed_repeats
from quadlib.diagnosis.checks.batch import observed_triplets as observed_triplets
from quadlib.diagnosis.checks.batch import observed_weights as observed_weights
from quadlib.diagnosis.checks.batch import observed_workers as observed_workers

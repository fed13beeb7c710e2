"""Contracts of the stage data."""

from quadlib.diagnosis.checks.data import classes as classes
from quadlib.diagnosis.checks.data import contents as contents
from quadlib.diagnosis.checks.data import finite as finite
from quadlib.diagnosis.checks.data import observed as observed
from quadlib.diagnosis.checks.data import observed_axes as observed_axes
from quadlib.diagnosis.checks.data import observed_changes as observed_changes
from quadlib.diagnosis.checks.data import observed_fill as observed_fill
from quadlib.diagnosis.checks.data import observed_labels as observed_labels
from quadlib.diagnosis.checks.data import observed_rows as observed_rows
from quadlib.diagnosis.checks.data import units as units

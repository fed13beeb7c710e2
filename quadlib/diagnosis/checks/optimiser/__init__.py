"""Contracts of the stage optimiser."""

from quadlib.diagnosis.checks.optimiser import decay as decay
from quadlib.diagnosis.checks.optimiser import groups as groups
from quadlib.diagnosis.checks.optimiser import observed_gradients as observed_gradients
from quadlib.diagnosis.checks.optimiser import observed_rates as observed_rates
from quadlib.diagnosis.checks.optimiser import observed_rounding as observed_rounding
from quadlib.diagnosis.checks.optimiser import observed_run as observed_run
from quadlib.diagnosis.checks.optimiser import parts_of_batch as parts_of_batch
from quadlib.diagnosis.checks.optimiser import scaler as scaler
from quadlib.diagnosis.checks.optimiser import schedule as schedule
from quadlib.diagnosis.checks.optimiser import steps as steps

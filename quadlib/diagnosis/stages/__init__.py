"""The contracts, one file a stage, in the order in which data flow through them."""

from quadlib.diagnosis.stages import alignment as alignment
from quadlib.diagnosis.stages import batch as batch
from quadlib.diagnosis.stages import best as best
from quadlib.diagnosis.stages import checkpoint as checkpoint
from quadlib.diagnosis.stages import coverage as coverage
from quadlib.diagnosis.stages import data as data
from quadlib.diagnosis.stages import dependence as dependence
from quadlib.diagnosis.stages import evaluation as evaluation
from quadlib.diagnosis.stages import identity as identity
from quadlib.diagnosis.stages import labels as labels
from quadlib.diagnosis.stages import leakage as leakage
from quadlib.diagnosis.stages import loading as loading
from quadlib.diagnosis.stages import loss as loss
from quadlib.diagnosis.stages import loss_formula as loss_formula
from quadlib.diagnosis.stages import loss_value as loss_value
from quadlib.diagnosis.stages import modality as modality
from quadlib.diagnosis.stages import model as model
from quadlib.diagnosis.stages import optimiser as optimiser
from quadlib.diagnosis.stages import scores as scores
from quadlib.diagnosis.stages import signal as signal
from quadlib.diagnosis.stages import split as split
from quadlib.diagnosis.stages import steps as steps
from quadlib.diagnosis.stages import units as units
from quadlib.diagnosis.stages import wiring as wiring

"""The contracts, one file a stage, in the order in which data flow through them."""

from quadlib.diagnosis.stages import batch as batch
from quadlib.diagnosis.stages import loss as loss
from quadlib.diagnosis.stages import model as model
from quadlib.diagnosis.stages import split as split

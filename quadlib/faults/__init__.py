"""Faults to inject into a healthy pipeline, one file a stage, each with the place where the public
met it; and healthy look-alikes.
"""

from quadlib.faults import batch as batch
from quadlib.faults import checkpoint as checkpoint
from quadlib.faults import data as data
from quadlib.faults import evaluation as evaluation
from quadlib.faults import healthy as healthy
from quadlib.faults import labels as labels
from quadlib.faults import loss as loss
from quadlib.faults import modality as modality
from quadlib.faults import model as model
from quadlib.faults import optimiser as optimiser
from quadlib.faults import split as split
from quadlib.faults.pipeline import Pipeline as Pipeline
from quadlib.faults.registry import FAULTS as FAULTS
from quadlib.faults.registry import LOOK_ALIKES as LOOK_ALIKES
from quadlib.faults.registry import Fault as Fault
from quadlib.faults.registry import LookAlike as LookAlike

"""The contracts, a folder a stage, in the order in which data flow through them; importing one
registers its checks.
"""

from quadlib.diagnosis.checks import batch as batch
from quadlib.diagnosis.checks import checkpoint as checkpoint
from quadlib.diagnosis.checks import data as data
from quadlib.diagnosis.checks import evaluation as evaluation
from quadlib.diagnosis.checks import labels as labels
from quadlib.diagnosis.checks import loss as loss
from quadlib.diagnosis.checks import modality as modality
from quadlib.diagnosis.checks import model as model
from quadlib.diagnosis.checks import optimiser as optimiser
from quadlib.diagnosis.checks import split as split

"""weldsim: simulated robotic arc welds, written as real AVI, FLAC, CSV and JPEG files in the layout
of the measured set.
"""

from quadlib.data.sources.weldsim.classes import CLASS_NAMES, CLASSES
from quadlib.data.sources.weldsim.settings import MODALITIES, WeldSimSettings
from quadlib.data.sources.weldsim.write import make

__all__ = ["CLASSES", "CLASS_NAMES", "MODALITIES", "WeldSimSettings", "make"]

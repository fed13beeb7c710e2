"""The doctor: each stage of a pipeline has a contract; the earliest one that is broken is the root
cause.
"""

from quadlib.diagnosis.engine import diagnose as diagnose
from quadlib.diagnosis.finding import Finding as Finding
from quadlib.diagnosis.report import Diagnosis as Diagnosis
from quadlib.diagnosis.subject import Subject as Subject

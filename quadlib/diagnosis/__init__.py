"""The doctor: each stage of a pipeline has a contract; the earliest one that is broken is the root
cause.

.. include:: README.md
"""

from quadlib.diagnosis.contract import Contract as Contract
from quadlib.diagnosis.engine import diagnose as diagnose
from quadlib.diagnosis.finding import Finding as Finding
from quadlib.diagnosis.limits import Limits as Limits
from quadlib.diagnosis.registry import Check as Check
from quadlib.diagnosis.registry import check as check
from quadlib.diagnosis.report import Diagnosis as Diagnosis
from quadlib.diagnosis.subject import Subject as Subject
from quadlib.diagnosis.subject import Unavailable as Unavailable

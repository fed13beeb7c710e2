"""Batches that mix the classes, and the plan that says what they hold; needs numpy, scipy and
torch's Sampler alone.

.. include:: README.md
"""

from quadlib.sampler.demand import Demand as Demand
from quadlib.sampler.demand import Request as Request
from quadlib.sampler.demand import SamplerError as SamplerError
from quadlib.sampler.plan import BatchPlan as BatchPlan
from quadlib.sampler.plan import PlanError as PlanError
from quadlib.sampler.stratified import StratifiedBatchSampler as StratifiedBatchSampler

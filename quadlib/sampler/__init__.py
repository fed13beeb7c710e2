"""Batches that mix the classes, and the plan that says what they hold; needs numpy and torch's
Sampler alone.
"""

from quadlib.sampler.feasibility import SamplerError as SamplerError
from quadlib.sampler.plan import BatchPlan as BatchPlan
from quadlib.sampler.plan import PlanError as PlanError
from quadlib.sampler.stratified import StratifiedBatchSampler as StratifiedBatchSampler

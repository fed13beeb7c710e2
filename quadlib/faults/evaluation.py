"""Faults of the evaluation: the score is of something else than the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault

"""Figures as plain pictures, for readers that run no script."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from quadlib.evaluation.record import Evaluation
from quadlib.figures.batches import batch_inspection
from quadlib.figures.maps import embedding_map
from quadlib.figures.still import still
from quadlib.sampler.plan import BatchPlan


def test_batches_and_the_map_are_small_pictures(plan: BatchPlan, evaluation: Evaluation) -> None:
    for figure in (batch_inspection(plan, 0.1), embedding_map(evaluation)):
        data = still(figure)
        picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert len(data) < 40_000 and picture.shape[1] == 760
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3

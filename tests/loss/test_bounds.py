"""Floor, plateau, ceiling and progress at their known values; stuck values decoded, others left
alone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from quadlib import bounds


@pytest.mark.parametrize(
    "classes, members, temperature, value",
    [
        (12, 4, 0.07, 1.0986147896),
        (12, 4, 0.1, 1.0988805235),
        (12, 4, 0.5, 2.0750308591),
        (12, 2, 0.1, 0.0004023253),
        (6, 8, 0.1, 1.9459452582),
    ],
)
def test_floor_of_balanced_batches(
    classes: int, members: int, temperature: float, value: float
) -> None:
    labels = np.repeat(np.arange(classes), members)
    for given in (
        labels,
        torch.from_numpy(labels),
        labels.tolist(),
        [str(label) for label in labels],
        [members] * classes,
        {"a": members} | {str(i): members for i in range(classes - 1)},
    ):
        assert bounds.floor(given, temperature) == pytest.approx(value, abs=1e-10)
    assert bounds.floor([members // 2] * classes, temperature, n_views=2) == pytest.approx(
        value, abs=1e-10
    )


@pytest.mark.parametrize(
    "value, arguments",
    [
        (2.7081, {"batch_size": 16}),
        (3.434, {"batch_size": 32}),
        (1.9459, {"batch_size": 8}),
        (1.9459, {"batch_size": 4, "n_views": 2}),
        (6.920, {"batch_size": 64, "n_views": 2, "temperature": 0.1}),
        (8.909, {"batch_size": 256, "n_views": 2, "temperature": 0.1}),
        (5.5597, {"batch_size": 25, "n_views": 2, "temperature": 0.1, "base_temperature": 0.07}),
    ],
)
def test_stuck_values_are_explained(value: float, arguments: dict) -> None:
    text = bounds.explain_value(value, **arguments)
    assert text is not None and "collapse" in text


@pytest.mark.parametrize(
    "value, arguments",
    [
        (28.3, {"batch_size": 128, "n_views": 2, "temperature": 0.5}),
        (2.65, {"batch_size": 16}),
        (3.23, {"batch_size": 32, "temperature": 0.07}),
        (math.nan, {"batch_size": 16}),
        (0.0, {"batch_size": 16}),
    ],
)
def test_other_values_are_left_alone(value: float, arguments: dict) -> None:
    assert bounds.explain_value(value, **arguments) is None

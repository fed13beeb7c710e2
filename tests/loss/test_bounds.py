"""Floor, plateau, ceiling and progress at their known values; stuck values decoded, others left
alone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from quadlib import bounds
from quadlib.loss import SupConLoss


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
    for batch in (
        labels,
        torch.from_numpy(labels),
        labels.tolist(),
        labels + 1,
        labels[:, None],
        [str(label) for label in labels],
        {"a": members} | {str(i): members for i in range(classes - 1)},
    ):
        assert bounds.floor(batch, temperature) == pytest.approx(value, abs=1e-10)
    counts = [members] * classes
    assert bounds.floor(counts, temperature, kind="counts") == pytest.approx(value, abs=1e-10)
    assert bounds.floor(labels[::2], temperature, n_views=2) == pytest.approx(value, abs=1e-10)


@pytest.mark.parametrize("counts", [(6, 3, 2), (4, 3, 1), (5, 1, 1), (2, 2, 4)])
def test_the_exact_floor_of_three_classes_is_the_best_of_all_angles(counts: tuple) -> None:
    """Three points that repel each other lie in a plane: all their angles are tried, by degrees."""
    temperature, sizes = 0.5, np.array(counts)
    first, second = np.radians(np.meshgrid(np.arange(361.0), np.arange(361.0)))
    alike = {(0, 1): np.cos(first), (0, 2): np.cos(second), (1, 2): np.cos(first - second)}
    tried = np.zeros_like(first)
    for one in np.flatnonzero(sizes >= 2):
        others = sum(
            sizes[other] * np.exp((alike[min(one, other), max(one, other)] - 1) / temperature)
            for other in range(3)
            if other != one
        )
        tried += sizes[one] * np.log(sizes[one] - 1 + others) / sizes[sizes >= 2].sum()
    exact = bounds.floor(counts, temperature, kind="counts", exact=True)
    assert exact == pytest.approx(tried.min(), abs=1e-4) and exact <= tried.min()
    assert bounds.floor(counts, temperature, kind="counts") <= exact


def test_numbers_are_labels_unless_they_are_said_to_be_counts() -> None:
    assert bounds.floor(np.repeat([1, 2, 3, 4], 8), 0.1) == pytest.approx(math.log(7), abs=1e-4)
    assert math.isnan(bounds.floor([4, 5, 6], 0.1))
    assert bounds.floor([4, 5, 6], 0.1, kind="counts") > 1
    with pytest.raises(ValueError, match="kind is 'auto'"):
        bounds.floor([4, 5, 6], 0.1, kind="auto")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="whole numbers from 0 up"):
        bounds.floor([-1, 5], 0.1, kind="counts")


def test_an_unlabelled_sample_is_a_negative_of_all() -> None:
    with_unlabelled = bounds.floor([0, 0, 1, 1, -1, -1], 0.5)
    assert with_unlabelled == pytest.approx(bounds.floor([2, 2, 1, 1], 0.5, kind="counts"))
    assert bounds.floor([0, 0, 1, 1, None], 0.5) == pytest.approx(
        bounds.floor([2, 2, 1], 0.5, kind="counts")
    )


@pytest.mark.parametrize(
    "value, arguments",
    [
        (2.7081, {"batch_size": 16}),
        (3.434, {"batch_size": 32}),
        (2.71, {"batch_size": 16}),
        ("2.71", {"batch_size": 16}),
        ("2.708", {"batch_size": 16}),
        (3.43, {"batch_size": 32}),
        (np.float32(2.70805), {"batch_size": 16}),
        (1.9459, {"batch_size": 8}),
        (1.9459, {"batch_size": 4, "n_views": 2}),
        (6.920, {"batch_size": 64, "n_views": 2, "temperature": 0.1}),
        (8.909, {"batch_size": 256, "n_views": 2, "temperature": 0.1}),
        (5.5597, {"batch_size": 25, "n_views": 2, "temperature": 0.1, "base_temperature": 0.07}),
    ],
)
def test_stuck_values_are_explained(value: float | str, arguments: dict) -> None:
    text = bounds.explain_value(value, **arguments)
    assert text is not None and "collapse" in text


@pytest.mark.parametrize(
    "value, arguments",
    [
        (28.3, {"batch_size": 128, "n_views": 2, "temperature": 0.5}),
        (2.65, {"batch_size": 16}),
        (2.7, {"batch_size": 16}),
        (2.72, {"batch_size": 16}),
        ("2.70", {"batch_size": 16}),
        ("2.7100", {"batch_size": 16}),
        (2.7099, {"batch_size": 16}),
        ("3", {"batch_size": 20}),
        (3.23, {"batch_size": 32, "temperature": 0.07}),
        (math.nan, {"batch_size": 16}),
        (0.0, {"batch_size": 16}),
    ],
)
def test_other_values_are_left_alone(value: float | str, arguments: dict) -> None:
    assert bounds.explain_value(value, **arguments) is None


def test_no_unit_embeddings_exceed_the_ceiling() -> None:
    assert bounds.ceiling(32, 0.1) == pytest.approx(math.log(31) + 20)
    # two positives opposite each other, and all else on one of them: as bad as it gets
    rows = torch.tensor([[-1.0]] + [[1.0]] * 31)
    labels = torch.tensor([0, 0, *range(1, 31)])
    value = SupConLoss(0.1)(rows, labels).item()
    assert math.log(30) + 10 < value < bounds.ceiling(32, 0.1)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_floor_of_unequal_classes_is_their_weighted_mean(temperature: float) -> None:
    """Classes of 3, 2 and 1 at opposite points: each other row adds exp(-2/T) to a sum."""
    other = math.exp(-2 / temperature)
    expected = (3 * math.log(2 + 3 * other) + 2 * math.log(1 + 4 * other)) / 5
    assert bounds.floor([0, 0, 0, 1, 1, 2], temperature) == pytest.approx(expected, abs=1e-12)
    plane = (3 * math.log(2 + 3 * other**0.5) + 2 * math.log(1 + 4 * other**0.5)) / 5
    counts = np.array([3, 2, 1])
    above = bounds.floor_of_counts(counts, temperature, rectified=True)
    assert above == pytest.approx(plane, abs=1e-12)


def test_a_stuck_value_matches_within_a_fortieth_of_a_percent() -> None:
    plateau = math.log(31)
    inside, outside = plateau * (1 + 2.4e-4), plateau * (1 + 2.7e-4)
    assert bounds.explain_value(inside, 32) is not None
    assert bounds.explain_value(outside, 32) is None


def test_the_smallest_batches_and_shares_that_can_be_told() -> None:
    assert bounds.explain_value(math.log(2), 3) is not None
    assert bounds.explain_value(0.0, 2) is None  # ln 1: any perfect loss shows it
    text = bounds.explain_value(math.log(15), 32, world_size=2)
    assert text is not None and "the share of one of 2 processes" in text

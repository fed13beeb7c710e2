"""What a batch's labels say of its loss before anything is computed."""

from __future__ import annotations

import pytest
import torch

from quadlib.config import ObjectiveSettings
from quadlib.loss import bounds
from quadlib.training.objective import QuadObjective
from quadlib.training.telemetry import batch_facts


def facts(*labels: int) -> dict:
    objective = QuadObjective(ObjectiveSettings(), n_classes=2, embedding_dim=8)
    return batch_facts(torch.tensor(labels), objective)


def test_a_row_without_a_label_is_no_anchor_of_any_class():
    known = facts(0, 0, 1, 1, 1, -1)
    assert (known["anchors"], known["classes"], known["positives_min"]) == (5, 2, 1)
    assert known["collapse"] == pytest.approx(bounds.collapse_value(6))


def test_a_batch_without_labels_has_no_anchor_and_no_bounds():
    nothing = facts(-1, -1, -1)
    assert (nothing["anchors"], nothing["classes"], nothing["positives_min"]) == (0, 0, None)
    assert nothing["collapse"] is None and nothing["floor"] is None

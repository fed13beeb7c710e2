from __future__ import annotations

import pytest

from quadlib.faults.small import small_pipeline


@pytest.fixture
def digits():
    """A healthy pipeline of measured digits."""
    return small_pipeline("mfeat")

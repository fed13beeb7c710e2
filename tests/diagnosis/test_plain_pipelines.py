"""The doctor on plain PyTorch pipelines: of the cases of tests/bench/held_out, those whose root
only a dataset or a run shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quadlib.diagnosis import diagnose
from quadlib.faults import FAULTS

HELD_OUT = Path(__file__).parent.parent / "bench" / "held_out"
WRONG = [
    "signals-truncated-files",
    "signals-joined-exports",
    "signals-two-units",
    "signals-flat-windows",
    "digits-repeated-then-split",
    "quadrants-times-temperature",
    "digits-half-similarity",
    "digits-factor-of-zero",
    "digits-heavy-decay",
    "digits-scaled-rate",
    "quadrants-guessed-labels",
    "digits-data-parallel-prefix",
    "digits-normalised-over-views",
    "digits-zero-last-layer",
]
HEALTHY = [
    "digits-to-the-end",
    "digits-resumed",
    "digits-linear-probe",
    "digits-accumulated",
    "quadrants-sampler-and-labels",
    "quadrants-gaps",
    "signals-deliberate-oversampling",
    "signals-prefix-taken-off",
    "signals-to-the-end",
]


@pytest.fixture(scope="module")
def cases():
    sys.path.insert(0, str(HELD_OUT))
    try:
        from cases import CASES
    finally:
        sys.path.remove(str(HELD_OUT))
    return {case.name: case for case in CASES}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRONG)
def test_the_root_is_named_first(cases, name):
    roots = diagnose(cases[name].build(0)).roots
    alarms = [root.code for root in roots if root.severity != "note"]
    assert alarms[0] in FAULTS[cases[name].row].expected()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_pipeline_is_left_alone(cases, name):
    assert [
        root.code for root in diagnose(cases[name].build(0)).roots if root.severity != "note"
    ] == []

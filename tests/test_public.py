"""The names that other code imports from quadlib are there, and importing the package alone loads
no torch.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import quadlib


@pytest.mark.parametrize("name", quadlib.__all__)
def test_public_names_resolve(name):
    assert getattr(quadlib, name) is not None


def test_the_package_alone_does_not_load_torch():
    subprocess.run(
        [sys.executable, "-c", "import quadlib, sys; assert 'torch' not in sys.modules"], check=True
    )


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'SupConLos'"):
        quadlib.SupConLos  # noqa: B018


def test_the_core_can_be_lifted_out():
    """Sampler, plan, loss and bounds need torch, numpy and pandas (for the plan's summary) alone;
    so does the doctor.
    """
    code = (
        "import sys, quadlib.sampler, quadlib.loss, quadlib.loss.bounds, quadlib.diagnosis; assert "
        "not {'pydantic', 'av', 'sklearn', 'plotly', 'soundfile'} & set(sys.modules), "
        "sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The stand-ins of tests/bench/learning: seeded, whole, and scored by their command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[1] / "bench" / "learning"


@pytest.fixture
def made(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import made

    return made


@pytest.mark.parametrize(
    "name, rows, sessions",
    [
        ("one_good", 2000, 90),
        ("all_good", 2000, 90),
        ("session_shift", 2000, 90),
        ("half_missing", 2000, 90),
        ("many_sessions", 1551, 122),
        ("cycles", 2205, 100),
    ],
)
def test_a_seed_makes_one_table_of_recordings_in_sessions(made, name, rows, sessions):
    read = getattr(made, name)
    table = read(seed=3)
    assert table.fingerprint == read(seed=3).fingerprint != read(seed=4).fingerprint
    assert len(table) == rows and sessions - 10 < table.frame["group"].nunique() <= sessions
    assert [spec.shape for spec in table.modalities.values()] == [(17,), (60,), (43,), (36,)]
    assert all(np.isfinite(values).all() for values in table.arrays.values())
    assert (0.4 if name == "half_missing" else 0.99) < table.present[:, 0].mean() <= 1.0


def test_the_command_prints_a_line_for_a_set():
    done = subprocess.run(
        [sys.executable, str(BENCH), "--seeds", "1", "digits", "-p", "epochs=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    line = done.stdout.splitlines()[-1].split("|")
    assert line[1].strip() == "digits" and all(0.5 < float(cell) < 1 for cell in line[2:7])

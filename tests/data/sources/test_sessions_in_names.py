"""Repeated measurements that only the names of the rows tell."""

from __future__ import annotations

import pandas as pd
import pytest

from quadlib.data.sources.columns import alone


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"blues.{song:05d}.{part}.wav" for song in range(9) for part in range(3)], "9 things"),
        ([f"phon_R{who:02d}_{part}" for who in range(10) for part in (1, 2)], "10 things"),
        ([f"rec_{number}" for number in range(30)], ""),
        ([f"{kind}_{number}" for kind in ("good", "pore") for number in range(9)], ""),
        ([f"word{chr(97 + number)}" for number in range(20)], ""),
    ],
)
def test_numbered_parts_of_one_thing_may_be_sessions(names, said):
    text = alone(pd.DataFrame({"filename": names}))
    assert said in text and ("numbers the parts" in text) == bool(said)

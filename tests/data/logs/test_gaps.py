from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.data.logs.gaps import sentinel, without_numbers, without_words


def test_words_and_numbers_of_the_setting_are_missing():
    column = pd.Series(["1.5", " ol ", "OVL", "-9999"], dtype=str)
    assert without_words(column, ["OL", "-9999"]).tolist() == ["1.5", "", "OVL", ""]
    values = without_numbers(np.array([1.0, -9999.0, np.inf]), ["OL", "-9999", "inf"])
    np.testing.assert_array_equal(values, [1, np.nan, np.nan])
    np.testing.assert_array_equal(without_numbers(np.array([1.0]), []), [1])


@pytest.mark.parametrize("value", [-9999.0, 99999.0, 9.9e37, -32768.0, -999.9])
def test_a_number_that_seldom_is_a_reading_is_named(value: float):
    values = np.array([20.0, 21.0, value, 22.0, value, np.nan])
    assert f'series_missing=["{value:g}"]' in sentinel("flow", values)
    assert "2 times" in sentinel("flow", values)


@pytest.mark.parametrize(
    "values",
    [[999.0, 1000.0, 998.0, 990.0], [20.0, 21.0, 500.0], [-999.0] * 4, [0.0, 999.0, 0.0], [999.0]],
    ids=["among others", "another number", "constant", "two levels", "alone"],
)
def test_a_reading_is_not_named(values: list[float]):
    assert sentinel("flow", np.array(values)) == ""

from dataclasses import replace

import numpy as np
import pytest

from quadlib.evaluation.baselines import Baseline, baselines
from quadlib.evaluation.intervals import SessionBootstrap


def sessions(table) -> SessionBootstrap:
    return SessionBootstrap(table.frame["group"].to_numpy()[table.rows("test")], 50, 0)


def score(table, **options) -> dict[str, Baseline]:
    result = baselines(table, table.rows("train"), table.rows("test"), **options)
    return {baseline.name: baseline for baseline in result}


def test_confounds_are_fitted_on_train_and_scored_on_the_same_rows(table) -> None:
    result = score(table, bootstrap=sessions(table))
    assert list(result) == ["majority", "set-points", "duration"]
    assert (
        result["majority"].accuracy.value == pytest.approx(1 / 3)
        and result["majority"].auroc.value == 0.5
    )
    assert result["set-points"].columns == (
        "current_a",
    )  # text of numbers, and it tells all classes
    assert result["set-points"].macro_f1.value == 1 and result["set-points"].auroc.value == 1
    assert (
        result["duration"].columns == ("duration_seconds",)
        and result["duration"].macro_f1.value < 0.7
    )
    assert (
        result["duration"].macro_f1.low
        < result["duration"].macro_f1.value
        < result["duration"].macro_f1.high
    )
    assert score(table, bootstrap=sessions(table)) == result


def test_absent_columns_are_not_available(table, make_table) -> None:
    bare = make_table()
    without = bare.with_columns(current_a=[""] * len(bare), duration_seconds=[np.nan] * len(bare))
    result = score(without)
    for name, column in (("set-points", "current_a"), ("duration", "duration_seconds")):
        assert result[name].macro_f1.value is None and result[name].macro_f1.reason.startswith(
            "not available"
        )
        assert column in result[name].macro_f1.reason
    assert result["majority"].macro_f1.defined


def test_gaps_and_text_are_read(make_table) -> None:
    table = make_table(weld_type=True)
    told = table.frame["current_a"].where(np.arange(len(table)) % 4 > 0, "")
    result = score(table.with_columns(current_a=told))
    assert (
        result["set-points"].columns == ("current_a", "weld_type")
        and result["set-points"].macro_f1.value > 0.7
    )


def test_a_table_without_a_normal_class_and_confounds_says_how_to_name_them(table) -> None:
    result = score(replace(table, normal_class="", confounds={}))
    assert result["majority"].auroc.reason == "the setting normal_class names no class"
    assert result["majority"].macro_f1.defined
    assert result["confounds"].macro_f1.reason == (
        "not available: the setting confounds names no column that says how a recording was made; "
        "the table has current_a"
    )


def test_empty_split(table) -> None:
    for baseline in baselines(table, table.rows("train"), np.zeros(0, dtype=np.int64)):
        assert baseline.macro_f1.value is None and "no recordings" in baseline.macro_f1.reason

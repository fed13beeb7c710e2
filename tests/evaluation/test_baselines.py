import numpy as np
import pytest

from quadlib.evaluation.baselines import Baseline, baselines
from quadlib.evaluation.intervals import SessionBootstrap


def sessions(table) -> SessionBootstrap:
    return SessionBootstrap(table.frame["group"].to_numpy()[table.rows("test")], 50, 0)


def score(table, **options) -> dict[str, Baseline]:
    result = baselines(
        table.frame,
        table.codes,
        table.class_names,
        table.rows("train"),
        table.rows("test"),
        **options,
    )
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


def test_gaps_and_text_are_read(table) -> None:
    told = table.frame["current_a"].where(np.arange(len(table)) % 4 > 0, "")
    mixed = table.with_columns(
        current_a=told, weld_type=np.where(table.codes == 0, "fillet", "plane")
    )
    result = score(mixed)
    assert (
        result["set-points"].columns == ("current_a", "weld_type")
        and result["set-points"].macro_f1.value > 0.7
    )


def test_without_a_good_class_auroc_is_undefined(table) -> None:
    result = baselines(
        table.frame, table.codes, ["a", "b", "c"], table.rows("train"), table.rows("test")
    )
    assert result[0].auroc.reason == "no class is named good" and result[0].macro_f1.defined


def test_empty_split(table) -> None:
    for baseline in baselines(
        table.frame,
        table.codes,
        table.class_names,
        table.rows("train"),
        np.zeros(0, dtype=np.int64),
    ):
        assert baseline.macro_f1.value is None and "no recordings" in baseline.macro_f1.reason

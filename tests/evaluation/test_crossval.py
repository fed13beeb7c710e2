"""The folds of a cross-validation put together: every recording once, rivals on the same folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quadlib.config import EvaluateSettings, read_settings
from quadlib.data.samples import SampleTable
from quadlib.evaluation.crossval import CrossValidation, Part, pool
from quadlib.evaluation.embed import EmbeddingSet
from quadlib.evaluation.evaluate import evaluate_embeddings
from quadlib.evaluation.metrics import macro_f1
from quadlib.evaluation.rivals import vector_columns
from tests.evaluation.conftest import build_table

SETTINGS = read_settings(EvaluateSettings, {"resamples": 20})


def part_of(table, seed: int, fold: int) -> Part:
    """One of three folds by sessions, whose embeddings know the class of nine recordings in ten."""
    random = np.random.default_rng([seed, fold])
    session = np.unique(table.frame["group"], return_inverse=True)[1]
    tested = (session + seed) % 3 == fold - 1

    def embedded(rows: np.ndarray) -> EmbeddingSet:
        place = np.where(random.random(len(rows)) < 0.1, random.integers(0, 3, len(rows)),
                         table.codes[rows])  # fmt: skip
        fused = np.eye(4, dtype=np.float32)[place] + random.normal(0, 0.02, (len(rows), 4))
        fused = (fused / np.linalg.norm(fused, axis=1, keepdims=True)).astype(np.float32)
        present = table.present[rows]
        weights = (present / present.sum(axis=1, keepdims=True)).astype(np.float32)
        by_modality = np.where(present[:, :, None], fused[:, None], 0).astype(np.float32)
        return EmbeddingSet(fused, by_modality, weights, present, table.codes[rows], rows)

    gallery, queries = (embedded(np.flatnonzero(chosen)) for chosen in (~tested, tested))
    return Part(
        seed,
        fold,
        evaluate_embeddings(gallery, queries, table, SETTINGS, run=f"cv-s{seed}-f{fold}"),
    )


@pytest.fixture(scope="module")
def table() -> SampleTable:
    return build_table()


@pytest.fixture(scope="module")
def parts(table) -> list[Part]:
    return [part_of(table, seed, fold) for seed in (0, 1) for fold in (1, 2, 3)]


@pytest.fixture(scope="module")
def result(table, parts) -> CrossValidation:
    return pool(parts, table, 3)


def test_every_prediction_counts_once(parts, result) -> None:
    asked = [part.evaluation for part in parts]
    truth, said = (
        np.concatenate([item.arrays[name][item.n_gallery :] for item in asked])
        for name in ("labels", "predictions")
    )
    score = result.scores["macro_f1"]
    assert score.value == pytest.approx(macro_f1(truth, said, 3))
    assert score.low < score.value < score.high
    assert (result.n_recordings, result.n_sessions, result.seeds) == (90, 18, [0, 1])
    assert np.sum(result.confusion) == 180
    assert [item.support for item in result.per_class] == [30, 30, 30]
    assert all(item.recall.low < item.recall.value for item in result.per_class)
    assert [(item.seed, item.fold) for item in result.by_fold] == [
        (part.seed, part.fold) for part in parts
    ]
    assert result.spread == (
        min(item.macro_f1.value for item in result.by_fold),
        max(item.macro_f1.value for item in result.by_fold),
    )
    assert result.notes == [] and result.normal_class == "good"
    values = [item.scores["auroc"].value for item in asked]
    assert result.scores["auroc"].value == pytest.approx(np.mean(values))


def test_rivals_are_asked_on_the_same_folds(result) -> None:
    rivals = {item.name: item for item in result.rivals}
    assert set(rivals) == {
        "most common class",
        "set-points alone",
        "duration alone",
        "fou alone",
        "kar alone",
        "mor alone",
        "5-NN on all columns",
        "logistic regression",
        "extra trees",
    }
    assert rivals["set-points alone"].macro_f1.value == 1  # the current tells the class
    assert rivals["set-points alone"].ahead.high < 0
    assert rivals["duration alone"].ahead.low > 0
    assert rivals["fou alone"].ahead.value == pytest.approx(0)  # the same embedding, some lack it


def test_what_is_wrong_is_said(table, parts) -> None:
    with pytest.raises(ValueError, match="30 recordings were tested twice with one seed"):
        pool([*parts[:3], replace(parts[0], fold=4)], table, 3)
    one = pool(parts[:2], table, 3)
    assert one.notes[0].startswith("30 of 90 recordings were never tested: those of good")
    assert one.notes[1].startswith("One seed:")


def test_written_and_read_back(result, tmp_path) -> None:
    result.write(tmp_path)
    assert CrossValidation.read(tmp_path) == result
    assert " | folds ." in result.headline() and result.best_rival.name == "set-points alone"
    assert "nearest rival set-points alone 1.000" in result.headline()


def test_columns_side_by_side_with_what_is_missing_at_the_mean(table) -> None:
    train = table.rows("train")
    columns = vector_columns(table, train)
    assert columns.shape == (90, 15) and not np.isnan(columns).any()
    missing = np.flatnonzero(~table.present[:, 1])[0]
    have = train[table.present[train, 1]]
    assert columns[missing, 6:11] == pytest.approx(table.arrays["kar"][have].mean(axis=0))

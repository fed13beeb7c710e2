import numpy as np
import pytest

from quadlib.config import EvaluateSettings, read_settings
from quadlib.evaluation.embed import embed
from quadlib.evaluation.score import Score
from quadlib.evaluation.subsets import (
    SubsetScore,
    embedded,
    encode,
    fuse,
    score_subsets,
    shapley_values,
)

SETTINGS = read_settings(EvaluateSettings, {"resamples": 20})


def test_fusing_cached_tokens_equals_embedding_with_the_others_hidden(model, dataset) -> None:
    model.train()
    rows = np.arange(len(dataset.table))
    tokens = encode(model, dataset, rows, batch_size=32)
    for chosen, hide in (((0, 1, 2), []), ((0, 2), ["kar"]), ((1,), ["fou", "mor"])):
        fused, kept = fuse(model, tokens, chosen)
        assert (kept == dataset.table.present[:, list(chosen)].any(axis=1)).all()
        np.testing.assert_allclose(
            fused, embed(model, dataset, rows[kept], hide=hide).fused, atol=1e-6
        )
    whole = embed(model, dataset, rows)
    for name in ("fused", "by_modality", "weights", "present", "labels", "rows"):
        wanted = getattr(whole, name)
        np.testing.assert_allclose(getattr(embedded(model, tokens), name), wanted, atol=1e-6)
    assert all(module.training for module in model.modules())


def test_every_subset_is_scored_and_every_recording_encoded_once(model, dataset) -> None:
    train, test = dataset.table.rows("train"), dataset.table.rows("test")
    known, asked = encode(model, dataset, train), encode(model, dataset, test)
    subsets = score_subsets(model, known, asked, dataset.table, SETTINGS)
    assert [subset.modalities for subset in subsets] == [
        ("fou",),
        ("kar",),
        ("mor",),
        ("fou", "kar"),
        ("fou", "mor"),
        ("kar", "mor"),
        ("fou", "kar", "mor"),
    ]
    assert sum(dataset.asked) == len(train) + len(test)
    assert [subset.n_queries for subset in subsets[:3]] == dataset.table.present[test].sum(
        axis=0
    ).tolist()
    assert subsets[-1].n_queries == len(test)
    assert all(
        subset.macro_f1.defined and subset.accuracy.defined and subset.map_at_r.defined
        for subset in subsets
    )
    assert subsets[0].macro_f1.value > subsets[2].macro_f1.value  # the strong view and the weak one


def test_a_modality_that_nobody_has_is_undefined_with_a_reason(
    model, make_table, as_dataset
) -> None:
    table = make_table(missing=0.0)
    gone = table.with_columns(mor=np.full(len(table), -1))
    known, asked = (encode(model, as_dataset(gone), gone.rows(name)) for name in ("train", "test"))
    subsets = score_subsets(model, known, asked, gone, SETTINGS)
    reasons = {subset.modalities: subset.macro_f1.reason for subset in subsets}
    assert reasons["mor",] == "no recording of the gallery has mor"
    assert reasons["fou", "mor"] == ""
    shares = shapley_values(subsets, 0.1)
    assert sum(share.value for share in shares.values()) == pytest.approx(
        subsets[-1].macro_f1.value - 0.1
    )
    assert shares["mor"].value == pytest.approx(0)  # it adds nothing to those that are there
    assert shares["fou"].reason.startswith("over 4 of 6 orders: the score of mor is undefined")


def subset(names: str, value: float) -> SubsetScore:
    return SubsetScore(tuple(names), 10, Score(value), Score(value), Score(value))


def test_shapley_values_by_hand() -> None:
    additive = [subset("a", 0.3), subset("b", 0.4), subset("ab", 0.6)]
    assert {
        name: score.value for name, score in shapley_values(additive, 0.1).items()
    } == pytest.approx({"a": 0.2, "b": 0.3})
    needs_both = [
        subset(*item)
        for item in (
            ("a", 0.0),
            ("b", 0.0),
            ("c", 0.0),
            ("ab", 0.9),
            ("ac", 0.0),
            ("bc", 0.0),
            ("abc", 0.9),
        )
    ]
    assert {
        name: score.value for name, score in shapley_values(needs_both, 0.0).items()
    } == pytest.approx({"a": 0.45, "b": 0.45, "c": 0.0})


def test_shapley_values_without_any_defined_order() -> None:
    nothing = SubsetScore(tuple("ab"), 0, *[Score.undefined("one class")] * 3)
    shares = shapley_values([subset("a", 0.3), subset("b", 0.4), nothing], 0.1)
    assert shares["a"].reason == "the score of a + b is undefined: one class"


def test_shapley_values_add_up(model, dataset) -> None:
    known, asked = (encode(model, dataset, dataset.table.rows(name)) for name in ("train", "test"))
    subsets = score_subsets(model, known, asked, dataset.table, SETTINGS)
    values = [score.value for score in shapley_values(subsets, 0.2).values()]
    assert sum(values) == pytest.approx(subsets[-1].macro_f1.value - 0.2)

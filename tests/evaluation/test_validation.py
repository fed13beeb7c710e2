import numpy as np
import pytest
import torch

from quadlib import bounds
from quadlib.evaluation.embed import embed
from quadlib.evaluation.validation import KnnValidator, skill
from quadlib.loss import SupConLoss


def test_figures_of_an_epoch(model, dataset, train_settings) -> None:
    figures = KnnValidator(train_settings)(model, dataset)
    skills = {f"val_skill.{name}" for name in dataset.modalities}
    scores = {"val_accuracy", "val_macro_f1", "val_macro_f1_error", "val_map_at_r", "val_excess"}
    assert set(figures) == scores | skills
    assert all(isinstance(value, float) for value in figures.values())
    assert figures["val_macro_f1"] > 0.5
    assert KnnValidator(train_settings)(model, dataset) == figures
    val = embed(model, dataset, dataset.table.rows("val"))
    loss = float(
        SupConLoss(train_settings.temperature)(
            torch.from_numpy(val.fused).double(), torch.from_numpy(val.labels)
        )
    )
    assert figures["val_excess"] == pytest.approx(
        loss - bounds.floor([5, 5, 5], train_settings.temperature, kind="counts")
    )
    assert figures["val_excess"] > 0


def test_one_class_leaves_scores_out_but_not_the_excess(
    model, train_settings, make_table, as_dataset
) -> None:
    table = make_table()
    frame = table.frame.assign(
        split=np.where(
            (table.frame["split"] == "val") & (table.codes != 2), "test", table.frame["split"]
        )
    )
    figures = KnnValidator(train_settings)(
        model, as_dataset(table.with_columns(split=frame["split"]))
    )
    assert set(figures) == {"val_map_at_r", "val_excess"}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_modality_that_a_split_lacks_has_no_skill(
    model, train_settings, make_table, as_dataset, split
) -> None:
    table = make_table()
    table = table.take(np.flatnonzero(table.frame["fou"] >= 0))  # no recording is left bare
    lacks = np.where(table.frame["split"] == split, -1, table.frame["kar"])
    figures = KnnValidator(train_settings)(model, as_dataset(table.with_columns(kar=lacks)))
    assert "val_skill.kar" not in figures and "val_skill.fou" in figures


def test_an_empty_split_is_refused(model, train_settings, make_table, as_dataset) -> None:
    table = make_table()
    bare = table.with_columns(split=table.frame["split"].replace("val", "test"))
    with pytest.raises(ValueError, match="val split holds no recordings.*fractions"):
        KnnValidator(train_settings)(model, as_dataset(bare))


def test_skill_is_balanced_accuracy_between_chance_and_right() -> None:
    codes = np.repeat([0, 1, 2], [60, 30, 10])
    alone = np.arange(100)
    assert skill(codes, codes, alone) == pytest.approx(1.0)
    assert skill(codes, np.zeros(100, int), alone) == 0.0
    right = np.where(alone % 2 == 0, codes, 0)  # of classes 1 and 2 half are taken for 0
    assert skill(codes, right, alone) == pytest.approx(0.5)
    assert skill(np.zeros(5, int), np.zeros(5, int), alone[:5]) is None


def test_chance_has_no_skill_whatever_it_prefers_and_sessions_count_once() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        by_session = random.integers(0, 3, 12)
        codes, sessions = np.repeat(by_session, 20), np.repeat(np.arange(12), 20)
        guesses = np.repeat(random.choice(3, 12, p=[0.7, 0.2, 0.1]), 20)
        found.append([skill(codes, guesses, sessions), skill(codes, guesses, np.arange(240))])
    by_sessions, by_recordings = (np.array(found) > 0).mean(axis=0)
    assert by_sessions < 0.1 < 0.3 < by_recordings

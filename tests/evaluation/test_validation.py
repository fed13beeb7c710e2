import numpy as np
import pytest
import torch

from quadlib import bounds
from quadlib.evaluation.embed import embed
from quadlib.evaluation.validation import KnnValidator
from quadlib.loss import SupConLoss


def test_figures_of_an_epoch(model, dataset, train_settings) -> None:
    figures = KnnValidator(train_settings)(model, dataset)
    assert set(figures) == {"val_accuracy", "val_macro_f1", "val_map_at_r", "val_excess"}
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


def test_an_empty_split_is_refused(model, train_settings, make_table, as_dataset) -> None:
    table = make_table()
    bare = table.with_columns(split=table.frame["split"].replace("val", "test"))
    with pytest.raises(ValueError, match="val split holds no recordings.*fractions"):
        KnnValidator(train_settings)(model, as_dataset(bare))

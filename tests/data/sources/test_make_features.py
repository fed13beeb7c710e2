from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quadlib.data.open import open_source
from quadlib.data.samples import TableError
from quadlib.data.sources.make_features import draft_features

GERMAN = "Messung;Schicht;Klasse;Spannung [V];Bauteil\n" + "".join(
    f"M{row:02d};{row // 4};{'gut' if row % 2 else 'Riß'};1.{row:03d},25;A{row}\n"
    for row in range(8)
)


def test_columns_of_numbers_are_features_and_the_rest_information(tmp_path):
    path = tmp_path / "messungen.csv"
    path.write_bytes(GERMAN.encode("cp1252"))
    made = draft_features(path, label="Klasse", sample_id="Messung", group="Schicht")
    assert made.arrays["features"].tolist() == [[1000.25 + row] for row in range(8)]
    assert made.arrays["y"].tolist()[:2] == ["Riß", "gut"]
    assert "features are the columns Spannung [V]" in made.notes
    assert "columns kept as information: Bauteil" in made.notes
    (tmp_path / "made.npz").write_bytes(made.to_npz())
    table = open_source("table", tmp_path / "made.npz")
    assert list(table.modalities) == ["features"]
    assert table.frame["sample_id"].tolist()[7] == "M07"
    assert table.frame["group"].tolist() == ["0"] * 4 + ["1"] * 4


def test_lists_of_numbers_in_parquet_are_a_modality_each(tmp_path):
    frame = pd.DataFrame(
        {
            "emotion": ["sad", "happy"] * 3,
            "wav2vec": [np.arange(4.0) + row for row in range(6)],
            "age": [20, None, 22, 23, 24, 25],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    made = draft_features(tmp_path / "a.parquet", label="emotion")
    assert made.arrays["wav2vec"].shape == (6, 4)
    assert np.isnan(made.arrays["features"][1, 0])  # missing, and said when it is read
    left = draft_features(tmp_path / "a.parquet", label="emotion", leave_out=["age"])
    assert "features" not in left.arrays
    assert left.arrays["age"].tolist()[:2] == ["20.0", ""]


def test_a_table_without_labels_names_the_columns_that_may_hold_them(tmp_path):
    path = tmp_path / "messungen.csv"
    path.write_bytes(GERMAN.encode("cp1252"))
    with pytest.raises(TableError, match=r"by --label \(perhaps Schicht or Klasse\)"):
        draft_features(path)
    with pytest.raises(TableError, match="label: no column 'klasse'; the table has Messung"):
        draft_features(path, label="klasse")


def test_information_has_names_that_an_archive_may_have(tmp_path):
    text = "label,x,a/b,a b,y\n" + "".join(
        f"{row % 2},{row},p{row},q{row},r{row}\n" for row in range(4)
    )
    (tmp_path / "a.csv").write_text(text)
    made = draft_features(tmp_path / "a.csv")
    assert sorted(made.arrays) == ["column0", "column1", "column2", "features", "y"]
    assert made.arrays["y"].tolist() == ["0", "1", "0", "1"]

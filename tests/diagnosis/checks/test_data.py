"""Data: contents, classes, numbers, files and units; measured data with all their oddities stay
silent.
"""

from __future__ import annotations

import struct
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from quadlib.data.open import open_source
from quadlib.diagnosis import Subject, diagnose
from quadlib.diagnosis.checks.data.units import header_rate
from quadlib.diagnosis.limits import Limits


def test_a_healthy_table_is_silent(make_table, roots):
    assert roots(table=make_table()) == []


def test_zeros_for_files_that_could_not_be_read(make_table, examined):
    def edit(frame, arrays):
        arrays["audio"][5:45] = 0

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots] == ["QL-D01"]
    assert (
        result.roots[0].scope == "audio"
        and "40 of 400" in result.roots[0].title
        and "r0005" in result.roots[0].where
    )


def test_a_masked_modality_is_no_fault(make_table, roots):
    def edit(frame, arrays):
        arrays["audio"][5:45] = 0
        frame.loc[5:44, "audio"] = -1

    assert roots(table=make_table(edit=edit)) == []


def test_content_of_another_recording(make_table, examined):
    def edit(frame, arrays):
        arrays["audio"][5:15] = arrays["audio"][4]

    root = examined(table=make_table(edit=edit)).roots[0]
    assert root.code == "QL-D01" and root.severity == "error" and "11 samples share" in root.title


def test_zeros_in_decoded_arrays_of_a_dataset(make_table, examined):
    table = make_table()
    frames = np.random.default_rng(0).integers(0, 255, (400, 4, 20, 20), dtype=np.uint8)
    frames[10:40] = 0
    store = SimpleNamespace(arrays={"video": frames}, present=np.ones((400, 1), dtype=bool))
    loader = SimpleNamespace(dataset=SimpleNamespace(store=store))
    root = examined(table=table.frame, loader=loader, phases=["before"]).roots[0]
    assert root.code == "QL-D01" and root.scope == "video" and "30 of 400" in root.title


def test_a_label_among_the_features(make_table, examined, roots):
    def edit(frame, arrays):
        codes = pd.factorize(frame["label"])[0]
        arrays["sensor"][:, 2] = 3.0 * codes + 1

    root = examined(table=make_table(edit=edit)).roots[0]
    assert root.code == "QL-D22" and "column 2 of the features" in root.title

    def show(frame, arrays):  # the class, with the spread of what is measured
        codes = pd.factorize(frame["label"])[0]
        arrays["sensor"][:, 2] = codes + np.random.default_rng(0).normal(0, 1e-3, len(codes))

    assert roots(table=make_table(edit=show)) == []


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "__MACOSX", "lost+found", "Thumbs.db"])
def test_junk_class(make_table, examined, name):
    def edit(frame, arrays):
        frame.loc[:2, "label"] = name

    result = examined(table=make_table(edit=edit))
    assert result.roots[0].code == "QL-D02" and repr(name) in result.roots[0].title


def test_declared_class_without_recordings(roots):
    loader = SimpleNamespace(dataset=SimpleNamespace(classes=["a", "b", "c"]))
    assert roots(labels=["a", "b"] * 20, loader=loader, phases=["before"]) == ["QL-D17"]
    loader = SimpleNamespace(dataset=SimpleNamespace(classes=[".git", "a", "b"]))
    assert roots(labels=["a", "b"] * 20, loader=loader, phases=["before"]) == ["QL-D02"]


def test_copies_in_train(make_table, examined):
    table = make_table()
    train = table.rows("train")

    def edit(frame, arrays):
        for array in arrays.values():
            array[train[100:140]] = array[train[:40]]
        frame["label"] = frame["label"].to_numpy()

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots if root.severity != "note"] == ["QL-D03"]
    assert "40 of" in result.roots[0].title


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite(make_table, examined, value):
    def edit(frame, arrays):
        arrays["sensor"][7, 3] = value

    result = examined(table=make_table(edit=edit))
    assert result.roots[0].code == "QL-D06" and "first r0007" in result.roots[0].title


def test_two_units(make_table, examined, roots):
    def edit(frame, arrays):
        arrays["sensor"] += 30
        arrays["sensor"][frame["group"].isin([f"s{number}" for number in range(0, 50, 2)])] *= (
            9.80665
        )

    result = examined(table=make_table(edit=edit))
    assert [root.code for root in result.roots] == ["QL-D04"] and "g against m/s2" in result.roots[
        0
    ].title

    def louder_class(frame, arrays):
        arrays["sensor"] += 30
        arrays["sensor"][frame["label"] == "class 0"] *= 9.80665

    assert roots(table=make_table(edit=louder_class)) == []


def wav(path, rate: int, samples: int = 400, seed: int = 0) -> str:
    data = np.random.default_rng(seed).integers(-999, 999, samples, dtype=np.int16).tobytes()
    path.write_bytes(
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )
    return str(path)


def test_sample_rates_by_header(tmp_path, examined):
    paths = [
        wav(tmp_path / f"{row}.wav", 44100 if row % 3 else 16000, seed=row) for row in range(24)
    ]
    frame = pd.DataFrame({"path": paths, "label": ["a", "b"] * 12})
    assert header_rate(paths[0]) == 16000
    root = examined(table=frame, settings={"sample_rate_hz": 16000}).roots[0]
    assert (
        root.code == "QL-D04"
        and root.severity == "error"
        and "44100 Hz where 16000 Hz is declared" in root.title
    )
    assert examined(table=frame.iloc[::3], settings={"sample_rate_hz": 16000}).ok


def test_files_that_are_missing_or_empty(tmp_path, examined):
    paths = [wav(tmp_path / f"{row}.wav", 16000, seed=row) for row in range(8)]
    (tmp_path / "3.wav").unlink()
    (tmp_path / "4.wav").write_bytes(b"")
    result = examined(table=pd.DataFrame({"path": paths, "label": ["a", "b"] * 4}))
    assert [root.title for root in result.roots] == [
        "1 files of path do not exist",
        "1 files of path are empty (0 bytes)",
    ]


def test_copied_files_by_head_and_tail_and_in_full(tmp_path, examined):
    """Files that differ in the middle alone are told apart, and those that do not are copies; what
    there was no time for is listed as not run.
    """
    body = np.random.default_rng(0).integers(0, 255, 50_000, dtype=np.uint8)
    paths = []
    for row in range(8):
        body[25_000] = row
        (tmp_path / f"{row}.bin").write_bytes(body.tobytes())
        paths.append(str(tmp_path / f"{row}.bin"))
    frame = pd.DataFrame({"path": paths, "label": ["a"] * 4 + ["b"] * 4, "split": ["train"] * 8})
    assert examined(table=frame).ok and examined(table=frame, deep=True).ok
    (tmp_path / "7.bin").write_bytes((tmp_path / "0.bin").read_bytes())
    assert "QL-L10" in [item.code for item in examined(table=frame).findings]
    hurried = diagnose(Subject(table=frame), phases=("before",), limits=Limits(file_seconds=-1.0))
    assert any("whole files" in name and "--deep" in reason for name, reason in hurried.not_run)


def test_measured_data_stay_silent(roots):
    """The digits hold a stray copy and invariant moments that coincide in pairs: notes at most."""
    assert roots(table=open_source("mfeat")) == []


def test_a_table_of_4040_rows_takes_less_than_a_second(make_table):
    table = make_table(4040, classes=12)
    diagnose(Subject(table=table), phases=["before"])
    started = time.process_time()
    diagnose(Subject(table=table), phases=["before"])
    assert (
        time.process_time() - started < 3
    )  # below 1 s on a free core; the bound leaves room for a busy machine

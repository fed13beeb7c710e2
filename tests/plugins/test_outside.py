"""A kind with its encoder and a source, one file each outside the package: read, trained, diagnosed
and evaluated with no change in quadlib.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from quadlib.config import EvaluateSettings, SettingsError, TrainSettings, read_settings
from quadlib.data.kinds import Kind
from quadlib.data.samples import TableError
from quadlib.evaluation import KnnValidator
from quadlib.evaluation.evaluate import Evaluation, evaluate
from quadlib.registry import KINDS
from quadlib.runs import Run
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer
from quadlib.training.watcher import diagnose_run

COUNT, CLASSES = 96, ("ball", "rod", "disc")
STRETCH = np.array([[1, 1, 1], [0.2, 0.2, 3], [2, 2, 0.1]])


def settings_of(source: str, path: Path, outputs: Path, **more) -> TrainSettings:
    return read_settings(
        TrainSettings,
        {
            "source": source,
            "path": str(path),
            "outputs": str(outputs),
            "run": "r",
            "split": "grouped",
            "epochs": 2,
            "batch_size": 24,
            "width": 16,
            "embedding_dim": 8,
            "fusion_heads": 2,
            "device": "cpu",
            **more,
        },
    )


def write_clouds(folder: Path) -> Path:
    """A table of 96 point clouds of three shapes in 24 sessions, with two features each."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        code = number % len(CLASSES)
        points = random.normal(size=(60 + number % 7, 3)) * STRETCH[code]
        np.savetxt(folder / f"{number}.xyz", points, fmt="%.4f")
        np.save(folder / f"{number}.npy", random.normal(code, 1, 2))
        rows.append(
            (f"r{number}", CLASSES[code], f"s{number // 4}", f"{number}.xyz", f"{number}.npy")
        )
    with open(folder / "clouds.csv", "w", newline="") as file:
        csv.writer(file).writerows([("sample_id", "label", "group", "scan", "features"), *rows])
    return folder / "clouds.csv"


def trained_and_judged(settings: TrainSettings) -> tuple[Run, Evaluation]:
    run = Run.create(settings)
    trainer = Trainer(open_dataset(settings), settings, run, validator=KnnValidator(settings))
    trainer.fit()
    diagnosis = diagnose_run(restore(run))
    assert diagnosis.ok and not diagnosis.findings, diagnosis.to_text()
    losses = [line["loss"] for line in run.history() if line["kind"] == "epoch"]
    assert len(losses) == 2 and np.isfinite(losses).all()
    scores = evaluate(run, EvaluateSettings(outputs=settings.outputs, run="r", resamples=20))
    return run, scores


def test_a_point_cloud_is_decoded_trained_diagnosed_and_evaluated(install, tmp_path):
    install("point_cloud")
    settings = settings_of("table", write_clouds(tmp_path), tmp_path / "outputs")
    dataset = open_dataset(settings)
    scan = dataset.table.modalities["scan"]
    assert (scan.kind, dataset.table.modalities["features"].kind) == ("point_cloud", "vector")
    assert dataset.store.arrays["scan"].shape == (COUNT, 48, 3)
    mean, deviation = dataset.normaliser.statistics["scan"]
    assert mean.shape == deviation.shape == (1, 3)
    run, scores = trained_and_judged(settings)
    assert type(restore(run).model.encoders["scan"]).__name__ == "PointEncoder"
    assert scores.scores["macro_f1"].value > 0.5


def test_its_numbers_are_part_of_the_stored_arrays_name(install, tmp_path):
    install("point_cloud")
    settings = settings_of("table", write_clouds(tmp_path), tmp_path / "outputs")
    open_dataset(settings)
    kind = replace(KINDS["point_cloud"], constants={"points": 47})
    KINDS.register("point_cloud", kind, replace=True)
    open_dataset(settings)
    assert len(list((tmp_path / "outputs" / "store").glob("scan-*"))) == 2


def test_its_damage_is_reported_like_any_other(install, tmp_path):
    install("point_cloud")
    table = write_clouds(tmp_path)
    (tmp_path / "5.xyz").write_text("1 2\n3 4\n")
    with pytest.raises(TableError, match="5.xyz: has 2 columns, x, y and z were expected"):
        open_dataset(settings_of("table", table, tmp_path / "outputs"))


def test_an_hdf5_source_is_trained_diagnosed_and_evaluated(install, tmp_path):
    install("hdf5_source")
    random = np.random.default_rng(0)
    code = np.arange(COUNT) % len(CLASSES)
    with h5py.File(tmp_path / "welds.h5", "w") as file:
        file["label"] = [CLASSES[each] for each in code]
        file["session"] = [f"s{number // 4}" for number in range(COUNT)]
        file["force"] = (random.normal(size=(COUNT, 2, 40)) + code[:, None, None]).astype("f4")
        file["pose"] = (random.normal(size=(COUNT, 6)) + code[:, None]).astype("f4")
    settings = settings_of("hdf5", tmp_path / "welds.h5", tmp_path / "outputs", seed=3)
    table = open_dataset(settings).table
    assert {name: each.kind for name, each in table.modalities.items()} == {
        "force": "series",
        "pose": "vector",
    }
    assert table.frame["sample_id"][0] == f"r{np.random.default_rng(3).permutation(COUNT)[0]}"
    _, scores = trained_and_judged(settings)
    assert scores.scores["macro_f1"].value > 0.5


def test_a_source_that_is_not_installed_is_refused_with_the_other_settings(tmp_path):
    with pytest.raises(SettingsError, match="2 settings are wrong") as error:
        settings_of("hdf5", tmp_path / "welds.h5", tmp_path, epochs=0)
    assert "no source 'hdf5'; known are weldsim, intel_weld, mfeat, table" in str(error.value)


def test_a_decoder_that_no_other_process_can_import_is_refused_at_once():
    with pytest.raises(ValueError, match="define it at the top of a module"):
        Kind(axes=("d",), encoder="vector", decode=lambda job: None)

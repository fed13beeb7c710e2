"""Parquet, Excel, MATLAB and numpy files, in the types that people's programs write."""

import io
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io

from .case import COUNT, LABELS, SPLITS, Case, Made, listed, opened, table
from .logs import Truth, logs, readings

CASES: list[Case] = []


def parquet(
    folder: Path, columns, names: tuple[str, str] = ("current", "voltage"), seconds: float = 4.0
) -> Made:
    """Logs as parquet; `columns(truth)` gives the arrow columns."""

    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=seconds)
        pq.write_table(pa.table(columns(truth)), path)
        return Truth(truth.seconds, dict(zip(names, truth.channels.values(), strict=True)))

    return logs(folder, write, "parquet")


@listed(CASES, source="pandas to_parquet of a frame with a time zone")
def parquet_time_zone(folder: Path) -> Made:
    def columns(truth: Truth) -> dict[str, Any]:
        stamps = pd.Timestamp("2023-10-29 00:58:00", tz="Europe/Berlin") + pd.to_timedelta(
            truth.seconds, "s"
        )
        return {"time": pa.array(stamps), **truth.channels}

    return parquet(folder, columns, seconds=240)


@listed(CASES, source="databases: DECIMAL(18, 4)")
def parquet_decimal(folder: Path) -> Made:
    def columns(truth: Truth) -> dict[str, Any]:
        cells = [Decimal(f"{v:.4f}") for v in truth.channels["current"]]
        return {
            "time_s": truth.seconds,
            "current": pa.array(cells, pa.decimal128(18, 4)),
            "voltage": truth.channels["voltage"],
        }

    return parquet(folder, columns)


@listed(CASES, source="pyarrow: dictionary-encoded floats")
def parquet_dictionary(folder: Path) -> Made:
    def columns(truth: Truth) -> dict[str, Any]:
        return {
            "time_s": truth.seconds,
            "current": pa.array(truth.channels["current"]).dictionary_encode(),
            "voltage": truth.channels["voltage"],
        }

    return parquet(folder, columns)


@listed(CASES, source="edge devices: int8 and float16 columns with nulls")
def parquet_small_types_with_nulls(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        steps = np.round(truth.channels["current"] * 3).astype(np.int8)
        hidden = np.zeros(240, bool)
        hidden[100:105] = True
        columns = {
            "time_s": truth.seconds, "current": pa.array(steps, mask=hidden),
            "voltage": pa.array(truth.channels["voltage"].astype(np.float16)),
        }  # fmt: skip
        pq.write_table(pa.table(columns), path)
        return Truth(
            truth.seconds, {"current": steps.astype(float), "voltage": truth.channels["voltage"]}
        )

    return logs(folder, write, "parquet")


@listed(
    CASES, source="pandas: the clock is the index, written as __index_level_0__ or under its name"
)
def parquet_clock_in_the_index(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number, seconds=240)
        index = pd.Timestamp("2023-06-04 14:37:48") + pd.to_timedelta(truth.seconds, "s")
        pd.DataFrame(truth.channels, index=index).to_parquet(path)
        return truth

    return logs(folder, write, "parquet")


@listed(CASES, source="pandas: timedelta64 as the clock")
def parquet_timedelta(folder: Path) -> Made:
    def columns(truth: Truth) -> dict[str, Any]:
        return {"elapsed": pa.array(pd.to_timedelta(truth.seconds, "s")), **truth.channels}

    return parquet(folder, columns)


@listed(
    CASES,
    "right or refused",
    says=r"log0\.parquet|samples|nested|list",
    source="Hugging Face audio/sensor sets: one row, its cells are lists",
)
def parquet_nested_lists(folder: Path) -> Made:
    def columns(truth: Truth) -> dict[str, Any]:
        return {
            "current": [truth.channels["current"].tolist()],
            "voltage": [truth.channels["voltage"].tolist()],
        }

    return parquet(folder, columns)


@listed(CASES, "refused", says=r"(?i)log0\.xlsx|xlsx", source="Excel workbooks as logs")
def xlsx_as_a_log(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        path.write_bytes(
            workbook([["time_s", "current"], *[[n / 10, n * (number + 1)] for n in range(50)]])
        )
        return Truth(np.arange(50) / 10, {"current": np.arange(50) * (number + 1.0)})

    return logs(folder, write, "xlsx")


@listed(CASES, "refused", says=r"(?i)log0\.csv.*", source="a workbook that was renamed to .csv")
def xlsx_renamed_csv(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        path.write_bytes(
            workbook([["time_s", "current"], *[[n / 10, n * (number + 1)] for n in range(50)]])
        )
        return Truth(np.arange(50) / 10, {"current": np.arange(50) * (number + 1.0)})

    return logs(folder, write, "csv")


def workbook(cells: list[list[Any]]) -> bytes:
    """A minimal .xlsx of one sheet."""
    body = "".join(
        "<row>"
        + "".join(
            f'<c t="inlineStr"><is><t>{v}</t></is></c>'
            if isinstance(v, str)
            else f"<c><v>{v}</v></c>"
            for v in row
        )
        + "</row>"
        for row in cells
    )
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", f"<workbook {space}/>")
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f"<worksheet {space}><sheetData>{body}</sheetData></worksheet>",
        )
    return out.getvalue()


@listed(
    CASES,
    source="MATLAB save -v6/-v7: a time vector and two columns, names as they were in the workspace",
)
def mat_vectors(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        scipy.io.savemat(
            path,
            {"t": truth.seconds[:, None], **{k: v[:, None] for k, v in truth.channels.items()}},
        )
        return truth

    return logs(folder, write, "mat")


@listed(
    CASES,
    source="PicoScope 6 user's guide: .mat with Tstart, Tinterval, Length and A, B",
    good="right or refused",
    says=r"log0\.mat",
)
def mat_picoscope(folder: Path) -> Made:
    def write(path: Path, number: int) -> Truth:
        truth = readings(number)
        scipy.io.savemat(path, {"Tstart": -2.0, "Tinterval": 4 / 240, "Length": 240, "A": truth.channels["current"][:, None].astype("f4"),
                                "B": truth.channels["voltage"][:, None].astype("f4")}, format="4")  # fmt: skip
        return Truth(
            truth.seconds,
            {"A": truth.channels["current"], "B": truth.channels["voltage"]},
            clocked=False,
        )

    return logs(folder, write, "mat")


def vectors(folder: Path, save, ending: str = "npy") -> Made:
    """Eight vectors of 16 numbers, written by `save(path, values)`."""
    truth = np.random.default_rng(5).normal(size=(COUNT, 16)).round(2)
    names = [f"v{number}.{ending}" for number in range(COUNT)]
    for name, values in zip(names, truth, strict=True):
        save(folder / name, values)
    return Made(table(folder, {"vec": names}), lambda dataset, words: _same(dataset, truth))


def _same(
    dataset: Any, truth: np.ndarray, modality: str = "vec", tolerance: float = 0.01
) -> list[str]:
    array = np.asarray(dataset.store.arrays[modality])
    ids = dataset.table.frame["sample_id"].tolist()
    order = [ids.index(f"r{number}") for number in range(COUNT)]
    if array.shape != truth.shape:
        return [f"{modality} has shape {array.shape}, not {truth.shape}"]
    off = np.abs(array[order].astype(float) - truth).max()
    return [] if off <= tolerance else [f"{modality} is off by {off:.4g}"]


@listed(CASES, source="instruments and Fortran programs: big-endian")
def npy_big_endian(folder: Path) -> Made:
    return vectors(folder, lambda path, values: np.save(path, values.astype(">f8")))


@listed(CASES, source="GPU programs: float16")
def npy_float16(folder: Path) -> Made:
    return vectors(folder, lambda path, values: np.save(path, values.astype(np.float16)))


@listed(CASES, "refused", says=r"v0\.npy.*", source="np.save of a ragged list: pickled objects")
def npy_objects(folder: Path) -> Made:
    return vectors(
        folder, lambda path, values: np.save(path, np.array([*values, None], dtype=object))
    )


@listed(CASES, "refused", says=r"v0\.npy.*complex", source="an FFT saved as it came: complex128")
def npy_complex(folder: Path) -> Made:
    return vectors(folder, lambda path, values: np.save(path, values + 1j * values[::-1]))


@listed(CASES, source="structured arrays with named fields: each field is a channel")
def npy_structured(folder: Path) -> Made:
    made = vectors(
        folder,
        lambda path, values: np.save(path, np.rec.fromarrays([values, values * 2], names="a,b")),
    )
    truth = np.random.default_rng(5).normal(size=(COUNT, 16)).round(2)
    return Made(
        made.settings, lambda dataset, words: _same(dataset, np.stack([truth, 2 * truth], 1))
    )


@listed(
    CASES,
    source="embeddings saved with a batch axis of one: (1, d)",
    good="right or refused",
    says=r"v0\.npy|\(1, 16\)|series",
)
def npy_with_batch_axis(folder: Path) -> Made:
    return vectors(folder, lambda path, values: np.save(path, values[None]))


def stacked(folder: Path, compare, **arrays: Any) -> Made:
    np.savez(
        folder / "set.npz",
        **(
            {
                "y": np.array(LABELS),
                "split": np.array(SPLITS),
                "sample_id": np.array([f"r{n}" for n in range(COUNT)]),
                "group": np.array([f"r{n}" for n in range(COUNT)]),
            }
            | arrays
        ),
    )
    return Made(opened(folder / "set.npz"), compare)


@listed(CASES, source="MATLAB and Julia order: Fortran")
def npz_fortran_order(folder: Path) -> Made:
    truth = np.random.default_rng(6).normal(size=(COUNT, 2, 300)).cumsum(axis=2)
    return stacked(
        folder,
        lambda dataset, words: _same(dataset, truth, "acc", 1e-3),
        acc=np.asfortranarray(truth),
    )


@listed(CASES, source="ADC counts as int16 in an .npz; large levels must not wrap")
def npz_int16_counts(folder: Path) -> Made:
    truth = np.random.default_rng(7).integers(-32768, 32767, (COUNT, 2, 300)).astype(np.int16)
    return stacked(
        folder, lambda dataset, words: _same(dataset, truth.astype(float), "acc", 1), acc=truth
    )


@listed(CASES, source="labels as integers of 8 bits or as floats 0.0, 1.0")
def npz_labels_as_floats(folder: Path) -> Made:
    truth = np.random.default_rng(8).normal(size=(COUNT, 16))

    def compare(dataset: Any, words: str) -> list[str]:
        names = dataset.table.class_names
        return _same(dataset, truth, "vec", 1e-5) + (
            [] if names == ("0", "1") else [f"classes {names}"]
        )

    return stacked(folder, compare, y=np.array([0.0, 1.0] * 4, dtype=np.float32), vec=truth)


@listed(CASES, "refused", says=r"y|one.hot|\(8, 2\)", source="Keras: labels one-hot")
def npz_labels_one_hot(folder: Path) -> Made:
    truth = np.random.default_rng(9).normal(size=(COUNT, 16))
    return stacked(
        folder, lambda dataset, words: _same(dataset, truth), y=np.eye(2)[[0, 1] * 4], vec=truth
    )


@listed(
    CASES,
    source="(n, H, W, 3) images, channels last, as Keras has them",
    good="refused",
    says=r"photo.*\(8, 48, 96, 3\)|shape|axes",
)
def npz_images_channels_last(folder: Path) -> Made:
    photo = np.random.default_rng(10).integers(0, 255, (COUNT, 48, 96, 3), dtype=np.uint8)
    return stacked(folder, lambda dataset, words: ["read"], photo=photo)


@listed(CASES, source="NaN in features", good="refused", says=r"(?i)nan|finite")
def npz_with_nan(folder: Path) -> Made:
    truth = np.random.default_rng(11).normal(size=(COUNT, 16))
    truth[3, 2] = np.nan
    return stacked(folder, lambda dataset, words: [], vec=truth)

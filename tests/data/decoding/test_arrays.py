"""An archive gets no more memory than the bytes that it holds."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from quadlib.data.decoding import expansion
from quadlib.data.decoding.arrays import read_npz
from quadlib.data.decoding.damage import DamageError
from quadlib.data.samples import TableError
from quadlib.data.sources.archive import read_archive


def archive(path, shape, content, compression=zipfile.ZIP_STORED, kind="<f4"):
    """An .npz whose array `a` declares a shape and holds the content."""
    header = io.BytesIO()
    fields = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a.npy", header.getvalue() + content)
    return path


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
@pytest.mark.parametrize("compressed", [False, True])
def test_what_numpy_wrote_is_read(tmp_path, compressed):
    path = tmp_path / "a.npz"
    written = {"y": np.array(["a", "b"]), "x": np.asfortranarray(np.eye(3)), "s": np.float32(2)}
    written["third"] = np.zeros(3, dtype=[("電流", "<f4"), ("t", "<f8")])
    (np.savez_compressed if compressed else np.savez)(path, **written)
    read, problems = read_npz(path)
    assert problems == [] and list(read) == list(written)
    assert all(np.array_equal(read[name], written[name]) for name in written)


@pytest.mark.parametrize("shape", [(10**12,), (100, 2**61), (150,)])
def test_a_shape_that_the_file_does_not_hold_is_named_and_the_rest_read(tmp_path, shape):
    path = archive(tmp_path / "a.npz", shape, bytes(400))
    with zipfile.ZipFile(path, "a") as file, file.open("y.npy", "w") as entry:
        np.lib.format.write_array(entry, np.arange(3))
    read, [problem] = read_npz(path)
    assert list(read) == ["y"]
    assert problem.startswith(f"a declares {4 * np.prod(shape, dtype=object)} bytes and has 400:")
    with pytest.raises(TableError, match="a declares"):
        read_archive(path)


def test_zeros_that_expand_a_thousandfold_are_refused_before_they_do(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.npz", (3 * 10**6,), bytes(3 * 10**6), zipfile.ZIP_DEFLATED, "|u1")
    assert len(read_npz(path)[0]["a"]) == 3 * 10**6  # so few may
    monkeypatch.setattr(expansion, "FREE_BYTES", 2**20)
    with pytest.raises(DamageError, match=r"would expand \d\d\d-fold, to 3 MiB; .*numpy.savez"):
        read_npz(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"PK", "is not a readable .npz file"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr':'<f4'}\n", "is not a readable .npz file"),
    ],
)
def test_what_is_no_archive_is_named(tmp_path, content, words):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DamageError, match=words):
        read_npz(path)


def test_other_compressions_and_pickles_are_refused(tmp_path):
    path = archive(tmp_path / "a.npz", (100,), bytes(400), zipfile.ZIP_LZMA)
    with pytest.raises(DamageError, match="compressed as numpy never does"):
        read_npz(path)
    np.savez(path, a=np.array([{}, None], dtype=object))
    assert "pickle" in read_npz(path)[1][0]

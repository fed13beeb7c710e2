"""Files of a stranger: each is refused, none runs, opens a socket or takes gigabytes."""

from __future__ import annotations

import io
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from quadlib.config import MediaSettings, TrainSettings, read_settings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.data.sources import tabular
from quadlib.data.sources.archive import read_archive
from quadlib.files import read_record
from quadlib.registry import KINDS
from quadlib.runs import Run
from quadlib.training.checkpoint import load_checkpoint
from tests.data.decoding.test_hostile import CONTENTS, PROGRAM
from tests.soak.world import start, wait

MOST_BYTES = 500 * 2**20  # above what the process had, for refusing any of them


class Reduced:
    """What a pickle makes of a name and its arguments."""

    def __init__(self, *how: object) -> None:
        self.how = how

    def __reduce__(self) -> tuple:
        return self.how


def cases(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name, and what must raise an error of quadlib's own."""
    canary = folder / "canary"
    code = Reduced(eval, (f"open({str(canary)!r}, 'w')",))
    bombs = {
        "code": code,
        "repeated tensor": torch.zeros(1).expand(10**9),
        "bytearray": Reduced(bytearray, (3 * 10**9,)),
        "tensor of a size": Reduced(torch.Tensor, (10**9,)),
    }
    for name, bomb in bombs.items():
        path = folder / f"{name}.pth"
        torch.save({"format": 1, "model": bomb}, path)
        yield f"checkpoint: {name}", lambda path=path: load_checkpoint(path)
    for name, shape, kind in (
        ("declares petabytes", (10**12,), "<f4"),
        ("declares nothing real", (100, 2**61), "<f4"),
        ("pickles", (1,), "|O"),
    ):
        path = folder / f"{name}.npz"
        header = io.BytesIO()
        fields = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, fields)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("y.npy", header.getvalue() + bytes(400))
        yield f"archive: {name}", lambda path=path: read_archive(path)
    path = folder / "zeros.npz"
    np.savez_compressed(path, y=np.zeros(10), a=np.zeros((10, 10**7)))
    yield "archive: zeros", lambda: read_archive(path)
    path = folder / "zeros.parquet"
    long = pa.DictionaryArray.from_arrays(np.zeros(8000, np.int32), ["x" * 2**20])
    pq.write_table(pa.table({"sample_id": long, "label": long}), path, store_schema=False)
    yield "table: one text of a megabyte 16,000 times", lambda: tabular.read(path)
    for name, text in CONTENTS.items():
        for ending, kind in (("avi", "video"), ("wav", "audio")):
            file = folder / f"{name}.{ending}"
            file.write_text(text)
            yield f"{kind}: {name}", lambda file=file, kind=kind: _decode(kind, file)
    nested = folder / "run.json"
    nested.write_text("[" * 10**6)
    yield "record: nested", lambda: read_record(nested, "run")
    for run in ("../up", "a\nb", "x" * 300, ".."):
        settings = read_settings(TrainSettings, {"run": run, "outputs": str(folder / "out")})
        yield f"run: {run[:9]!r}", lambda settings=settings: Run.create(settings)
    outside = read_settings(TrainSettings, {"outputs": "/dev/null/x"})
    yield "outputs: below a device", lambda: Run.create(outside)
    if canary.exists():
        raise AssertionError("code of a file was run")


def _decode(kind: str, path: Path) -> None:
    with WorkerPool(limit_seconds=20) as pool:
        for _, result in pool.decode_all([Job(kind, KINDS[kind].decode, (path,), MediaSettings())]):
            if isinstance(result, DamageError) and "its decoder" not in result.what:
                raise result


def _refused(read: Callable[[], object]) -> None:
    """Ends well where an error of quadlib's own is raised within the memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read()
    except Exception as error:
        own = type(error).__module__.startswith("quadlib.")
        taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if own and taken < MOST_BYTES:
            return
        raise
    raise AssertionError("it was read")


def hostile(folder: Path) -> tuple[int, list[str]]:
    """How many files there are, and those that were not refused as they must be."""
    names, read = [], []
    for name, reader in cases(folder):
        names.append(name)
        if wait(start(lambda reader=reader: _refused(reader))) != 0:
            read.append(name)
    if (folder / "canary").exists():
        read.append("code was run")
    return len(names), read


def sockets(folder: Path) -> str:
    """How many internet sockets FFmpeg opens for files that ask for them, where strace is there."""
    if shutil.which("strace") is None:
        return "unknown (no strace)"
    for number, text in enumerate(CONTENTS.values()):
        (folder / f"{number}.avi").write_text(text)
    log = folder / "calls"
    calls = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=socket,connect,bind"]
    subprocess.run([*calls, sys.executable, "-c", PROGRAM, str(folder)], capture_output=True)
    return str(sum("AF_INET" in line for line in log.read_text().splitlines()))

"""`python -m tests.data.fuzz [--files 2000] [--seed 0]`: mutated files of each kind, decoded as a
table decodes them; every one is read or is damage with its cause. Exit 1 where a decoder crashed or
hung, with the mutation that makes the file again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from nptdms import ChannelObject, TdmsWriter

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.decoding.job import Job
from quadlib.data.decoding.workers import WorkerPool
from quadlib.registry import KINDS
from tests.data.cases.media import CASES
from tests.data.cases.media_makers import make

HANG_SECONDS = 20.0
LARGE = ("megapixels", "1080", "192,000", "panorama")
LOGS = [
    "time_s,a,b\n" + "\n".join(f"{row / 10},{row * 7 % 31},{row % 7}" for row in range(60)),
    "Date,Time,x\n"
    + "\n".join(f"2023-04-06,10:05:{row:02d}.5,{row * 7 % 31}" for row in range(60)),
    "Zeit [s];Druck [bar]\n" + "\n".join(f"{row},5;{row * 7 % 31},25" for row in range(40)),
]
EVIL = [0, 1, 0x7F, 0x80, 0xFF]


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """A few faults of discs, transfers and writers: flips, cuts, holes, repeats, wild numbers."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        # Half of the faults fall into the first kilobyte, where the structure is.
        end = min(len(data), 1024) if random.random() < 0.5 else len(data)
        if not end:
            break
        at, length = int(random.integers(end)), int(random.integers(1, 65))
        match random.integers(7):
            case 0:
                data[at] ^= 1 << int(random.integers(8))
            case 1:
                data[at : at + length] = bytes(random.integers(0, 256, length, dtype=np.uint8))
            case 2:
                del data[at : len(data) if random.random() < 0.3 else at + length]
            case 3:
                data[at : at + length] = bytes(len(data[at : at + length]))
            case 4:
                data[at:at] = data[max(0, at - length) : at + length]
            case 5:
                data[at : at + 4] = bytes(random.choice(EVIL, 4).astype(np.uint8))
            case 6:
                other = int(random.integers(len(data)))
                data[at : at + length] = data[other : other + length]
    return bytes(data)


def seeds(kind: str, folder: Path) -> Iterator[Path]:
    """Healthy files of a kind."""
    if kind == "series":
        for number, text in enumerate(LOGS):
            path = folder / f"{number}.csv"
            path.write_text(text)
            yield path
        yield from laboratory(folder)
        return
    for number, (name, own, file, maker, right) in enumerate(CASES):
        if own == kind and not right.startswith("refused") and not any(s in name for s in LARGE):
            path = folder / str(number) / file
            path.parent.mkdir()
            make(maker, path)
            yield path


def laboratory(folder: Path) -> Iterator[Path]:
    """One HDF5 and one TDMS file."""
    times, values = np.arange(60) / 10, np.sin(np.arange(60.0))
    with h5py.File(folder / "log.h5", "w") as file:
        file["weld/time"], file["weld/flow"] = times, values
        file.create_dataset("weld/force", data=values, chunks=(20,), compression="gzip")
        file["weld/flow"].attrs["unit"] = "l/min"
    with TdmsWriter(str(folder / "log.tdms")) as file:
        timing = {"wf_increment": 0.1, "wf_start_offset": 0.0, "unit_string": "l/min"}
        channels = [ChannelObject("weld", name, values, timing) for name in ("flow", "force")]
        file.write_segment(channels)
        file.write_segment(channels)
    yield from (folder / "log.h5", folder / "log.tdms")


def fuzz(kind: str, files: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """How the mutated files of a kind ended, and what each crash or hang said."""
    healthy = list(seeds(kind, folder))
    settings = MediaSettings(image_views=1)
    jobs = []
    for number in range(files):
        source = healthy[number % len(healthy)]
        random = np.random.default_rng([seed, number])
        path = folder / f"mutated-{number}{source.suffix}"
        path.write_bytes(mutated(source.read_bytes(), random))
        jobs.append(Job(kind, KINDS[kind].decode, (path,), settings))
    counts: Counter[str] = Counter()
    faults = []
    with WorkerPool(limit_seconds=HANG_SECONDS) as pool:
        for position, result in pool.decode_all(jobs):
            if not isinstance(result, DamageError):
                counts["read"] += 1
            elif "its decoder" in result.what:
                counts["hung" if "did not end" in result.what else "crashed"] += 1
                source = healthy[position % len(healthy)].relative_to(folder)
                faults.append(f"{kind}: file {position} of {source}: {result.what}")
            else:
                counts["damage"] += 1
    return counts, faults


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("kinds", nargs="*", default=["video", "audio", "image", "series"])
    asked = parser.parse_args(arguments)
    every: list[str] = []
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as folder:
            counts, faults = fuzz(kind, asked.files, asked.seed, Path(folder))
        every += faults
        ends = ", ".join(f"{counts[end]} {end}" for end in ("read", "damage", "crashed", "hung"))
        print(f"{kind}: {asked.files} files: {ends}", flush=True)
    print("\n".join(every))
    return int(bool(every))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

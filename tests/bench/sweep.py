"""How much sooner a sweep of twelve mfeat runs is over on two workers than one after the other:
`make bench-sweep`, ten minutes on two cores that are otherwise idle. `--runs 4` is shorter.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRID = """
[fixed]
source = "mfeat"
epochs = 8
[grid]
seed = {seeds}
[limits]
threads = 1
"""


def swept(folder: Path, workers: int) -> float:
    """Seconds of the whole command; every point must be done."""
    outputs = folder / f"workers-{workers}"
    command = [sys.executable, "-m", "quadlib", "sweep", str(folder / "grid.toml")]
    command += ["--workers", str(workers), "--outputs", str(outputs)]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    with open(outputs / "grid" / "points.csv", newline="") as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"done"}
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    runs = parser.parse_args().runs
    print("load before: {:.1f} {:.1f} {:.1f}".format(*os.getloadavg()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "grid.toml").write_text(GRID.format(seeds=list(range(runs))))
        two, one = swept(folder, 2), swept(folder, 1)
    print(f"{runs} runs: {one:.0f} s one after the other, {two:.0f} s two at a time")
    print(f"{one / two:.2f} times as fast (target 1.7)")


if __name__ == "__main__":
    main()

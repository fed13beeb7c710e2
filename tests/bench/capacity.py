"""How far one machine carries: seconds, memory and disk from a thousand recordings to a million,
each measured in a process of its own.

`python tests/bench/capacity.py` makes tables of four vectors of 64 features a recording, and of
four small files a recording (a log, two photos, a sound), opens them, plans an epoch, takes steps,
validates, and prints a row each. Small files on purpose: what decoding costs follows from the
media, what is measured here from their number.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CLASSES, ROWS_PER_SESSION, FEATURES, STEPS = 12, 20, 64, 30
MOST_VALIDATED = 100_000  # every query meets the whole gallery
SMALL = {
    "image_views": 1,
    "image_height_px": 16,
    "image_width_px": 16,
    "audio_mel_bins": 8,
    "audio_frames": 16,
    "series_steps": 8,
}


def timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def of_vectors(folder: Path, n: int) -> Path:
    """Four vectors a recording, in one .npz."""
    random = np.random.default_rng(0)
    session = np.arange(n) // ROWS_PER_SESSION
    labels = session % CLASSES
    arrays = {
        name: random.standard_normal((n, FEATURES), dtype=np.float32) + labels[:, None] % 5
        for name in "abcd"
    }
    path = folder / "features.npz"
    np.savez(path, y=labels, group=session, **arrays)
    return path


def of_files(folder: Path, n: int) -> Path:
    """Four files a recording, a thousand in a folder, and their table."""
    import pandas as pd
    import soundfile
    from PIL import Image

    random = np.random.default_rng(0)
    columns: dict[str, list[str]] = {name: [] for name in ("log", "front", "back", "sound")}
    endings = {"log": "csv", "front": "png", "back": "png", "sound": "wav"}
    for name, paths in columns.items():
        for row in range(n):
            place = Path(name) / str(row // 1000) / f"{row}.{endings[name]}"
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            if name == "log":
                lines = (f"{step / 10:.1f},{random.normal():.3f},{row}" for step in range(8))
                (folder / place).write_text("t,x,number\n" + "\n".join(lines) + "\n")
            elif name == "sound":
                soundfile.write(folder / place, 0.1 * random.normal(size=800), 8000)
            else:
                pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / place)
            paths.append(str(place))
    session = np.arange(n) // ROWS_PER_SESSION
    frame = {
        "sample_id": [f"s{row}" for row in range(n)],
        "label": [f"class {code}" for code in session % CLASSES],
        "group": [f"g{number}" for number in session],
    }
    path = folder / "recordings.csv"
    pd.DataFrame({**frame, **columns}).to_csv(path, index=False)
    return path


def measure(kind: str, n: int) -> dict[str, float]:
    """What `n` recordings cost, in this process."""
    from quadlib import KnnValidator, Run, Trainer, open_dataset
    from quadlib.config import TrainSettings
    from quadlib.training import step

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {"vectors": of_vectors, "files": of_files}[kind](folder, n)
        settings = TrainSettings(
            source="table",
            path=str(made),
            outputs=str(folder / "outputs"),
            run="capacity",
            **SMALL,
        )
        found: dict[str, float] = {}
        if kind == "files":
            found["fill_seconds"] = timed(lambda: open_dataset(settings))
        opened = []
        found["open_seconds"] = timed(lambda: opened.append(open_dataset(settings)))
        dataset = opened[0]
        trainer = Trainer(dataset, settings, Run.create(settings))
        found["plan_seconds"] = timed(lambda: (trainer.batches.set_epoch(1), list(trainer.batches)))
        batches = list(trainer.batches)[:STEPS]
        took = timed(
            lambda: [step.take_step(trainer, [dataset.__getitems__(rows)]) for rows in batches]
        )
        found["epoch_seconds"] = took / len(batches) * len(trainer.batches)
        if n <= MOST_VALIDATED:
            validator = KnnValidator(settings)
            found["validate_seconds"] = timed(lambda: validator(trainer.model, dataset))
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        store = folder / "outputs" / "store"
        places = [made] if kind == "vectors" else list(store.rglob("*"))
        found["disk_mib"] = sum(p.stat().st_size for p in places if p.is_file()) / 2**20
        return found


def main() -> None:
    """Prints a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, nargs="*", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--files", type=int, nargs="*", default=[10**3, 10**4, 10**5])
    parser.add_argument("--one", nargs=2, metavar=("KIND", "N"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]))))
        return
    for kind in ("vectors", "files"):
        for n in getattr(given, kind):
            command = [sys.executable, __file__, "--one", kind, str(n)]
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = json.loads(told.splitlines()[-1])
            cells = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
            print(f"{n:>9} recordings of {kind}: {cells}", flush=True)


if __name__ == "__main__":
    main()

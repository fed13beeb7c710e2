"""Simulated welds twice: by the small encoders, which are trained, and by frozen ones whose weights
came with pip.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from quadlib.config import TrainSettings, read_settings
from quadlib.data.open import open_table
from quadlib.data.store.store import MediaStore
from quadlib.demo.run import headline, run_stages
from quadlib.reports.gallery import write_gallery
from quadlib.runs import Run

log = logging.getLogger(__name__)

FROM_PIP = {"video": "efficientnet_lite0", "image": "efficientnet_lite0", "audio": "aisfx"}
PHASES = ("load_seconds", "forward_seconds", "backward_seconds")


def demo_encoders(*, size: str, outputs: str, say: Callable[[str], None] = log.info) -> int:
    """Runs all four notebooks with either encoders, and says both scores, and how long an epoch
    takes with stored features and would take without; returns the exit code.

    Features that are in the store are used again. Raises SettingsError where a package is missing,
    before anything is made.
    """
    began = time.monotonic()
    plain: dict[str, Any] = {"source": "weldsim", "size": size}
    ways = {"small, trained": ("demo-small", plain)}
    ways["pip, frozen"] = ("demo-pip", plain | {"encoders": FROM_PIP})
    settings = {
        way: read_settings(TrainSettings, {**values, "outputs": outputs})
        for way, (_, values) in ways.items()
    }
    open_table(settings["pip, frozen"])
    said, code = [], 0
    for way, (kind, values) in ways.items():
        run = Run.create(settings[way], kind=kind)
        outcome = run_stages(run, values, say)
        code = max(code, outcome.exit_code)
        said.append(f"{way:<14}  {run.record['status']}, {headline(run)}")
        if outcome.stopped_by:
            break
    write_gallery(outputs)
    say("")
    for line in said:
        say(line)
    if code == 0:
        say(pace(run, settings["pip, frozen"]))
    say(f"wall time: {time.monotonic() - began:.0f} s")
    return code


def pace(run: Run, settings: TrainSettings) -> str:
    """How long an epoch of a run takes from stored features, and would take if every file were read
    and encoded again in each; validation is left out of both.
    """
    table = open_table(settings)
    store = MediaStore.open(table, settings)
    size = sum(store.arrays[name].nbytes for name in FROM_PIP) / 2**20
    lines = run.path("timings.jsonl").read_text().splitlines()
    epochs = [sum(json.loads(line)[phase] for phase in PHASES) for line in lines]
    epoch = float(np.median(epochs))
    count = len(table.rows("train"))
    encoding = count * sum(store.seconds_each[name] for name in FROM_PIP)
    return (
        f"features of {len(table):,} recordings: {size:.1f} MiB. An epoch of {count} of them takes "
        f"{epoch:.2f} s from the store, and {encoding:.0f} s more where each is encoded again: "
        f"{(encoding + epoch) / epoch:,.0f} times as long"
    )

"""The source weldsim: its recordings are made where they are not yet, then read as the measured set
is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quadlib.data.samples import SampleTable
from quadlib.data.sources import intel_weld, weldsim
from quadlib.files import digest_bytes, outputs_folder


def read(
    path: str | Path | None = None,
    *,
    size: str = "demo",
    seed: int = 0,
    outputs: str = "",
    **switches: Any,
) -> SampleTable:
    """The simulated recordings in a folder; without one, in a folder of the outputs that is named
    after size, seed and changed switches.
    """
    # the number of processes changes no byte
    changed = {name: value for name, value in switches.items() if name != "processes"}
    folder = Path(path) if path else default_folder(size, seed, outputs)
    if changed and not path:
        digest = digest_bytes(json.dumps(changed, sort_keys=True).encode())[:8]
        folder = folder.with_name(f"{folder.name}-{digest}")
    return intel_weld.read(weldsim.make(folder, size=size, seed=seed, **switches), name="weldsim")


def default_folder(size: str, seed: int, outputs: str = "") -> Path:
    """Where recordings of a size and seed are kept when no path is given."""
    return outputs_folder(outputs) / "data" / f"weldsim-{size}-{seed}"

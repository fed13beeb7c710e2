"""Tables of recordings as people keep them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.data.cases.matrix import Case, Refused, Right


def frame(folder: Path, rows: int = 12) -> pd.DataFrame:
    """Twelve vectors in files of their own: two classes, six sessions of two recordings."""
    (folder / "x").mkdir(exist_ok=True)
    for row in range(rows):
        np.save(folder / "x" / f"{row}.npy", vector(row))
    return pd.DataFrame(
        {
            "sample_id": [f"r{row}" for row in range(rows)],
            "label": ["ab"[row % 2] for row in range(rows)],
            "group": [f"s{row // 2}" for row in range(rows)],
            "x": [f"x/{row}.npy" for row in range(rows)],
        }
    )


def vector(row: int) -> np.ndarray:
    return np.random.default_rng(row).normal(row % 2, 1, 4).astype(np.float32)


def table(
    folder: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame | None] | None = None,
    rows: int = 12,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Mapping[str, Any]:
    """recordings.csv of `frame`, after `change`; `options` go to DataFrame.to_csv."""
    recordings = frame(folder, rows)
    if change is not None:
        changed = change(recordings)
        recordings = recordings if changed is None else changed
    recordings.to_csv(folder / "recordings.csv", **({"index": False} | options))
    return settings or {}


def case(name: str, change: Any, right: Right | Refused, **options: Any) -> Case:
    return Case(name, "table", lambda folder: table(folder, change, **options), right)


READ = Right({"x": {"r0": vector(0), "r11": vector(11)}})

CASES: list[Case] = [
    case("as the README shows it", None, READ),
]

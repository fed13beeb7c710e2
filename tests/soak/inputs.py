"""Samples of the matrix of people's own data and of mutated files, whose whole `make matrix` and
`make fuzz` are.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

from tests.data.cases.matrix import run_all
from tests.data.cases.register import CASES
from tests.data.fuzz import fuzz

KINDS = ("video", "audio", "image", "series")


def matrix(folder: Path, count: int, seed: int) -> tuple[int, list[str]]:
    """How many cases were judged, and those that were not read or refused as they should be."""
    drawn = random.Random(seed).sample(CASES, min(count, len(CASES)))
    level = logging.getLogger("quadlib").level
    logging.getLogger("quadlib").setLevel(logging.ERROR)
    outcomes = run_all(drawn, folder / "matrix")
    logging.getLogger("quadlib").setLevel(level)
    return len(outcomes), [str(outcome) for outcome in outcomes if outcome.verdict != "right"]


def fuzz_all(folder: Path, files: int, seed: int) -> tuple[int, list[str]]:
    """How many mutated files were decoded, and those whose decoder crashed or hung."""
    faults: list[str] = []
    for kind in KINDS:
        place = folder / f"fuzz-{kind}"
        place.mkdir()
        faults += fuzz(kind, files, seed, place)[1]
    return files * len(KINDS), faults

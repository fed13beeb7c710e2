"""`python -m tests.mutants [ROOM ...] [--count 60] [--seed 0]`: one comparison, operator or number
of a room is changed at a time, and the room's tests should fail. Prints the changes that no test
noticed, and a table; exit 1 where a room is below its target.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# What most tests load is loaded once, here; quadlib itself is read anew in each child.
import numpy  # noqa: F401
import pandas  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.neighbors  # noqa: F401
import torch

from tests.mutants.changes import changes
from tests.mutants.trials import Trials

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Room:
    """Files, the tests that answer for them, and the share of changes that they must notice."""

    files: tuple[str, ...]
    tests: tuple[str, ...]
    target: float


ROOMS = {
    "loss": Room(("quadlib/loss/*.py",), ("tests/loss",), 0.85),
    "sampler": Room(("quadlib/sampler/*.py",), ("tests/sampler",), 0.85),
    "splits": Room(
        ("quadlib/data/*split*.py", "quadlib/data/division.py", "quadlib/data/folds.py"),
        (
            "tests/data/test_splits.py",
            "tests/data/test_large_splits.py",
            "tests/data/test_folds.py",
        ),
        0.85,
    ),
    "evaluation": Room(("quadlib/evaluation/*.py",), ("tests/evaluation",), 0.85),
    "diagnosis": Room(("quadlib/diagnosis/**/*.py",), ("tests/diagnosis",), 0.70),
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", choices=[[], *ROOMS], help="all where none is named")
    parser.add_argument("--count", type=int, default=60, help="of changes in each room")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in asked.rooms or ROOMS:
        room = ROOMS[name]
        with tempfile.TemporaryDirectory() as name_of_folder:
            copy = Path(name_of_folder)
            trials = Trials(ROOT, copy, room.tests)
            found = [
                change
                for pattern in room.files
                for path in sorted(copy.glob(pattern))
                for change in changes(copy, path.relative_to(copy))
            ]
            drawn = random.Random(asked.seed).sample(found, min(asked.count, len(found)))
            survivors = 0
            for change in drawn:
                if not trials.caught(change):
                    survivors += 1
                    print(change, flush=True)
        rows.append((name, len(drawn), len(drawn) - survivors, room.target))
    print(f"\n{'room':12}{'mutants':>8}{'caught':>8}{'share':>8}{'target':>8}")
    for name, count, caught, target in rows:
        print(f"{name:12}{count:8}{caught:8}{caught / count:8.0%}{target:8.0%}")
    return int(any(caught < target * count for _, count, caught, target in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

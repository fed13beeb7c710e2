"""`python -m tests.soak [--kills 100] [--minutes 10] [--seed 0]`: a small run is killed at random
times, its files are damaged, disks are full, several write at once, and
files of people, strangers and chance are read. Prints the score, and
what went wrong; exit 1 where anything did. Fewer kills are made where the minutes are over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from quadlib.config import TrainSettings
from tests.soak.damage import flips, full_disks
from tests.soak.hostile import hostile, sockets
from tests.soak.inputs import fuzz_all, matrix
from tests.soak.kills import Kills, Tally, batch, store_fill
from tests.soak.writers import writers

# Of a hundred kills; what is left is for the store and for whole batch runs, which take longer.
SHARES = {"training": 52, "loading process": 8, "evaluation": 10, "gallery": 6}
SHARES |= {"page": 6, "notebook save": 8}
STORES, BATCHES = 6, 4
STORES_AND_BATCHES = 0.3  # of the time
LANES = 2  # in which runs are killed at the same time


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--flips", type=int, default=60, help="of each kind of file of a run")
    parser.add_argument("--store-flips", type=int, default=500, help="and of stores and notebooks")
    parser.add_argument("--cases", type=int, default=60, help="of the matrix of people's own data")
    parser.add_argument("--files", type=int, default=400, help="mutated ones of each kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return _soak(asked, folder, end)


def _soak(asked: argparse.Namespace, folder: Path, end: float) -> int:
    kills, tally = Kills(folder, asked.seed), Tally()
    random = np.random.default_rng([asked.seed, 1])
    scale = asked.kills / 100
    welds = TrainSettings(source="weldsim", size="tiny", outputs=str(folder / "welds"))
    (folder / "strangers").mkdir()
    refused, read = hostile(folder / "strangers")
    opened = sockets(folder / "strangers")
    turned, missed = flips(kills.run, welds, asked.flips, asked.store_flips)
    full, harmed = full_disks(kills.run)
    together, apart = writers(kills, welds, folder)
    judged, judged_wrong = matrix(folder, asked.cases, asked.seed)
    fuzzed, ended = fuzz_all(folder, asked.files, asked.seed)
    print(f"files done, {end - time.monotonic():.0f} s left", flush=True)
    order = [kind for kind, share in SHARES.items() for _ in range(round(share * scale))]
    latest = end - STORES_AND_BATCHES * 60 * asked.minutes
    with ProcessPoolExecutor(LANES, mp_context=get_context("fork")) as lanes:
        kinds = [str(kind) for kind in random.permutation(order)]
        for made in lanes.map(partial(_kill, kills, latest), range(len(kinds)), kinds):
            tally.take(made)
    store_fill(welds, folder, random, tally, round(STORES * scale))
    batch(folder, random, tally, round(BATCHES * scale))
    wrong = [*tally.wrong, *tally.torn, *read, *missed, *harmed, *apart, *judged_wrong, *ended]
    for problem in wrong:
        print(problem)
    print(
        f"kills {tally.same}/{tally.done} same run, {len(tally.torn)} torn, at most "
        f"{tally.most_lost_seconds:.1f} s of work lost; flips {turned - len(missed)}/{turned} "
        f"noticed; hostile {refused - len(read)}/{refused} refused, {opened} sockets; ENOSPC "
        f"{full - len(harmed)}/{full} intact; {together} writers at once, {len(apart)} wrong; "
        f"matrix {judged - len(judged_wrong)}/{judged}; fuzz {fuzzed}, {len(ended)} crashed or hung"
    )
    return int(bool(wrong) or opened.isdecimal() and opened != "0")


def _kill(kills: Kills, latest: float, number: int, kind: str) -> Tally:
    """A trial, none where it is too late for another."""
    return kills.trial(number, kind) if time.monotonic() < latest else Tally()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Random requests to the sampler: all laws kept, and every refusal proved or said to be no proof?

python -m tests.sampler.fuzz --requests 2000 --seed 0
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quadlib.sampler import SamplerError, StratifiedBatchSampler
from tests.helpers.sampler_laws import broken_laws

PROVED, UNPROVED = "proved: an exact program", "this is no proof"


@dataclass
class Outcome:
    """What came of the requests."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    unsaid: list[str] = field(default_factory=list)
    seconds: list[tuple[float, str]] = field(default_factory=list)


def requests(number: int, seed: int) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Class sizes and settings, from two samples to some thousand, most of them hard to meet."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        n_classes = int(rng.choice([2, 3, 4, 5, 8, 12, 20, 40, 100]))
        largest = int(rng.choice([6, 12, 40, 120]))
        per_class = int(rng.choice([1, 2, 2, 2, 3, 4]))
        n_min = int(rng.choice([1, 2, 2, 2, 3]))
        sizes = rng.integers(1, largest + 1, n_classes)
        if rng.random() < 0.3:
            slope = rng.choice([0.5, 1.0, 1.5])
            sizes = np.maximum(1, largest / np.arange(1, n_classes + 1) ** slope).astype(int)
        if rng.random() < 0.6:
            sizes = np.maximum(sizes, per_class)
        low = n_min * per_class if rng.random() < 0.95 else 1
        settings = {
            "batch_size": int(rng.integers(low, low + int(rng.choice([4, 12, 40])))),
            "min_classes": n_min,
            "min_per_class": per_class,
            "rare": str(rng.choice(["error", "drop", "oversample"])),
            "balance": str(rng.choice(["natural", "natural", "equal"])),
            "world_size": int(rng.choice([1, 1, 1, 2, 4])),
        }
        yield sizes.tolist(), settings


def try_requests(number: int, seed: int) -> Outcome:
    """Builds each sampler, draws two epochs of all ranks, and judges what came or was refused."""
    outcome = Outcome()
    for sizes, settings in requests(number, seed):
        labels = np.repeat(np.arange(len(sizes)), sizes)
        request = f"{sizes} {settings}"
        begin = time.perf_counter()
        try:
            sampler = StratifiedBatchSampler(labels, **settings)
        except SamplerError as error:
            text = str(error)
            kind = (
                "refused, not proved"
                if UNPROVED in text
                else "refused, proved by the program"
                if PROVED in text
                else "refused, the reason is the proof"
            )
            if "cannot be cut" in text and UNPROVED not in text and PROVED not in text:
                outcome.unsaid.append(request)
            outcome.counts[kind] += 1
        else:
            outcome.counts["met"] += 1
            for epoch in (0, 1):
                batches = [batch.tolist() for batch in sampler.plan(epoch).batches]
                broken = broken_laws(batches, labels, **settings)
                outcome.broken += [f"{request}: {law}" for law in broken]
        outcome.seconds.append((time.perf_counter() - begin, request))
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcome = try_requests(arguments.requests, arguments.seed)
    for kind, count in sorted(outcome.counts.items()):
        print(f"{count:6} {kind}")
    print(f"{len(outcome.broken):6} laws broken", *outcome.broken[:20], sep="\n       ")
    print(f"{len(outcome.unsaid):6} refusals that do not say whether they are proved")
    slowest, request = max(outcome.seconds)
    print(f"slowest {slowest:.2f} s: {request[:300]}")


if __name__ == "__main__":
    main()

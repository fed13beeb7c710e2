"""Whether a watched run draws the same random numbers, or the same batches, again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from quadlib.diagnosis.checks.batch.contracts import B07
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.run_log import EpochStart, Seeding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST = 3  # equal states or epochs; a second one may be a look at the data before training
DRAWING = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler)
FEWEST_ROWS = 4  # of a first batch: fewer coincide by chance


@check(B07, "no seed is set anew in the watched loop", phase="observed")
def same_seed_again(x: Examination) -> Iterator[Finding]:
    log = x.record.log
    if not log.rates:
        raise Unavailable("no optimiser step was seen")
    for name, states in log.states.items():
        seeds = [seeding for seeding in log.seedings if seeding.generator == name]
        most = max((_returns(steps, seeds) for steps in _steps_by_state(states, seeds)), default=0)
        if most < FEWEST:
            continue
        told = "torch.manual_seed" if name == "torch" else f"{name}'s seed"
        yield B07.broken(
            "warning",
            f"a seed is set anew in the loop: {most} steps end with one random state",
            f"{told}({seeds[-1].seed}), called {len(seeds)} times in {len(states)} steps",
            ("a generator that runs on is never in one state again",),
            "set seeds once, before the loop",
            ruled_out=("no randomness: numbers were drawn since the seed was set",),
        )
        return


def _steps_by_state(states: Mapping[int, int], seeds: list[Seeding]) -> Iterable[list[int]]:
    """The steps that left a generator in one state, of every state but those of a fresh seed, from
    which nothing was drawn.
    """
    fresh, steps = {seeding.state for seeding in seeds}, dict[int, list[int]]()
    for step, state in states.items():
        if state not in fresh:
            steps.setdefault(state, []).append(step)
    return steps.values()


def _returns(steps: list[int], seeds: list[Seeding]) -> int:
    """How many of these steps in one state lie apart by a seed that was set between them."""
    between = {sum(seeding.step < step for seeding in seeds) for step in steps}
    return len(between)


@check(B07, "a watched stream that shows a part of what it holds shows another one", phase="later")
def same_part_again(x: Examination) -> Iterator[Finding]:
    streams = [start for start in x.record.log.epochs if start.rows is None and start.digest]
    for starts in _of_one_dataset(streams, "a stream"):
        _, n = Counter(start.digest for start in starts).most_common(1)[0]
        shown, held = max(start.shown for start in starts), _rows_held(starts[0].dataset)
        if n <= len(starts) // 2 or n < FEWEST or shown >= held:
            continue
        yield B07.broken(
            "warning",
            f"{n} of {len(starts)} epochs of the stream begin with the very same batch",
            type(starts[0].dataset).__name__,
            (
                f"an epoch shows at most {shown} rows, the stream holds {held}: what it does not "
                "show in the first epoch it never shows",
            ),
            "seed the stream's generator with the epoch, or make it once",
            ruled_out=("a stream that shows all that it holds, in its own order",),
        )
        return


def _of_one_dataset(epochs: list[EpochStart], what: str) -> list[list[EpochStart]]:
    """The epochs of each dataset that has enough of them; raises Unavailable where none has."""
    groups: dict[int, list[EpochStart]] = {}
    for start in epochs:
        groups.setdefault(id(start.dataset), []).append(start)
    judged = [starts for starts in groups.values() if len(starts) >= FEWEST]
    if not judged:
        raise Unavailable(f"fewer than {FEWEST} epochs of {what} were seen")
    return judged


def _rows_held(dataset: object) -> int:
    """Rows of the longest table among a stream's own attributes."""
    tables = [part for part in vars(dataset).values() if getattr(part, "ndim", 0) >= 2]
    return max((len(table) for table in tables), default=0)


@check(B07, "every watched epoch has batches of its own", phase="later")
def same_order_again(x: Examination) -> Iterator[Finding]:
    numbered = [s for s in x.record.log.epochs if s.rows is not None and len(s.rows) >= FEWEST_ROWS]
    for starts in _of_one_dataset(numbered, "numbered rows"):
        rows, n = Counter(start.rows or () for start in starts).most_common(1)[0]
        shuffled = bool((np.diff(np.array(rows)) < 0).any())
        if n < FEWEST or n <= len(starts) // 2 or not shuffled:
            continue
        sampler = starts[0].sampler
        sampler = getattr(sampler, "sampler", sampler)
        yield B07.broken(
            "warning" if isinstance(sampler, DRAWING) else "note",  # an order may be meant
            f"{n} of {len(starts)} epochs begin with the very same batch, in a shuffled order",
            f"{type(sampler).__name__}, rows {', '.join(map(str, rows[:6]))} ...",
            (f"{len(rows)} rows in one order {n} times",),
            "sampler.set_epoch(epoch), or make the generator once, before the epochs",
            ruled_out=("a loader that does not shuffle: its rows are in no rising order",),
            explains=("negatives that are always the same ones",),
        )
        return

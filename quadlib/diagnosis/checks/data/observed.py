"""The inputs of a watched loop: finite, varying, in a usual range, each sample once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from quadlib.diagnosis.checks.data.contracts import D03, D16, D20, D21, D23
from quadlib.diagnosis.checks.split.contracts import S10
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import (
    evaluation_loaders,
    root_rows,
    training_loader,
)
from quadlib.diagnosis.evidence.observed.files import real_files
from quadlib.diagnosis.evidence.observed.passes import (
    batches,
    inputs,
    missing_is_masked,
    passes,
    reached,
)
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

MOST_CHANNELS = 64
FEWEST_FRAMES = 4
RAW = 50  # root mean square of pixels that are still bytes; scaled ones are below 5
FAR_OFF = 100  # mean over deviation from which float32 sums lose two digits of the variation


@check(D16, "the inputs of the watched steps are finite", phase="observed")
def finite_inputs(x: Examination) -> Iterator[Finding]:
    marks = reached(x.record)
    broken = [
        (item.backward.step, fetch.mark(path), fetch)
        for item in passes(x.record)
        for fetch in item.fetches
        for path in fetch.not_finite
        if fetch.mark(path) in marks
    ]
    if not broken:
        return
    step, mark, fetch = broken[0]
    value = fetch.values.get(mark)
    count = ""
    if value is not None:
        bad = ~torch.isfinite(value).reshape(len(value), -1).all(1)
        rows = [fetch.rows[k] for k in torch.nonzero(bad).flatten()] if fetch.rows else []
        count = f"{int(bad.sum())} of {len(value)} rows hold NaN or infinity"
        count += f": rows {some(rows)} of the dataset" if rows else ""
    affected = f"{len(broken)} of the watched batches are affected"
    if missing_is_masked(x.record):
        yield D16.broken(
            "note",
            f"batch{mark} holds NaN or infinity, and the model answers with finite numbers",
            f"the batch of step {step}, as the loader gave it",
            tuple(t for t in (count, affected) if t),
            "nothing, where missing values are marked so on purpose and the model masks them",
            predicts=(),
        )
        return
    yield D16.broken(
        "error",
        f"batch{mark} holds NaN or infinity before anything is computed from it",
        f"the batch of step {step}, as the loader gave it",
        tuple(t for t in (count, affected) if t),
        "look at these rows in the dataset; drop or impute them before the loader",
        ruled_out=("the model and the loss: what enters them is not finite already",),
        explains=("the loss and the weights that are not finite",),
    )


@check(D20, "every channel of an input varies", phase="observed")
def dead_channels(x: Examination) -> Iterator[Finding]:
    for mark, values in inputs(x.record).items():
        whole = torch.cat(values) if len({v.shape[1:] for v in values}) == 1 else values[0]
        if (
            not whole.is_floating_point()
            or whole.ndim < 3
            or not 1 < whole.shape[1] <= MOST_CHANNELS
        ):
            continue
        if not bool(torch.isfinite(whole).all()) or len(whole) < 4:
            continue
        channels = whole.transpose(0, 1).reshape(whole.shape[1], -1)
        still = (channels == channels[:, :1]).all(1)
        if not bool(still.any()) or bool(still.all()) or _is_padding(still, channels):
            continue
        numbers = torch.nonzero(still).flatten().tolist()
        yield D20.broken(
            "warning",
            f"channel {some(numbers)} of batch{mark} has one value everywhere",
            f"batch{mark}, {len(whole)} rows of the watched batches",
            (
                f"{len(numbers)} of {len(channels)} channels hold one value "
                f"({float(channels[numbers[0], 0]):.4g}) in all rows and places; the others vary",
            ),
            "look at how the channel is read; leave it out if the sensor is not there",
            ruled_out=("the model: the channel is constant as the loader gives it",),
            scope=mark,
        )


def _is_padding(still: torch.Tensor, channels: torch.Tensor) -> bool:
    """Whether they are the first or the last of the axis, which is then that of time, and all of
    one value: what shorter rows are filled up with.
    """
    numbers = torch.nonzero(still).flatten()
    run = int(numbers[-1] - numbers[0]) + 1 == len(numbers) > 1
    at_an_end = int(numbers[0]) == 0 or int(numbers[-1]) == len(still) - 1
    return run and at_an_end and bool((channels[still] == channels[numbers[0], 0]).all())


@check(D23, "the channels and frames of an input differ", phase="observed")
def copied_channels(x: Examination) -> Iterator[Finding]:
    for mark, values in inputs(x.record).items():
        n = values[0].shape[1] if values[0].ndim >= 3 else 0
        if not FEWEST_FRAMES <= n <= MOST_CHANNELS or len(values[0]) < 4:
            continue
        if any(value.shape[1:2] != (n,) for value in values):
            continue
        first = [_first_equal(values, k) for k in range(n)]
        kinds = len(set(first))
        grey = first == [3 * (k // 3) for k in range(n)]
        if kinds > n / 2 or grey:
            continue
        yield D23.broken(
            "warning",
            f"{n - kinds} of {n} channels of batch{mark} are copies of others",
            f"batch{mark}, {sum(map(len, values))} rows of the watched batches",
            (
                f"only {kinds} of {n} differ: in every row channel {_copy_of(first)[0]} equals "
                f"channel {_copy_of(first)[1]}, value for value",
            ),
            ruled_out=("the model: the copies come out of the loader",),
            scope=mark,
        )


def _first_equal(values: list[torch.Tensor], channel: int) -> int:
    """The first channel that equals this one in all rows; itself where it holds one value."""
    own = [value[:, channel] for value in values]
    if all(bool((part == part.flatten()[0]).all()) for part in own):
        return channel
    return next(
        k
        for k in range(channel + 1)
        if all(torch.equal(value[:, k], part) for value, part in zip(values, own, strict=True))
        or k == channel
    )


def _copy_of(first: list[int]) -> tuple[int, int]:
    """A channel that is a copy, and of which."""
    return next((k, other) for k, other in enumerate(first) if k != other)


@check(D21, "inputs come in a range that a network can learn from", phase="observed")
def raw_range(x: Examination) -> Iterator[Finding]:
    for mark, values in inputs(x.record).items():
        value = values[0]
        if not value.is_floating_point() or value.ndim < 2 or not bool(torch.isfinite(value).all()):
            continue
        flat = value.double()
        level = float(flat.square().mean().sqrt())
        mean, deviation = float(flat.mean().abs()), float((flat - flat.mean(0)).std())
        whole = bool((flat == flat.round()).all()) and float(flat.min()) >= 0
        if value.ndim >= 4 and whole and float(flat.max()) <= 255 and level > RAW:
            text = f"whole numbers from {flat.min():.0f} to {flat.max():.0f}: bytes, not scaled"
        elif deviation > 0 and mean > FAR_OFF * deviation:
            text = f"mean {mean:.4g}, deviation between rows {deviation:.4g}: the level is "
            text += f"{mean / deviation:.0f} times what varies"
        else:
            continue
        yield D21.broken(
            "warning",
            f"batch{mark} is not normalised",
            f"batch{mark}, as the loader gives it",
            (text, "usual is a mean of about 0 and a deviation of about 1"),
            "subtract the training rows' mean and divide by their deviation, channel by channel",
            ruled_out=("the loss and the optimiser: the range is the loader's",),
            explains=("slow learning; embeddings that differ little from row to row",),
            scope=mark,
        )


@check(D03, "the dataset behind the watched loader holds each sample once", phase="observed")
def copies_in_batches(x: Examination) -> Iterator[Finding]:
    marks = inputs(x.record)
    repeated, total, example, numbered = 0, 0, "", True
    for fetch in batches(x.record):
        parts = [
            fetch.values[leaf.path]
            for leaf in fetch.leaves
            if fetch.mark(leaf.path) in marks and leaf.path in fetch.values
        ]
        if not parts or len({len(part) for part in parts}) != 1 or len(parts[0]) < 4:
            continue
        rows = torch.cat([part.reshape(len(part), -1).double() for part in parts], 1)
        if rows.shape[1] < 4 or not bool(torch.isfinite(rows).all()):
            continue
        _, inverse, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
        copies = (counts[inverse] > 1) & (rows != rows[:, :1]).any(1)  # blank rows are no copies
        numbers = np.array(fetch.rows) if fetch.rows is not None else np.arange(len(rows))
        first: dict[int, set[int]] = {}
        for k in torch.nonzero(copies).flatten().tolist():
            first.setdefault(int(inverse[k]), set()).add(int(numbers[k]))
        different = {key: rows for key, rows in first.items() if len(rows) > 1}
        numbered &= fetch.rows is not None
        repeated += sum(int(counts[key]) for key in different)
        total += len(rows)
        if different and not example:
            example = some(sorted(next(iter(different.values()))))
    # rows without numbers may be drawn twice, as few shots of a class are
    if not total or repeated < max(2, (0.1 if numbered else 0.5) * total):
        return
    yield D03.broken(
        "warning",
        f"{repeated / total:.0%} of the samples in the watched batches are copies of another one",
        "the training loader's dataset",
        (
            f"{repeated} of {total} samples equal another sample of their batch, value for value, "
            + ("under different row numbers" if numbered else "whose rows have no numbers"),
            f"for example rows {example}",
        ),
        "drop the copies from the dataset, or draw batches without them (a no-duplicates sampler)",
        ruled_out=("the sampler: the rows have different numbers",) if numbered else (),
        explains=("copies that an in-batch softmax sets against each other as negatives",),
    )


@check(S10, "the watched loaders share no row between training and evaluation", phase="observed")
def shared_rows(x: Examination) -> Iterator[Finding]:
    root, rows = root_rows(training_loader(x.record).dataset)
    if rows is None:
        raise Unavailable("training draws from a whole dataset, not from a part of one")
    for loader in evaluation_loaders(x.record):
        other, others = root_rows(getattr(loader, "dataset", None))
        if other is not root or others is None:
            continue
        shared = np.intersect1d(rows, others)
        if not len(shared) or len(shared) == len(rows) == len(others):
            continue
        yield S10.broken(
            "error",
            f"{len(shared)} rows are trained on and evaluated on",
            "two loaders over parts of one dataset",
            (
                f"training holds {len(rows)} rows, the other loader {len(others)}; "
                f"{len(shared)} are in both, for example {some(shared.tolist())}",
            ),
            "split once, and build both Subsets from that split",
            explains=("scores that are too good",),
        )


@check(S10, "the watched loaders share no file between training and evaluation", phase="observed")
def shared_files(x: Examination) -> Iterator[Finding]:
    """Files of the training dataset that another loader's dataset holds too, but not all of both:
    training rows may well be a gallery.
    """
    own = real_files(training_loader(x.record).dataset)
    for loader in evaluation_loaders(x.record):
        other = real_files(getattr(loader, "dataset", None))
        shared = own & other
        if not shared or own == other:
            continue
        yield S10.broken(
            "error",
            f"{len(shared)} files are trained on and evaluated on",
            "the datasets of two loaders",
            (
                f"training holds {len(own)} files, the other loader {len(other)}; {len(shared)} "
                f"are in both, for example {some(sorted(shared))}",
            ),
            "split the recordings once, and list the files of each part from that split",
            explains=("scores that are too good",),
        )
        return

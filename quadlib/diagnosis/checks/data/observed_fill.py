"""Values of a watched input that stand in for what is missing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.data.contracts import D26
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_items
from quadlib.diagnosis.evidence.observed.passes import inputs
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

FEWEST_TIMES = 4  # that a value comes, in as many samples
FEWEST_OTHERS = 20  # different values beside it
FAR = 3.0  # times the whole range of the others
MOST_COLUMNS = 256
MOST_VALUES = 1 << 21


@check(D26, "no value of a watched input stands far off, again and again", phase="observed")
def fill_values(x: Examination) -> Iterator[Finding]:
    for name, values in _tables(x):
        if not values or values[0].shape[1] > MOST_COLUMNS or values[0].size > MOST_VALUES:
            continue
        width = values[0].shape[1]
        alike = [v for v in values if v.shape[1] == width]
        columns = [np.moveaxis(v, 1, 0).reshape(width, len(v), -1) for v in alike]
        fills = {
            k: fill
            for k in range(width)
            if (fill := _fill([part[k] for part in columns])) is not None
        }
        if fills:
            first, (value, share, low, high) = next(iter(fills.items()))
            yield D26.broken(
                "warning",
                f"{name} holds {value:.4g} again and again, far from all other values",
                f"{name}, column or channel {some(list(fills))}",
                (
                    f"in {first}: {share:.1%} of the values are exactly {value:.6g}; all others "
                    f"lie between {low:.4g} and {high:.4g}",
                ),
                ruled_out=("outliers: these are equal to the last digit",),
                scope=name,
            )
            return


def _tables(x: Examination) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The inputs as the dataset holds them, else those of the traced batches; floats, (n, ...)."""
    try:
        for path, array in training_items(x.record).streams.items():
            yield f"item{path}", [array] if array.dtype.kind == "f" else []
    except Unavailable:
        for mark, values in inputs(x.record).items():
            floats = [v for v in values if v.is_floating_point() and v.ndim >= 2]
            yield f"batch{mark}", [v.double().numpy() for v in floats]


def _fill(rows: list[np.ndarray]) -> tuple[float, float, float, float] | None:
    """(value, its share, lowest, highest of the others) of what stands at one end of a column."""
    values = np.concatenate([part.ravel() for part in rows])
    if not np.isfinite(values).all():
        return None
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < FEWEST_OTHERS:
        return None
    for end, others in ((0, distinct[1:]), (-1, distinct[:-1])):
        samples = sum(int((part == distinct[end]).any(1).sum()) for part in rows)
        gap = abs(distinct[end] - (others[0] if end == 0 else others[-1]))
        if samples >= FEWEST_TIMES and gap > FAR * (others[-1] - others[0]):
            share = float(counts[end] / len(values))
            return float(distinct[end]), share, float(others[0]), float(others[-1])
    return None

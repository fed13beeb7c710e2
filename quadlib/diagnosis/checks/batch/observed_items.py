"""The items of a watched batch: all parts of it hold them in one order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quadlib.diagnosis.checks.batch.contracts import B04
from quadlib.diagnosis.checks.modality.contracts import M01
from quadlib.diagnosis.contract import Contract
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.collated import places
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

ASIDE = 0.1  # share of rows in another place than in a part that tells the items apart
FEWEST = 4


@check(B04, "the labels of a watched batch stand beside their own items", phase="observed")
def labels_in_order(x: Examination) -> Iterator[Finding]:
    for path, wrong in _aside(x, whole=True):
        yield _moved(
            B04,
            path,
            wrong,
            ruled_out=("the dataset: an item read and collated alone has its own label",),
            explains=("a loss that learns as if labels were shuffled",),
        )


@check(M01, "the streams of a watched batch stand beside their own items", phase="observed")
def streams_in_order(x: Examination) -> Iterator[Finding]:
    for path, wrong in _aside(x, whole=False):
        yield _moved(
            M01,
            path,
            wrong,
            ruled_out=("the dataset: an item read and collated alone is whole",),
            scope=path,
        )


def _moved(contract: Contract, path: str, wrong: float, **more: Any) -> Finding:
    """The finding on a part of the batch that holds its items in another order."""
    return contract.broken(
        "error",
        f"batch{path} is in another order than the rest of the batch",
        f"batch{path}, as the loader's collate function gives it",
        (
            f"each item of the first batch was read and collated alone: {wrong:.0%} of them stand "
            f"in batch{path} at another place than in the rest of the batch",
        ),
        "build every part of the batch in one loop over the items; sort the items, not a part",
        **more,
    )


def _aside(x: Examination, *, whole: bool) -> Iterator[tuple[str, float]]:
    """Parts, of whole numbers or of floats, that hold items in another order than the part that
    tells them best, and the share of items for which that is so. Of two such parts the one is
    meant that is not in the order of the items.
    """
    found = places(x.record)
    n = len(next(iter(found.values()))[1])
    told = {path: int((equal.sum(1) == 1).sum()) for path, (_, equal) in found.items()}
    best = max(told.values())
    if best < FEWEST:
        raise Unavailable("no part of the batch tells its items apart")
    kept = {path: _kept(equal) for path, (_, equal) in found.items()}
    first = max(told, key=lambda path: (told[path] == best, kept[path]))
    order = found[first][1].argmax(1)
    single = found[first][1].sum(1) == 1
    for path, (leaf, equal) in found.items():
        if path == first or (not leaf.is_float and len(leaf.shape) == 1) is not whole:
            continue
        judged = single & equal.any(1)
        aside = ~equal[np.arange(n), order][judged]
        if judged.any() and aside.mean() > ASIDE:
            yield path, float(aside.mean())


def _kept(equal: np.ndarray) -> float:
    """Share of the items that stand at their own place."""
    return float(np.diagonal(equal).mean())

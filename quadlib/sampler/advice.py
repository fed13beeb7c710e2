"""Which single change would make a request possible: of each kind the smallest that was found to
work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from quadlib.sampler.demand import Request
from quadlib.sampler.layout import SMALL_TABLE, find_layout
from quadlib.sampler.reasons import reasons

MOST_LAYOUTS = 12  # of each kind of change; fewer where one takes long


def advised_changes(class_sizes: np.ndarray, request: Request) -> list[str]:
    """One change of each kind, as text, that was tried and works."""
    names = tuple(map(str, range(len(class_sizes))))
    table = request.demand(class_sizes).n_batches * len(class_sizes)
    most = MOST_LAYOUTS if table <= SMALL_TABLE else 2
    found = []
    for kind in _kinds(class_sizes, request):
        possible = (
            (text, changed) for text, changed in kind if not reasons(class_sizes, names, changed)
        )
        for _, (text, changed) in zip(range(most), possible, strict=False):
            if find_layout(class_sizes, changed, thorough=False)[0] is not None:
                found.append(text)
                break
    return found


def _kinds(class_sizes: np.ndarray, request: Request) -> Iterator[Iterator[tuple[str, Request]]]:
    """For each kind of change the changes from small to large, as text and as a request."""
    total = int(class_sizes.sum())
    near = range(request.batch_size + 1, min(request.batch_size + 65, total + 1))
    far = {total, *(int(request.batch_size * 1.25**i) for i in range(2, 80))}
    larger = sorted({*near, *(b for b in far if request.batch_size < b <= total)})
    yield ((f"batch_size={b}", replace(request, batch_size=b)) for b in larger)
    fewer = range(request.min_per_class - 1, 0, -1)
    yield ((f"min_per_class={n}", replace(request, min_per_class=n)) for n in fewer)
    fewer = range(request.min_classes - 1, 0, -1)
    yield ((f"min_classes={n}", replace(request, min_classes=n)) for n in fewer)
    if request.rare == "error":
        yield iter([("rare='drop'", replace(request, rare="drop"))])
        yield iter([("rare='oversample'", replace(request, rare="oversample"))])
    if request.balance == "natural":
        yield iter([("balance='equal'", replace(request, balance="equal"))])
    fewer = range(request.world_size - 1, 0, -1)
    yield ((f"world_size={n}", replace(request, world_size=n)) for n in fewer)

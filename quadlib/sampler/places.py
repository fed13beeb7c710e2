"""Which classes go into which batches where that is decided first, and then how many of each: a
maximum flow, exact for the places it is given.
"""

from __future__ import annotations

import numpy as np

from quadlib.sampler.cells import Cells
from quadlib.sampler.demand import Demand


def counts_for(
    batch: np.ndarray, label: np.ndarray, demand: Demand, goal: np.ndarray, *, proportional: bool
) -> Cells | None:
    """The cells with these places whose batches hold at most `goal` samples, or None where no
    counts do that.

    Args:
        batch: batch of each place, (n_places,) int64.
        label: class of each place, (n_places,) int64, ascending.
        demand: what the epoch draws.
        goal: the most samples of each batch, (n_batches,) int64.
        proportional: whether common classes must stay within one of their proportion of the goal.

    Returns:
        Cells in the order of the places, all draws in them, each count at least min_per_class.

    A class sends what it draws above the least count of its places through them to the batches;
    all of it arrives exactly if the maximum flow is that large.
    """
    from scipy.sparse import csr_array  # imported where it is needed: most requests never ask
    from scipy.sparse.csgraph import maximum_flow

    least = np.full(len(label), demand.min_per_class, dtype=np.int64)
    most = demand.most[label]
    if proportional:
        share = demand.draws[label] * goal[batch] / demand.n_draws
        common = demand.common[label]
        least = np.where(common, np.maximum(least, np.ceil(share - 1 - 1e-9)), least)
        most = np.where(common, np.minimum(most, np.floor(share + 1 + 1e-9)), most)
    least, most = least.astype(np.int64), most.astype(np.int64)
    n_classes, n_batches = len(demand.draws), demand.n_batches
    supply = demand.draws - np.bincount(label, weights=least, minlength=n_classes).astype(np.int64)
    room = goal - np.bincount(batch, weights=least, minlength=n_batches).astype(np.int64)
    if (supply < 0).any() or (room < 0).any() or (most < least).any():
        return None
    source, sink = n_classes + n_batches, n_classes + n_batches + 1
    tail = np.concatenate([np.full(n_classes, source), label, n_classes + np.arange(n_batches)])
    head = np.concatenate([np.arange(n_classes), n_classes + batch, np.full(n_batches, sink)])
    capacity = np.concatenate([supply, most - least, room]).astype(np.int32)
    network = csr_array((capacity, (tail, head)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(network, source, sink)
    if flow.flow_value != supply.sum():
        return None
    sent = flow.flow[label, n_classes + batch]
    return Cells(batch, label, least + np.asarray(sent, dtype=np.int64).ravel())


def even_goal(batch: np.ndarray, demand: Demand) -> np.ndarray:
    """Batch sizes one apart, the larger ones where more classes are placed, (n_batches,) int64."""
    size, larger = divmod(demand.n_draws, demand.n_batches)
    goal = np.full(demand.n_batches, size, dtype=np.int64)
    present = np.bincount(batch, minlength=demand.n_batches)
    goal[np.argsort(-present, kind="stable")[:larger]] += 1
    return goal

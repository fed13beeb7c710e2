"""Graphs that were put together into one batch: each edge joins nodes of its own graph."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from quadlib.diagnosis.checks.batch.watched_contracts import B21
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import Fetch
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_GRAPHS = 4


@check(B21, "the edges of watched graphs reach their own nodes", phase="observed")
def edges_without_offset(x: Examination) -> Iterator[Finding]:
    batches = [fetch for item in traced(x.record) for fetch in item.fetches]
    graphs = [graph for fetch in batches for graph in _graphs(fetch)]
    if not graphs:
        raise Unavailable("no batch of graphs (nodes, edges, graph of each node) was seen")
    path, edges, owner = graphs[0]
    sizes = owner.bincount()
    if int(edges.max()) >= int(sizes.max()):
        return
    own = float((owner[edges[0]] == owner[edges[1]]).float().mean())
    reached = len(edges.unique())
    yield B21.broken(
        "error",
        f"all edges of a batch of {len(sizes)} graphs lie among its first {int(edges.max()) + 1} "
        "nodes",
        f"batch{path}",
        (
            f"{edges.shape[1]} edges end at {reached} of {len(owner)} nodes; the largest number is "
            f"{int(edges.max())}, the largest graph has {int(sizes.max())} nodes",
            f"{own:.0%} of the edges join nodes of one graph",
        ),
        ruled_out=("the graphs: their edges are numbered within each",),
        explains=("nodes that hear of no neighbour, and graphs that look like their node counts",),
    )


def _graphs(fetch: Fetch) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(path, (2, m) edges, (n,) graph of each node) of a batch: a list of edges beside a sorted
    number for each row of a float leaf.
    """
    whole = {
        leaf.path: fetch.values[leaf.path]
        for leaf in fetch.leaves
        if leaf.path in fetch.values and leaf.dtype.startswith("int")
    }
    for path, edges in whole.items():
        if edges.ndim != 2 or len(edges) != 2 or not edges.numel() or int(edges.min()) < 0:
            continue
        home = _home(path)
        nodes = {leaf.shape[0] for leaf in fetch.leaves if leaf.is_float and leaf.shape}
        for other, owner in whole.items():
            if _home(other) != home or owner.ndim != 1 or len(owner) not in nodes:
                continue
            steps = owner.diff()
            numbered = int(owner[0]) == 0 and bool(((steps == 0) | (steps == 1)).all())
            if numbered and int(owner[-1]) + 1 >= FEWEST_GRAPHS and int(edges.max()) < len(owner):
                yield path, edges.long(), owner.long()


def _home(path: str) -> str:
    """The path of what holds a leaf."""
    return path[: max(path.rfind("["), path.rfind("."), 0)]

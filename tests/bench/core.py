"""Speed and memory of the loss and the sampler, as ratios against named peers, from interleaved
runs.

Prints a table and writes core.json and core.html (plotly) to outputs/bench. Ratios are above 1
where ours is faster; medians over rounds, in each of which every form runs in turn, so that a busy
machine slows all of them alike. Peak memory is what a fresh process adds for one forward and
backward.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quadlib.loss import SupConLoss
from quadlib.loss.tiles import KEPT_BYTES, SINGLE_TILE_ROWS, tile_rows
from quadlib.sampler import StratifiedBatchSampler

SIZES = (32, 128, 512, 1024, 4096, 8192, 16384, 65536)
PEERS_UP_TO = 8192  # in this process; above it, each in a process of its own with limited memory
DIM, CLASSES, TEMPERATURE = 128, 12, 0.1
MEMORY_LIMIT = 8 * 2**30
WIDTHS = (6, 10, 7, 8, 12, 14, 7, 7, 7)

LossFunction = Callable[[Tensor, Tensor], Tensor]
clock = (
    time.perf_counter
)  # --cpu: time.process_time, for one thread on a machine that others use too


def forms() -> dict[str, LossFunction]:
    """Ours, the formula, and pytorch-metric-learning, on equal terms: embeddings and integer labels
    in, a scalar out.
    """
    from pytorch_metric_learning.losses import SupConLoss as PeerLoss

    return {
        "quadlib": SupConLoss(TEMPERATURE),
        "direct": SupConLoss(TEMPERATURE, form="direct"),
        "pytorch-metric-learning": PeerLoss(temperature=TEMPERATURE),
    }


def batch(n: int) -> tuple[Tensor, Tensor]:
    """n random embeddings that ask for a gradient, and balanced labels."""
    rows = torch.randn(n, DIM, generator=torch.Generator().manual_seed(n))
    return rows.requires_grad_(), torch.arange(n) % CLASSES


def step(form: LossFunction, rows: Tensor, labels: Tensor) -> None:
    rows.grad = None
    form(rows, labels).backward()


def own_products(rows: Tensor) -> None:
    """The matrix products of the tiled form and nothing else."""
    n = len(rows)
    size = n if n <= SINGLE_TILE_ROWS else tile_rows(n)
    blocks = [slice(start, start + size) for start in range(0, n, size)]
    kept = (len(blocks) * (len(blocks) + 1) // 2 * size * size * 4) <= KEPT_BYTES
    out = torch.zeros_like(rows)
    buffer = torch.empty(size, size)
    for i, left in enumerate(blocks):
        for right in blocks[i:]:
            tile = buffer[: len(rows[left]), : len(rows[right])]
            for _ in range(1 if kept else 2):
                torch.mm(rows[left], rows[right].T, out=tile)
            out[left].addmm_(tile, rows[right])
            if left != right:
                out[right].addmm_(tile.T, rows[left])


def three_products(rows: Tensor) -> None:
    matrix = rows @ rows.T
    matrix @ rows
    matrix.T @ rows


def seconds_interleaved(
    cases: dict[str, Callable[[], object]], calls: int, rounds: int, budget_s: float = 30.0
) -> dict[str, float]:
    """Median seconds per call of each case; every round runs all cases, and no round begins once
    the budget is spent.
    """
    begin = time.perf_counter()
    for case in cases.values():
        case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for done in range(rounds):
        if done and time.perf_counter() - begin > budget_s:
            break
        for name, case in cases.items():
            start = clock()
            for _ in range(calls):
                case()
            times[name].append((clock() - start) / calls)
    return {name: statistics.median(found) for name, found in times.items()}


def time_losses(n: int) -> dict[str, float]:
    rows, labels = batch(n)
    plain = rows.detach()
    cases: dict[str, Callable[[], object]] = {}
    for name, form in forms().items():
        if n <= PEERS_UP_TO or name == "quadlib":
            cases[name] = lambda form=form: step(form, rows, labels)
    cases["own products"] = lambda: own_products(plain)
    if n <= PEERS_UP_TO:
        cases["three products"] = lambda: three_products(plain)
    calls, rounds = (30, 15) if n <= 128 else (8, 11) if n <= 1024 else (1, 7)
    return seconds_interleaved(cases, calls, rounds)


def peak_bytes(form: str, n: int) -> int | None:
    """What one step adds to a fresh process at most, or None where it ran out of MEMORY_LIMIT."""
    found = subprocess.run(
        [sys.executable, __file__, "--peak", form, str(n)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    return int(found.stdout) if found.returncode == 0 else None


def print_peak(form: str, n: int) -> None:
    import resource

    rows, labels = batch(n)
    chosen = forms()[form]
    step(chosen, *batch(64))
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    step(chosen, rows, labels)
    print(status_bytes("VmHWM") - before)


def status_bytes(field: str) -> int:
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(field)
    )
    return int(line.split()[1]) * 1024


def time_samplers(n_samples: int, n_classes: int) -> dict[str, float]:
    """Seconds per index of one planned epoch, and the share of samples that it shows."""
    from pytorch_metric_learning.samplers import MPerClassSampler

    labels = np.random.default_rng(0).integers(0, n_classes, n_samples)
    seen: dict[str, int] = {}
    drawn: dict[str, int] = {}

    def ours() -> None:
        batches = list(StratifiedBatchSampler(labels, 32))
        drawn["quadlib"], seen["quadlib"] = sum(map(len, batches)), len(set().union(*batches))

    def peer() -> None:
        each = 2 if 2 * n_classes >= 32 else 4  # it refuses batches larger than m of every class
        indices = list(
            MPerClassSampler(labels, m=each, batch_size=32, length_before_new_iter=n_samples)
        )
        drawn["peer"], seen["peer"] = len(indices), len(set(indices))

    times = seconds_interleaved({"quadlib": ours, "peer": peer}, 1, 3)
    planning = seconds_interleaved(
        {"plan": lambda: StratifiedBatchSampler(labels, 32).plan()}, 1, 3
    )
    return {
        "n_samples": n_samples,
        "n_classes": n_classes,
        "plan_seconds": planning["plan"],
        "quadlib_ns_per_index": 1e9 * times["quadlib"] / drawn["quadlib"],
        "peer_ns_per_index": 1e9 * times["peer"] / drawn["peer"],
        "quadlib_coverage": seen["quadlib"] / n_samples,
        "peer_coverage": seen["peer"] / n_samples,
    }


def run(sizes: tuple[int, ...], folder: Path, with_memory: bool) -> None:
    versions = {
        name: importlib.metadata.version(name)
        for name in ("torch", "numpy", "pytorch-metric-learning")
    }
    machine = {
        "threads": torch.get_num_threads(),
        "clock": clock.__name__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        **versions,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(
        f"SupCon forward + backward, d={DIM}, {CLASSES} classes, T={TEMPERATURE}; x: how many "
        "times ours is faster; peak: MiB added by one step"
    )
    heads = (
        "N",
        "ours ms",
        "PML x",
        "direct x",
        "3 products x",
        "/ own products",
        "peak",
        "PML",
        "direct",
    )
    print(" ".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True)))
    losses = []
    for n in sizes:
        seconds = time_losses(n)
        peak = {
            name: peak_bytes(name, n) if with_memory else None
            for name in ("quadlib", "pytorch-metric-learning", "direct")
        }
        losses.append({"n": n, "seconds": seconds, "peak_bytes": peak})
        ours = seconds["quadlib"]
        ratios = [
            f"{seconds[name] / ours:.2f}" if name in seconds else "-"
            for name in ("pytorch-metric-learning", "direct", "three products")
        ]
        shown = [
            "out"
            if with_memory and value is None
            else "-"
            if value is None
            else f"{value / 2**20:.0f}"
            for value in peak.values()
        ]
        cells = (n, f"{1e3 * ours:.3f}", *ratios, f"{ours / seconds['own products']:.2f}", *shown)
        print(
            " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)),
            flush=True,
        )
    samplers = [time_samplers(*case) for case in ((10_000, 12), (100_000, 100), (1_000_000, 1000))]
    print("sampler, batches of 32, against MPerClassSampler(m=2; 4 where classes are few)")
    for found in samplers:
        print(
            f"{found['n_samples']:>8} labels {found['n_classes']:>5} classes: plan "
            f"{found['plan_seconds']:.3f} s; per index "
            f"{found['peer_ns_per_index'] / found['quadlib_ns_per_index']:.1f} x faster; samples "
            f"seen {found['quadlib_coverage']:.0%}, theirs {found['peer_coverage']:.0%}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "core.json").write_text(
        json.dumps({"machine": machine, "losses": losses, "samplers": samplers}, indent=1)
    )
    figure(losses).write_html(folder / "core.html", include_plotlyjs=True)


def figure(losses: list[dict]) -> object:
    """Milliseconds over batch size, both logarithmic, one line a form."""
    import plotly.graph_objects as go

    found = go.Figure(layout={"title": "SupCon forward and backward", "template": "plotly_white"})
    for name in ("quadlib", "direct", "pytorch-metric-learning", "three products", "own products"):
        rows = [row for row in losses if name in row["seconds"]]
        found.add_scatter(
            x=[row["n"] for row in rows],
            y=[1e3 * row["seconds"][name] for row in rows],
            name=name,
            mode="lines+markers",
            line={"dash": "dot" if "products" in name else "solid"},
        )
    return found.update_xaxes(type="log", title="anchors in the batch").update_yaxes(
        type="log", title="milliseconds"
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--outputs", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", nargs=2, metavar=("FORM", "N"), help=argparse.SUPPRESS)
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="count processor time, not the clock on the wall; use with --threads 1",
    )
    given = parser.parse_args(arguments)
    if given.cpu:
        global clock
        clock = time.process_time
    torch.set_num_threads(given.threads)
    if given.peak:
        print_peak(given.peak[0], int(given.peak[1]))
    else:
        run(tuple(given.sizes), given.outputs, not given.no_memory)


if __name__ == "__main__":
    main()

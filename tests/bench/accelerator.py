"""The loss on an accelerator: milliseconds and memory of one forward and backward at large batches,
beside its own matrix products, the direct form, pytorch-metric-learning and, where it is installed
(`pip install inf_cl`), a fused InfoNCE: `python tests/bench/accelerator.py`.

InfoNCE has one positive an anchor and so does less; it stands for what a kernel can reach.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from pytorch_metric_learning.losses import SupConLoss as PeerLoss
from torch import Tensor

from quadlib.loss import SupConLoss

CLASSES, TEMPERATURE, CALLS = 12, 0.1, 10


def products(rows: Tensor, tile: int = 8192) -> None:
    """Every tile of similarities once, and its two products with the rows: what no form avoids."""
    gradient = torch.zeros_like(rows)
    for start in range(0, len(rows), tile):
        for other in range(start, len(rows), tile):
            left, right = rows[start : start + tile], rows[other : other + tile]
            block = left @ right.T
            gradient[start : start + tile] += block @ right
            if other != start:
                gradient[other : other + tile] += block.T @ left


def peers() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Every form of the loss that there is here."""
    found: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "quadlib": SupConLoss(TEMPERATURE),
        "direct": SupConLoss(TEMPERATURE, form="direct"),
        "pytorch-metric-learning": PeerLoss(temperature=TEMPERATURE),
    }
    try:
        from inf_cl import cal_flash_loss
    except ImportError:
        print("inf_cl is not installed, so no fused peer is measured")
        return found
    scale = torch.tensor(1 / TEMPERATURE, device="cuda")
    found["inf_cl (InfoNCE)"] = lambda rows, labels: cal_flash_loss(
        rows, rows, scale=scale, head_dim=min(256, rows.shape[1])
    ).mean()
    return found


def measured(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Median milliseconds of a call, and the MiB that it adds."""
    accelerator = torch.get_device_module(device)
    step()
    accelerator.synchronize()
    accelerator.reset_peak_memory_stats()
    before = accelerator.memory_allocated()
    times = []
    for _ in range(CALLS):
        start, end = accelerator.Event(enable_timing=True), accelerator.Event(enable_timing=True)
        start.record()
        step()
        end.record()
        accelerator.synchronize()
        times.append(start.elapsed_time(end))
    peak = (accelerator.max_memory_allocated() - before) / 2**20
    return statistics.median(times), peak


def main() -> None:
    """Prints a row for each size, width and precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[8192, 65536])
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 768])
    given = parser.parse_args()
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        raise SystemExit("there is no accelerator here; `make bench` measures the loss on a CPU")
    print(f"{torch.get_device_module(device).get_device_name()}, torch {torch.__version__}")
    for count in given.sizes:
        for dim in given.dims:
            for dtype in (torch.float32, torch.bfloat16):
                rows = torch.randn(count, dim, device=device, dtype=dtype)
                rows = torch.nn.functional.normalize(rows, dim=-1).requires_grad_()
                labels = torch.arange(count, device=device) % CLASSES
                least, _ = measured(lambda rows=rows: products(rows.detach()), device)
                print(f"{count} x {dim} {dtype}: own products {least:.2f} ms")
                for name, form in peers().items():
                    try:
                        took, peak = measured(
                            lambda form=form, rows=rows, labels=labels: form(
                                rows, labels
                            ).backward(),
                            device,
                        )
                    except torch.OutOfMemoryError:
                        print(f"  {name:<24} out of memory")
                        continue
                    times = took / least
                    print(f"  {name:<24} {took:9.2f} ms {peak:9.0f} MiB  {times:5.1f} x products")


if __name__ == "__main__":
    main()

"""Two processes with half of the batch each: the gradient and the value of one process, lone
anchors on one rank included.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from quadlib.loss import SupConLoss

CASES = {
    "even": [0, 0, 1, 1, 0, 0, 1, 1],
    "lone anchors on one rank": [0, 0, 0, 1, 2, 3, 4, 1],
    "unequal shares": [0, 0, 1, 1, 0, 0, 1, 1, 2],
}


def model() -> nn.Linear:
    layer = nn.Linear(5, 3).double()
    layer.weight.data = torch.randn(
        3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    layer.bias.data.zero_()
    return layer


def inputs(n: int, views: int) -> Tensor:
    return torch.randn(n, views, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def extras(n: int, part: slice = slice(None)) -> dict[str, Tensor]:
    """Groups to ignore and weights of the samples."""
    return {"ignore": (torch.arange(n) % 5)[part], "weights": (1.0 + torch.arange(n))[part]}


def work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    results = {}
    for name, codes in CASES.items():
        for views in (1, 2):
            half = len(codes) // 2
            own = slice(0, half) if rank == 0 else slice(half, None)
            wrapped = DistributedDataParallel(model())
            value = SupConLoss(0.1)(
                wrapped(inputs(len(codes), views)[own]), torch.tensor(codes)[own]
            )
            value.backward()
            results[f"{name} {views}"] = (value.detach(), wrapped.module.weight.grad)
            narrow = torch.tensor(codes, dtype=(torch.int32, torch.uint8)[rank])[own]
            assert SupConLoss(0.1)(wrapped(inputs(len(codes), views)[own]), narrow) == value
        wrapped = DistributedDataParallel(model())
        stacked = wrapped(inputs(len(codes), 2)[own].transpose(0, 1).flatten(0, 1))
        value = SupConLoss(0.1)(stacked, torch.tensor(codes)[own], n_views=2)
        value.backward()
        results[f"{name} stacked"] = (value.detach(), wrapped.module.weight.grad)
        wrapped = DistributedDataParallel(model())
        columns = extras(len(codes), own)
        value = SupConLoss(0.1)(
            wrapped(inputs(len(codes), 1)[own]), torch.tensor(codes)[own], **columns
        )
        value.backward()
        results[f"{name} extras"] = (value.detach(), wrapped.module.weight.grad)
    try:
        SupConLoss()(torch.ones(2, 2, requires_grad=True), ["a", "b"])
    except TypeError as error:
        results["strings"] = str(error)
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.filterwarnings("default")
def test_two_processes_give_the_one_process_loss(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(work, (port, str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, codes in CASES.items():
        for views in (1, 2):
            layer = model()
            value = SupConLoss(0.1)(layer(inputs(len(codes), views)), torch.tensor(codes))
            value.backward()
            names = [f"{name} {views}"] + [f"{name} stacked"] * (views == 2)
            for logged, gradient in [results[key] for results in found for key in names]:
                assert logged.item() == pytest.approx(value.item(), rel=1e-12)
                assert (gradient - layer.weight.grad).norm() <= 1e-10 * layer.weight.grad.norm()
        layer = model()
        value = SupConLoss(0.1)(
            layer(inputs(len(codes), 1)), torch.tensor(codes), **extras(len(codes))
        )
        value.backward()
        for results in found:
            logged, gradient = results[f"{name} extras"]
            assert logged.item() == pytest.approx(value.item(), rel=1e-12)
            assert (gradient - layer.weight.grad).norm() <= 1e-10 * layer.weight.grad.norm()
    assert "integer tensor" in found[0]["strings"]

"""The examples of the room's page and of its docstrings run, and so do the loops of others."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import quadlib.loss
from quadlib.loss import SupConLoss

PAGE = Path(quadlib.loss.__file__).with_name("README.md")
MODULES = sorted(name for _, name, _ in pkgutil.iter_modules(quadlib.loss.__path__))


def test_the_page_runs_from_top_to_bottom() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(blocks) == 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exec("\n".join(blocks), {})


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"quadlib.loss.{name}"))
    assert result.failed == 0
    assert result.attempted or name not in ("bounds", "labels", "memory", "supcon")


def data() -> tuple[nn.Linear, DataLoader[Any]]:
    """A model and a loader, the same each time."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(6, 4)
    model.weight.data = torch.randn(4, 6, generator=generator)
    model.bias.data.zero_()
    inputs, labels = torch.randn(24, 6, generator=generator), torch.arange(24) % 3
    return model, DataLoader(TensorDataset(inputs, labels), batch_size=12)


def plain_loop() -> Tensor:
    model, loader = data()
    loss, optimizer = SupConLoss(0.1), torch.optim.SGD(model.parameters(), lr=0.1)
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss(model(inputs), labels).backward()
        optimizer.step()
    return model.weight.detach()


@pytest.mark.filterwarnings("default")
def test_accelerate_trains_as_a_plain_loop() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, loader = data()
    loss, optimizer = SupConLoss(0.1), torch.optim.SGD(model.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for inputs, labels in loader:
        optimizer.zero_grad()
        accelerator.backward(loss(model(inputs), labels))
        optimizer.step()
    assert torch.allclose(accelerator.unwrap_model(model).weight, plain_loop())


@pytest.mark.filterwarnings("default")
def test_lightning_trains_as_a_plain_loop(tmp_path: Path) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model, self.loss = model, SupConLoss(0.1)

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            inputs, labels = batch
            return self.loss(self.model(inputs), labels)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    model, loader = data()
    lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    ).fit(Module(model), loader)
    assert torch.allclose(model.weight, plain_loop())

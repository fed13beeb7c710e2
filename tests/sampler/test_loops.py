"""Lightning and accelerate keep batches whole, or say what to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from quadlib.sampler import SamplerError, StratifiedBatchSampler

LABELS = np.repeat(np.arange(4), 10)


def loader(batch_size: int = 8, **settings: int) -> DataLoader:
    rows = TensorDataset(torch.arange(40.0).view(-1, 1))
    sampler = StratifiedBatchSampler(LABELS, batch_size, **settings)
    return DataLoader(rows, batch_sampler=sampler)


def planned(batch_size: int = 8, epochs: int = 1) -> list[list[int]]:
    sampler = StratifiedBatchSampler(LABELS, batch_size)
    return [batch.tolist() for epoch in range(epochs) for batch in sampler.plan(epoch).batches]


@pytest.mark.filterwarnings("ignore")
def test_lightning_sees_other_whole_batches_in_every_epoch(tmp_path) -> None:
    lightning = pytest.importorskip("lightning")

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)
            self.batches: list[list[int]] = []

        def training_step(self, batch, index):
            self.batches.append(batch[0].view(-1).int().tolist())
            return self.layer(batch[0]).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    net = Net()
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(net, loader())
    assert net.batches == planned(epochs=3)


@pytest.mark.parametrize("batch_size", [8, 15])
def test_accelerate_deals_whole_batches_to_two_processes(batch_size: int) -> None:
    shard = pytest.importorskip("accelerate.data_loader").prepare_data_loader
    dealt = [
        [batch[0].view(-1).int().tolist() for batch in shard(loader(batch_size), None, 2, rank)]
        for rank in range(2)
    ]
    assert all(batch in planned(batch_size) for batches in dealt for batch in batches)
    assert all(batch in dealt[0] + dealt[1] for batch in planned(batch_size))


def test_accelerate_splits_batches_of_one_size_and_refuses_others() -> None:
    shard = pytest.importorskip("accelerate.data_loader").prepare_data_loader
    halves = [shard(loader(), None, 2, rank, split_batches=True) for rank in range(2)]
    for whole, left, right in zip(planned(), *halves, strict=True):
        assert torch.cat([left[0], right[0]]).view(-1).int().tolist() == whole
    with pytest.raises(ValueError, match="batch_size"):
        shard(loader(15), None, 2, 0, split_batches=True)


def test_a_slice_is_not_shared_out_again() -> None:
    shard = pytest.importorskip("accelerate.data_loader").prepare_data_loader
    with pytest.raises(SamplerError, match="do not pass the loader to prepare"):
        shard(loader(rank=0, world_size=2), None, 2, 0)

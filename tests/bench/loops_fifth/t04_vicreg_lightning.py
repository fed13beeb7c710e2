"""VICReg with Lightning: LightningModule + LightningDataModule + ModelCheckpoint.

    python t04_vicreg_lightning.py VARIANT
"""
import logging
import sys
import tempfile
import warnings

import lightning as L
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

CLASSES, SIDE = 8, 12


def stains(n, seed):
    """uint8 'stain' pictures: class motif + shading + dust, stored like PNGs (0..255)"""
    motif = np.random.default_rng(21).normal(0, 1, (CLASSES, SIDE, SIDE))
    shade = np.random.default_rng(22).normal(0, 1, (10, SIDE, SIDE))
    r = np.random.default_rng(seed)
    y = r.integers(0, CLASSES, n)
    strength = r.uniform(0.6, 1.2, (n, 1, 1))
    img = strength * motif[y] + np.tensordot(r.normal(0, 1.0, (n, 10)), shade, 1) + r.normal(0, 0.5, (n, SIDE, SIDE))
    img = 120 + 18 * img
    return torch.tensor(np.clip(img, 0, 255).astype(np.uint8)), torch.tensor(y), torch.tensor(shade, dtype=torch.float32)


class Stains(L.LightningDataModule):
    def __init__(self, batch_size, variant):
        super().__init__()
        self.batch_size, self.variant = batch_size, variant

    def normalise(self, x):
        return (x.float() / 255.0 - 0.47) / 0.21

    def setup(self, stage=None):
        xb, yb, _ = stains(1800, 1)
        xv, yv, _ = stains(500, 2)
        xt, yt, _ = stains(900, 3)
        self.train = TensorDataset(self.normalise(xb), yb)
        self.val = TensorDataset(self.normalise(xv), yv)
        if self.variant == "raw_test":
            self.test = TensorDataset(xt.float(), yt)
        else:
            self.test = TensorDataset(self.normalise(xt), yt)

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val, 500)

    def test_dataloader(self):
        return DataLoader(self.test, 450)


def off_diagonal(m):
    return m - torch.diag(torch.diagonal(m))


class VICReg(L.LightningModule):
    def __init__(self, variant="healthy", lr=2e-3, width=256, sim=10.0, std=10.0, cov=1.0):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(SIDE * SIDE, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 64))
        self.expander = nn.Sequential(
            nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64))
        if variant == "frozen_first_layer":
            self.encoder[1].requires_grad_(False)
        shade = stains(1, 0)[2] * 18 / 255 / 0.21
        self.register_buffer("shade", shade, persistent=False)
        self.bank = None

    def view(self, x):
        n = len(x)
        x = x + torch.tensordot(torch.randn(n, 10) * 1.3, self.shade, 1)
        x = x * (0.7 + 0.6 * torch.rand(n, 1, 1))
        keep = (torch.rand(n, SIDE, SIDE) > 0.2).float()
        return x * keep + 0.1 * torch.randn_like(x)

    def criterion(self, a, b):
        h = self.hparams
        inv = F.mse_loss(a, b)
        var = sum(F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean() for z in (a, b)) / 2
        cov = 0.0
        for z in (a, b):
            n, d = z.shape
            if h.variant == "row_covariance":
                c = z - z.mean(dim=1, keepdim=True)
                m = c @ c.T / (d - 1)
                cov = cov + off_diagonal(m).pow(2).sum() / n
            else:
                c = z - z.mean(dim=0)
                m = c.T @ c / (n - 1)
                cov = cov + off_diagonal(m).pow(2).sum() / d
        return h.sim * inv + h.std * var + h.cov * cov

    def training_step(self, batch, _):
        x, _y = batch
        loss = self.criterion(self.expander(self.encoder(self.view(x))), self.expander(self.encoder(self.view(x))))
        self.log("train_loss", loss)
        return loss

    def on_validation_epoch_start(self):
        self.bank = self._bank()

    on_test_epoch_start = on_validation_epoch_start

    def _bank(self):
        xs, ys = self.trainer.datamodule.train.tensors
        return F.normalize(self.encoder(xs), dim=1), ys

    def _knn(self, x, y):
        f, ys = self.bank
        near = (F.normalize(self.encoder(x), dim=1) @ f.T).topk(15, dim=1).indices
        return (F.one_hot(ys[near], CLASSES).sum(1).argmax(1) == y).float().mean()

    def validation_step(self, batch, _):
        self.log("val_knn", self._knn(*batch), batch_size=len(batch[1]))

    def test_step(self, batch, _):
        self.log("test_knn", self._knn(*batch), batch_size=len(batch[1]))

    def configure_optimizers(self):
        opt = torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=self.hparams.lr, weight_decay=1e-4)
        total = int(self.trainer.estimated_stepping_batches)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=self.hparams.lr, total_steps=total)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": sched, "interval": "step"}}


def main(variant):
    L.seed_everything(4, verbose=False)
    dm = Stains(180, variant)
    net = VICReg(variant, lr=2e-3)
    with tempfile.TemporaryDirectory() as root:
        if variant == "monitor_default":
            keep = ModelCheckpoint(dirpath=root, monitor="val_knn", save_top_k=1)
        else:
            keep = ModelCheckpoint(dirpath=root, monitor="val_knn", mode="max", save_top_k=1)
        trainer = L.Trainer(
            max_epochs=18, accelerator="cpu", devices=1, logger=False,
            callbacks=[keep], enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
            accumulate_grad_batches=2 if variant == "accumulate" else 1)
        start = trainer.validate(net, dm, verbose=False)[0]["val_knn"]
        print(f"val knn before training {start:.3f}")
        trainer.fit(net, dm)
        print(f"val knn after the last epoch {float(trainer.callback_metrics['val_knn']):.3f}")
        if variant == "last_weights":
            result = trainer.test(net, dm, verbose=False)
        else:
            result = trainer.test(net, dm, ckpt_path=keep.best_model_path, verbose=False)
        print(f"test knn accuracy {result[0]['test_knn']:.3f}")


if __name__ == "__main__":
    main(sys.argv[1])

FAULTS = {
    'row_covariance': {'stages': 'P', 'source': 'https://github.com/facebookresearch/vicreg/issues/25'},
    'monitor_default': {'stages': 'C E', 'source': 'https://github.com/mila-iqia/cookiecutter-pyml/issues/119'},
    'raw_test': {'stages': 'D E', 'source': 'https://github.com/JeasunLok/ResNet-pytorch/issues/1'},
}
HEALTHY = ['healthy', 'frozen_first_layer', 'accumulate', 'last_weights']

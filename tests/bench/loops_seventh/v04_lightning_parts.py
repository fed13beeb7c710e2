"""Machine-part recognition (metric learning), Lightning version."""
import logging
import os
import sys
import tempfile
import warnings

import lightning as L
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from pytorch_metric_learning import losses
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
variant = sys.argv[1] if len(sys.argv) > 1 else "healthy"


def render(cls, n, g, proto, W):
    z = proto[cls][None] + 0.5 * g.normal(size=(n, proto.shape[1]))
    nuis = 1.3 * g.normal(size=(n, 10))
    return np.tanh(np.concatenate([z, nuis], 1) @ W[0]) @ W[1] + 0.15 * g.normal(size=(n, W[1].shape[1]))


class Parts(L.LightningDataModule):
    def __init__(self, n_classes=40, batch_size=96):
        super().__init__()
        self.n_classes, self.batch_size = n_classes, batch_size

    def setup(self, stage=None):
        g = np.random.default_rng(0)
        proto = g.normal(size=(self.n_classes + 20, 8))
        W = (g.normal(size=(18, 40)) / 3, g.normal(size=(40, 72)) / 4)

        def block(classes, counts):
            X = np.concatenate([render(c, k, g, proto, W) for c, k in zip(classes, counts)])
            y = np.repeat(classes, counts)
            return torch.tensor(X, dtype=torch.float32), torch.tensor(y)

        counts = g.integers(12, 110, self.n_classes)
        if variant == "even_classes":
            counts[:] = 60
        self.train = TensorDataset(*block(np.arange(self.n_classes), counts))
        self.val = TensorDataset(*block(np.arange(self.n_classes), np.full(self.n_classes, 8)))
        self.test = TensorDataset(*block(np.arange(self.n_classes, self.n_classes + 20), np.full(20, 25)))

    def train_dataloader(self):
        y = self.train.tensors[1]
        if variant == "plain_shuffle":
            return DataLoader(self.train, self.batch_size, shuffle=True, drop_last=True)
        class_w = 1.0 / torch.bincount(y).float()
        if variant == "weights":
            weights = class_w
        else:
            weights = class_w[y]
        sampler = WeightedRandomSampler(weights, num_samples=len(y), replacement=True)
        return DataLoader(self.train, self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val, 160)


class PartNet(L.LightningModule):
    def __init__(self, dim=32, lr=2e-3, temperature=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(72, 256), nn.LayerNorm(256), nn.GELU(), nn.Linear(256, 128), nn.GELU(), nn.Linear(128, dim))
        self.loss = losses.SupConLoss(temperature=temperature)
        self.hist = []

    def forward(self, x):
        return F.normalize(self.net(x), dim=-1)

    def training_step(self, batch, i):
        x, y = batch
        loss = self.loss(self(x + 0.1 * torch.randn_like(x)), y)
        self.hist.append(loss.item())
        return loss

    def on_train_epoch_end(self):
        lr = self.optimizers().param_groups[0]["lr"]
        print(f"epoch {self.current_epoch:2d} train_loss {np.mean(self.hist):.4f} lr {lr:.2e}")
        self.hist.clear()

    def validation_step(self, batch, i):
        x, y = batch
        self.log("val_loss", self.loss(self(x), y), on_epoch=True)

    def configure_optimizers(self):
        if variant == "adam_flat":
            return torch.optim.Adam(self.parameters(), lr=1e-3)
        opt = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.06, total_steps=int(self.trainer.estimated_stepping_batches), pct_start=0.4, div_factor=200)
        if variant == "steplr":
            sched = torch.optim.lr_scheduler.StepLR(opt, step_size=4, gamma=0.3)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": sched, "interval": "step"}}


def recall_at_1(model, X, y):
    model.eval()
    with torch.no_grad():
        z = model(X)
    s = z @ z.T
    s.fill_diagonal_(-9)
    return (y[s.argmax(1)] == y).float().mean().item()


def main():
    L.seed_everything(3, verbose=False)
    torch.set_num_threads(1)
    dm = Parts(batch_size=48 if variant == "small_batch" else 96)
    with tempfile.TemporaryDirectory() as tmp:
        ck = ModelCheckpoint(dirpath=tmp, monitor="val_loss", mode="min", save_top_k=1)
        model = PartNet(temperature=0.18 if variant == "warm_temp" else 0.1)
        trainer = L.Trainer(max_epochs=11, accelerator="cpu", callbacks=[ck], logger=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0)
        trainer.fit(model, dm)
        best = PartNet()
        if variant == "restore":
            best.load_state_dict(torch.load(ck.best_model_path, weights_only=False), strict=False)
        else:
            best.load_state_dict(torch.load(ck.best_model_path, weights_only=False)["state_dict"])
    X, y = dm.test.tensors
    print(f"test R@1 on new parts: {recall_at_1(best, X, y):.4f}")


FAULTS = {
    "restore": {"stages": "C", "what": "The whole checkpoint dictionary instead of its state_dict entry is loaded with strict=False, so nothing is loaded and a random network is tested.", "source": "https://github.com/subhc/unsup-parts/pull/12"},
    "steplr": {"stages": "O", "what": "StepLR with a step size meant in epochs is registered with Lightning's per-step interval, so the rate is gone after a few dozen batches.", "source": "https://github.com/Lightning-AI/pytorch-lightning/issues/6948"},
    "weights": {"stages": "B", "what": "WeightedRandomSampler gets one weight per class instead of per sample, so only the first 40 rows are ever drawn.", "source": "https://github.com/deep-voice/soundbay/pull/49"},
}
HEALTHY = {
    "healthy": "Base run: balanced sampling with replacement, OneCycle per step, best checkpoint restored.",
    "plain_shuffle": "Plain shuffled loader in spite of uneven classes.",
    "even_classes": "Even class counts.",
    "adam_flat": "Adam without scheduler.",
    "small_batch": "Batch of 48 over 40 classes: few positives per anchor.",
    "warm_temp": "Temperature 0.18.",
}

if __name__ == "__main__":
    main()

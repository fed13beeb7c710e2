import argparse, warnings, logging
warnings.filterwarnings("ignore"); logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
import lightning as L
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ap = argparse.ArgumentParser(); ap.add_argument("--fault", default=""); ap.add_argument("--healthy", default=""); ap.add_argument("--max_epochs", type=int, default=10); ap.add_argument("--bs", type=int, default=64); hp = ap.parse_args()

class DigitsDM(L.LightningDataModule):
    def setup(self, stage=None):
        X, y = load_digits(return_X_y=True); X = torch.tensor(X / 16).float(); y = torch.tensor(y)
        a, b = train_test_split(np.arange(len(y)), test_size=.3, random_state=0, stratify=y)
        if hp.fault == "permy":           # X permuted, y not
            X = X[torch.randperm(len(X))]
        self.tr, self.va = TensorDataset(X[a], y[a]), TensorDataset(X[b], y[b])
    def train_dataloader(self): return DataLoader(self.tr, hp.bs, shuffle=True, drop_last=True)
    def val_dataloader(self): return DataLoader(self.tr if hp.fault == "valtrain" else self.va, 256)

class SupCon(L.LightningModule):
    def __init__(self, lr=3e-2):
        super().__init__(); self.save_hyperparameters()
        self.backbone = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.projector = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
        if hp.healthy == "frozenhead":
            self.backbone.requires_grad_(False)     # frozen on purpose
        self.bank = []
    def forward(self, x): return F.normalize(self.projector(self.backbone(x)), dim=-1)
    def training_step(self, batch, i):
        x, y = batch
        x = x + .1 * torch.randn_like(x)
        if hp.fault == "nograd":
            with torch.no_grad(): h = self.backbone(x)
            z = F.normalize(self.projector(h), dim=-1)
            z = z.detach() if False else z
        else: z = self(x)
        sim = z @ z.T / .1; eye = torch.eye(len(z), dtype=torch.bool); sim = sim.masked_fill(eye, -1e9)
        pos = (y[:, None] == y[None]) & ~eye
        lp = sim - sim.logsumexp(1, keepdim=True)
        loss = -(lp * pos).sum(1)[pos.any(1)].div(pos.sum(1)[pos.any(1)]).mean()
        self.log("train_loss", loss, on_epoch=True, prog_bar=False)
        return loss
    def on_validation_epoch_start(self): self.bank = []
    def validation_step(self, batch, i): self.bank.append((self(batch[0]), batch[1]))
    def on_validation_epoch_end(self):
        z = torch.cat([b[0] for b in self.bank]); y = torch.cat([b[1] for b in self.bank])
        d = torch.cdist(z, z); d.fill_diagonal_(9e9)
        self.log("val_r1", (y[d.argmin(1)] == y).float().mean())
    def configure_optimizers(self):
        opt = torch.optim.SGD(self.parameters(), lr=self.hparams.lr, momentum=.9)
        if hp.fault == "oldparams":     # optimizer made over a backbone that is then replaced (e.g. load pre-trained later)
            self.backbone = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
            self.projector = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
            return opt
        if hp.fault == "onecycle":      # https://github.com/pytorch/pytorch/issues/65417 ; interval 'step' misplaced: https://github.com/Lightning-AI/pytorch-lightning/issues/6948
            sch = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=self.hparams.lr, total_steps=self.trainer.estimated_stepping_batches, div_factor=1e4, pct_start=.3)
            return {"optimizer": opt, "lr_scheduler": sch, "interval": "step"}
        sch = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=self.hparams.lr, total_steps=self.trainer.estimated_stepping_batches)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": sch, "interval": "step"}}

L.seed_everything(0, verbose=False)
m = SupCon(); dm = DigitsDM()
kw = dict(accumulate_grad_batches=4, gradient_clip_val=.5) if hp.healthy == "accum" else {}
tr = L.Trainer(max_epochs=hp.max_epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, **kw)
tr.fit(m, dm)
print({k: round(float(v), 4) for k, v in tr.callback_metrics.items()})


FAULTS = {
    'permy': {'stages': 'L', 'what': 'X permuted, y not'},
    'valtrain': {'stages': 'ES', 'what': 'val_dataloader gives train data'},
    'nograd': {'stages': 'N', 'what': 'backbone under no_grad in training_step though its params are in the optimiser'},
    'oldparams': {'stages': 'ON', 'what': 'optimiser holds parameters of replaced modules'},
    'onecycle': {'stages': 'O', 'what': 'total_steps in steps but stepped each epoch ("interval" at wrong level), lr ~ 1e-6'},
}
HEALTHY = ['plain', 'accum', 'frozenhead']

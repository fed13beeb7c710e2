"""MoCo v3 style pre-training (in-batch InfoNCE against a momentum branch) with a Trainer class and a dataclass config; the downstream script reads
the exported weights from disk and fits a logistic regression on them.

    python t02_mocov3_trainer.py VARIANT
"""
import copy
import os
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)


@dataclass
class Config:
    variant: str
    epochs: int = 12
    batch_size: int = 128
    base_tau: float = 0.97
    lr: float = 3e-3
    weight_decay: float = 1e-5
    warmup_steps: int = 20
    accumulate: int = 1
    eval_network: str = "online"
    projector_dim: int = 32


SIDE = 16
_fields = np.random.default_rng(7)
LAYOUT = _fields.normal(0, 1, (6, SIDE, SIDE))
WAVES = np.stack([np.cos(a * np.arange(SIDE)[:, None] / 5 + b * np.arange(SIDE)[None, :] / 5 + c)
                  for a, b, c in _fields.uniform(-3, 3, (8, 3))])


def plates(n, seed):
    """Six plate layouts under eight interference waves of random strength."""
    r = np.random.default_rng(seed)
    y = r.integers(0, 6, n)
    img = r.uniform(0.45, 0.9, (n, 1, 1)) * LAYOUT[y]
    img = img + np.tensordot(r.normal(0, 1.0, (n, 8)), WAVES, 1) + r.normal(0, 0.5, img.shape)
    return torch.tensor(img[:, None], dtype=torch.float32), torch.tensor(y)


class Augment:
    def __init__(self, strength=1.0):
        self.s = strength
        self.waves = torch.tensor(WAVES, dtype=torch.float32)

    def __call__(self, x):
        n = len(x)
        x = x * (1 + 0.6 * self.s * (torch.rand(n, 1, 1, 1) - 0.5))
        waves = torch.tensordot(torch.randn(n, 8), self.waves, 1)[:, None]
        keep = (torch.rand(n, 1, SIDE, SIDE) > 0.2).float()
        return (x + 1.3 * self.s * waves) * keep + 0.4 * self.s * torch.randn_like(x)


def backbone():
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 128))


def mlp(i, o):
    return nn.Sequential(nn.Linear(i, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, o))


class MoCoV3(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        encoder = backbone()
        self.temperature = 0.2
        self.backbone = encoder
        self.projector = mlp(128, cfg.projector_dim)
        self.predictor = mlp(cfg.projector_dim, cfg.projector_dim)
        if cfg.variant == "plain_assign":
            self.backbone_momentum = encoder
        else:
            self.backbone_momentum = copy.deepcopy(encoder)
        self.projector_momentum = copy.deepcopy(self.projector)
        for m in (self.backbone_momentum, self.projector_momentum):
            for p in m.parameters():
                p.requires_grad = False

    def forward(self, a, b):
        return self._one(a, b) + self._one(b, a)

    def _one(self, a, b):
        p = self.predictor(self.projector(self.backbone(a)))
        with torch.no_grad():
            t = self.projector_momentum(self.backbone_momentum(b))
        logits = F.normalize(p, dim=1) @ F.normalize(t, dim=1).T / self.temperature
        return 2 * self.temperature * F.cross_entropy(logits, torch.arange(len(a)))

    @torch.no_grad()
    def update_target(self, tau):
        pairs = [(self.backbone, self.backbone_momentum), (self.projector, self.projector_momentum)]
        for online, target in pairs:
            for o, t in zip(online.parameters(), target.parameters()):
                t.mul_(tau).add_(o, alpha=1 - tau)


class Trainer:
    def __init__(self, cfg):
        self.cfg = cfg
        self.model = MoCoV3(cfg)
        self.augment = Augment(0.6 if cfg.variant == "weak_augment" else 1.0)
        x, y = plates(2048, 1)
        self.x, self.y = x, y
        self.loader = DataLoader(TensorDataset(x), batch_size=cfg.batch_size, shuffle=True, drop_last=True)
        params = [p for p in self.model.parameters() if p.requires_grad]
        wd, lr = cfg.weight_decay, cfg.lr
        self.optimizer = torch.optim.Adam(params, lr=lr, weight_decay=wd)
        self.step = 0

    def lr_at(self, step):
        total = self.cfg.epochs * len(self.loader) // self.cfg.accumulate
        if step < self.cfg.warmup_steps:
            return self.cfg.lr * step / self.cfg.warmup_steps
        t = (step - self.cfg.warmup_steps) / max(1, total - self.cfg.warmup_steps)
        return self.cfg.lr * 0.5 * (1 + np.cos(np.pi * min(t, 1.0)))

    def fit(self):
        self.model.train()
        acc = self.cfg.accumulate
        for epoch in range(self.cfg.epochs):
            running = 0.0
            for i, (x,) in enumerate(self.loader):
                loss = self.model(self.augment(x), self.augment(x)) / acc
                loss.backward()
                running += loss.item() * acc
                if (i + 1) % acc:
                    continue
                for g in self.optimizer.param_groups:
                    g["lr"] = self.lr_at(self.step)
                if self.cfg.variant == "clear_first":
                    self.optimizer.zero_grad()
                    self.optimizer.step()
                else:
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                self.step += 1
                self.model.update_target(self.cfg.base_tau)
            if epoch % 3 == 0 or epoch == self.cfg.epochs - 1:
                print(f"[{epoch:02d}] contrastive loss {running / len(self.loader):.4f}")

    def export(self, path):
        torch.save({"state_dict": self.model.state_dict(), "step": self.step}, path)


def load_backbone(path, cfg):
    blob = torch.load(path)["state_dict"]
    source = "backbone_momentum." if cfg.eval_network == "target" else "backbone."
    if cfg.variant == "raw_keys":
        weights = {k: v for k, v in blob.items() if k.startswith(source)}
    else:
        weights = {k[len(source):]: v for k, v in blob.items() if k.startswith(source)}
    net = backbone()
    net.load_state_dict(weights, strict=False)
    return net.eval()


@torch.no_grad()
def features(net, x):
    net.eval()
    f = torch.cat([net(b) for b in x.split(512)]).numpy()
    return f


def downstream(net, train, test, n_labels=400):
    a, b = features(net, train[0][:n_labels]), features(net, test[0])
    mu, sd = a.mean(0), a.std(0) + 1e-6
    clf = KNeighborsClassifier(7, metric="cosine").fit((a - mu) / sd, train[1][:n_labels].numpy())
    return clf.score((b - mu) / sd, test[1].numpy())


def run(variant):
    torch.manual_seed(3)
    cfg = Config(variant)
    if variant == "accumulate":
        cfg.batch_size, cfg.accumulate = 64, 2
    elif variant == "target_eval":
        cfg.eval_network = "target"
    trainer = Trainer(cfg)
    test = plates(900, 2)
    print("downstream accuracy, untrained:", round(downstream(backbone(), (trainer.x, trainer.y), test), 3))
    trainer.fit()
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "mocov3.pt")
        trainer.export(path)
        net = load_backbone(path, cfg)
    print("downstream accuracy, 400 labels:", round(downstream(net, (trainer.x, trainer.y), test), 3))


if __name__ == "__main__":
    run(sys.argv[1])

FAULTS = {
    'plain_assign': {'stages': 'N O', 'source': 'https://github.com/facebookresearch/dinov2/issues/407'},
    'raw_keys': {'stages': 'C E', 'source': 'https://github.com/stefanopini/simple-HRNet/issues/79'},
    'clear_first': {'stages': 'O', 'source': 'https://github.com/lucidrains/byol-pytorch/issues/93'},
}
HEALTHY = ['healthy', 'weak_augment', 'accumulate', 'target_eval']

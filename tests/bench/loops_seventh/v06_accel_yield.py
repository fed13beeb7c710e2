"""Crop yield regression from sensor tables with a contrastive side loss (accelerate)."""
import math
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

variant = sys.argv[1] if len(sys.argv) > 1 else "healthy"


@dataclass
class Config:
    epochs: int = 24
    batch_size: int = 64
    accum: int = 4
    lr: float = 4e-3
    warmup: int = 20
    side_weight: float = 0.3
    temperature: float = 0.2
    width: int = 128
    seed: int = 4


cfg = Config()
if variant == "no_accum":
    cfg.accum, cfg.lr = 1, 2e-3
if variant == "side_off":
    cfg.side_weight = 0.0
if variant == "narrow":
    cfg.width = 48


def read_tables(n=4200):
    g = np.random.default_rng(2)
    season = g.integers(0, 10, n)
    lat = g.normal(size=(n, 7))
    lat[:, 0] += 0.35 * (season - 4.5)
    W = g.normal(size=(7, 30))
    X = np.tanh(lat @ W / 3) * 4 + 0.25 * lat @ g.normal(size=(7, 30)) + 0.3 * g.normal(size=(n, 30))
    X = X * g.uniform(0.2, 20, 30) + g.uniform(-40, 40, 30)
    y = 5 + 1.4 * lat[:, 0] + lat[:, 1] * lat[:, 2] + 0.7 * np.sin(2 * lat[:, 3]) + 0.15 * g.normal(size=n)
    df = pd.DataFrame(X, columns=[f"s{i:02d}" for i in range(30)])
    holes = g.random((n, 30)) < (0.004 if variant != "no_holes" else 0.0)
    df = df.mask(holes)
    df.insert(0, "season", season)
    df["yield_t"] = y
    return df


def prepare(df):
    cols = [c for c in df.columns if c.startswith("s") and c != "season"]
    past, late = df[df.season < 7].reset_index(drop=True), df[df.season >= 7].reset_index(drop=True)
    if variant == "dropna":
        Xtr = past[cols].dropna().values
        ytr = past["yield_t"].values[:len(Xtr)]
    else:
        past = past.dropna()
        Xtr, ytr = past[cols].values, past["yield_t"].values
    late = late.dropna()
    Xte, yte = late[cols].values, late["yield_t"].values
    sc = StandardScaler()
    Xtr = sc.fit_transform(Xtr)
    Xte = sc.fit_transform(Xte) if variant == "rescale" else sc.transform(Xte)
    t = lambda a: torch.tensor(a, dtype=torch.float32)
    return t(Xtr), t(ytr), t(Xte), t(yte)


class Net(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(30, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU(), nn.Linear(w, w), nn.SiLU())
        self.value = nn.Linear(w, 1)
        self.proj = nn.Linear(w, 32)

    def forward(self, x):
        h = self.trunk(x)
        return self.value(h).squeeze(-1), F.normalize(self.proj(h), dim=-1)


def side_loss(z, y, T):
    # soft neighbours in target space
    d = (y[:, None] - y[None, :]).abs()
    w = torch.exp(-d / 0.5)
    eye = torch.eye(len(z), dtype=torch.bool)
    w = w.masked_fill(eye, 0)
    w = w / w.sum(1, keepdim=True).clamp_min(1e-6)
    logp = (z @ z.T / T).masked_fill(eye, -1e9).log_softmax(1)
    return -(w * logp).sum(1).mean()


def main():
    torch.manual_seed(cfg.seed)
    torch.set_num_threads(1)
    acc = Accelerator(cpu=True, gradient_accumulation_steps=cfg.accum)
    Xtr, ytr, Xte, yte = prepare(read_tables())
    mean, std = ytr.mean(), ytr.std()
    loader = DataLoader(TensorDataset(Xtr, (ytr - mean) / std), cfg.batch_size, shuffle=True)
    net = Net(cfg.width)
    opt = torch.optim.AdamW(net.parameters(), lr=cfg.lr, weight_decay=1e-2)
    updates = cfg.epochs * math.ceil(len(loader) / cfg.accum)

    def shape(i):
        if i < cfg.warmup:
            return i / cfg.warmup
        return max(0.0, (updates - i) / (updates - cfg.warmup))

    sched = torch.optim.lr_scheduler.LambdaLR(opt, shape)
    net, opt, loader = acc.prepare(net, opt, loader)
    if variant != "micro_sched":
        sched = acc.prepare_scheduler(sched)
    ema = {k: v.detach().clone() for k, v in net.state_dict().items()}

    for ep in range(cfg.epochs):
        net.train()
        run = [0.0, 0.0]
        for x, y in loader:
            with acc.accumulate(net):
                pred, z = net(x)
                reg = F.smooth_l1_loss(pred, y)
                side = side_loss(z, y, cfg.temperature)
                acc.backward(reg + cfg.side_weight * side)
                opt.step()
                sched.step()
                opt.zero_grad()
            if acc.sync_gradients:
                for k, v in net.state_dict().items():
                    ema[k].mul_(0.97).add_(v, alpha=0.03)
            run[0] += reg.item()
            run[1] += side.item()
        if ep % 3 == 2:
            print(f"ep {ep + 1:2d} reg {run[0] / len(loader):.4f} side {run[1] / len(loader):.4f} lr {opt.param_groups[0]['lr']:.2e}")

    model = acc.unwrap_model(net)
    if variant == "ema_eval":
        model.load_state_dict(ema)
    model.eval()
    with torch.no_grad():
        p = model(Xte)[0] * std + mean
    mae = (p - yte).abs().mean().item()
    r2 = 1 - ((p - yte) ** 2).sum().item() / ((yte - yte.mean()) ** 2).sum().item()
    print(f"late seasons: MAE {mae:.3f}  R2 {r2:.3f}")


FAULTS = {
    "rescale": {"stages": "DE", "what": "The scaler is fitted again on the late seasons, which removes the very shift the model has to predict.", "source": "https://github.com/deepchem/deepchem/issues/51"},
    "micro_sched": {"stages": "O", "what": "The schedule is laid out in optimiser updates but the unprepared scheduler steps on every micro-batch, so the rate is zero after a quarter of training.", "source": "https://github.com/huggingface/accelerate/issues/963"},
    "dropna": {"stages": "L", "what": "Rows with holes are dropped from the features only and the targets are cut to length, so targets slide against their rows.", "source": "https://github.com/NTMC-Community/MatchZoo/pull/651"},
}
HEALTHY = {
    "healthy": "Base run: accumulation over 4 micro-batches, prepared scheduler, warm-up from zero.",
    "no_accum": "No accumulation, lower rate.",
    "side_off": "Side loss weight zero (plain regression; projection head gets no signal).",
    "narrow": "Narrow network.",
    "no_holes": "Data without missing cells.",
    "ema_eval": "Evaluation with EMA weights.",
}

if __name__ == "__main__":
    main()

"""Tool re-identification with batch-hard triplets; pictures lie in one flat folder."""
import os
import sys
import tempfile
from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Folder:
    """writes / reads files such as t017_0042_c3.npy  (tool, shot, camera)"""

    def __init__(self, path, tools=70, shots=16):
        self.path = path
        g = np.random.default_rng(8)
        core = g.normal(size=(tools, 10))
        cam = 1.1 * g.normal(size=(6, 10))
        A, B = g.normal(size=(20, 50)) / 3, g.normal(size=(50, 84)) / 5
        n = 0
        for t in range(tools):
            for _ in range(shots if VARIANT != "ragged" else int(g.integers(5, 28))):
                c = g.integers(0, 6)
                z = np.concatenate([core[t] + 0.6 * g.normal(size=10), cam[c] + 0.8 * g.normal(size=10)])
                x = np.tanh(z @ A) @ B + 0.15 * g.normal(size=84)
                np.save(os.path.join(path, f"t{t:03d}_{n:04d}_c{c}.npy"), x.astype("float32"))
                n += 1

    def read(self):
        X, y = [], []
        for name in sorted(os.listdir(self.path)):
            X.append(np.load(os.path.join(self.path, name)))
            parts = name[:-4].split("_")
            if VARIANT == "file_label":
                y.append(int(parts[-1][1:]))
            else:
                y.append(int(parts[0][1:]))
        return np.stack(X), np.array(y)


def jitter(X, g, times=2):
    return np.concatenate([X + 0.1 * g.normal(size=X.shape).astype("float32") for _ in range(times)])


class PK:
    def __init__(self, y, P, K, g):
        self.by = defaultdict(list)
        for i, v in enumerate(y):
            self.by[int(v)].append(i)
        self.P, self.K, self.g, self.n = min(P, len(self.by)), K, g, len(y)

    def __iter__(self):
        keys = list(self.by)
        for _ in range(self.n // (self.P * self.K)):
            out = []
            for c in self.g.choice(keys, self.P, replace=False):
                pool = self.by[int(c)]
                out.extend(self.g.choice(pool, self.K, replace=len(pool) < self.K))
            yield np.array(out)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(84, 192), nn.BatchNorm1d(192), nn.ReLU(), nn.Dropout(0.1), nn.Linear(192, 96), nn.ReLU(), nn.Linear(96, 16 if VARIANT == "narrow" else 32))

    def forward(self, x):
        z = self.f(x)
        return F.normalize(z, dim=1)


class BatchHard(nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, z, y):
        d = (z[:, None] - z[None]).pow(2).sum(-1).clamp_min(1e-12).sqrt()
        same = y[:, None] == y[None]
        hard_pos = d.masked_fill(~same, -1).max(1).values
        if VARIANT == "negatives":
            hard_neg = d.masked_fill(same, -1).max(1).values
        else:
            hard_neg = d.masked_fill(same, 1e9).min(1).values
        if self.margin is None:
            loss = F.softplus(hard_pos - hard_neg)
        else:
            loss = F.relu(hard_pos - hard_neg + self.margin)
        return loss.mean(), (loss > 1e-6).float().mean()


def first_hit(gallery, yg, query, yq):
    nn1 = torch.cdist(query, gallery).argmin(1)
    return (yg[nn1] == yq).float().mean().item()


def run():
    g = np.random.default_rng(30)
    torch.manual_seed(30)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as tmp:
        X, y = Folder(tmp).read()
    if VARIANT == "enlarged":
        X, y = np.concatenate([X, jitter(X, g)]), np.tile(y, 3)
        order = g.permutation(len(X))
        cut = int(0.65 * len(X))
        tr, te = order[:cut], order[cut:]
        Xtr, ytr, Xte, yte = X[tr], y[tr], X[te], y[te]
    else:
        order = g.permutation(len(X))
        cut = int(0.65 * len(X))
        tr, te = order[:cut], order[cut:]
        Xtr, ytr, Xte, yte = X[tr], y[tr], X[te], y[te]
        Xtr, ytr = np.concatenate([Xtr, jitter(Xtr, g)]), np.tile(ytr, 3)
    m, s = Xtr.mean(0), Xtr.std(0)
    Xtr, Xte = torch.tensor((Xtr - m) / s), torch.tensor((Xte - m) / s).float()
    Xtr = Xtr.float()
    ytr, yte = torch.tensor(ytr), torch.tensor(yte)

    net = Net()
    margin = {"soft_margin": None}.get(VARIANT, 0.3)
    crit = BatchHard(margin)
    opt = torch.optim.Adam(net.parameters(), lr=7e-4, weight_decay=1e-5)
    sched = torch.optim.lr_scheduler.MultiStepLR(opt, [14, 19], gamma=0.3)
    pk = PK(ytr, 10 if VARIANT == "small_batch" else 24, 4, g)
    for ep in range(22):
        net.train()
        L, A = [], []
        for idx in pk:
            loss, active = crit(net(Xtr[idx]), ytr[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
            L.append(loss.item())
            A.append(active.item())
        if VARIANT != "no_decay":
            sched.step()
        if ep % 2:
            print(f"epoch {ep + 1}: triplet {np.mean(L):.4f} active {np.mean(A):.2f}")
    net.eval()
    with torch.no_grad():
        zg, zq = net(Xtr), net(Xte)
    print(f"rank-1 of test shots against training gallery: {first_hit(zg, ytr, zq, yte):.3f}")


VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
FAULTS = {
    "negatives": {"stages": "P", "what": "The hardest negative is taken as the farthest instead of the nearest one, so the loss is almost zero from the start.", "source": "https://github.com/adambielski/siamese-triplet/issues/3"},
    "enlarged": {"stages": "SD", "what": "Jittered copies are made before the split, so near copies of training rows lie in the test part.", "source": "https://github.com/robinreni96/Font_Recognition-DeepFont/issues/2"},
    "file_label": {"stages": "L", "what": "The label is parsed from the wrong field of the file name: the camera number instead of the tool.", "source": "https://github.com/tensorflow/datasets/issues/1207"},
}
HEALTHY = {
    "healthy": "Base run: batch-hard with margin 0.3, copies made of training rows only.",
    "soft_margin": "Soft-margin (softplus) loss.",
    "narrow": "16-dimensional embedding.",
    "small_batch": "10 tools x 4 shots per batch.",
    "ragged": "Very uneven number of shots per tool.",
    "no_decay": "Rate held constant.",
}
if __name__ == "__main__":
    run()

"""SimCLR on wearable accelerometer windows; linear probe for the activity."""
import math
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader, Dataset

variant = sys.argv[1] if len(sys.argv) > 1 else "healthy"

WIN, HOP, CH = 48, 16, 3
N_SUBJ, N_ACT = 16, 7


def record(subj, act, seconds, g, style, gait):
    t = np.arange(seconds) / 16.0
    f = gait[act, 0] * style[subj, 0]
    out = []
    for c in range(CH):
        a = gait[act, 1 + c] * style[subj, 1 + c]
        ph = style[subj, 4 + c]
        h = gait[act, 4 + c]
        s = a * np.sin(2 * np.pi * f * t + ph) + h * np.sin(4 * np.pi * f * t + 2 * ph)
        out.append(s + style[subj, 7 + c] + 0.6 * g.normal(size=seconds))
    return np.stack(out)


def build(seed=40):
    g = np.random.default_rng(seed)
    gait = np.column_stack([np.linspace(0.7, 2.2, N_ACT), g.uniform(0.3, 1.3, (N_ACT, 3)), g.uniform(-0.8, 0.8, (N_ACT, 3))])
    style = np.column_stack([g.uniform(0.95, 1.05, N_SUBJ), g.uniform(0.6, 1.5, (N_SUBJ, 3)), g.uniform(0, 6.3, (N_SUBJ, 3)), 1.2 * g.normal(size=(N_SUBJ, 3))])
    X, act, subj = [], [], []
    for a in range(N_ACT):                       # the files come activity by activity
        for s in range(N_SUBJ):
            x = record(s, a, WIN + HOP * 29, g, style, gait)
            for i in range(0, x.shape[1] - WIN + 1, HOP):
                X.append(x[:, i:i + WIN])
                act.append(a)
                subj.append(s)
    return np.stack(X).astype("float32"), np.array(act), np.array(subj)


class Windows(Dataset):
    def __init__(self, X):
        self.X = torch.from_numpy(X)

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i]


def transform(x):
    n = len(x)
    shift = torch.randint(0, WIN, (n, 1))
    idx = (torch.arange(WIN)[None] + shift) % WIN
    x = x.gather(2, idx[:, None].expand(-1, CH, -1))
    x = x * (1 + 0.3 * torch.randn(n, CH, 1)) + 0.6 * torch.randn(n, CH, 1)
    x = x + 0.3 * torch.randn_like(x)
    start = torch.randint(0, WIN - 10, (n, 1))
    pos = torch.arange(WIN)[None]
    cut = (pos >= start) & (pos < start + 10) & (torch.rand(n, 1) < 0.5)
    return x.masked_fill(cut[:, None], 0.0)


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(CH, 32, 7, stride=2, padding=3), nn.BatchNorm1d(32), nn.ReLU(),
            nn.Conv1d(32, 64, 5, stride=2, padding=2), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Conv1d(64, 96, 3, padding=1), nn.BatchNorm1d(96), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.projector = nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 48)) if variant != "linear_head" else nn.Linear(96, 48)

    def forward(self, x):
        return F.normalize(self.projector(self.features(x)), dim=1)


def nt_xent(z1, z2, tau):
    z = torch.cat([z1, z2])
    n = len(z1)
    s = z @ z.T / tau
    s.fill_diagonal_(float("-inf"))
    return F.cross_entropy(s, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


def main():
    torch.manual_seed(2)
    np.random.seed(2)
    torch.set_num_threads(1)
    X, act, subj = build()
    if variant == "windows":
        order = np.random.default_rng(0).permutation(len(X))
        cut = int(0.7 * len(X))
        tr, te = np.sort(order[:cut]), np.sort(order[cut:])
    else:
        held = [1, 5, 8, 11, 14]
        tr, te = np.where(~np.isin(subj, held))[0], np.where(np.isin(subj, held))[0]
    m, s = X[tr].mean((0, 2), keepdims=True), X[tr].std((0, 2), keepdims=True)
    X = (X - m) / s
    bs = {"small_batch": 48}.get(variant, 96)
    loader = DataLoader(Windows(X[tr]), batch_size=bs, shuffle=variant != "in_order", drop_last=True)
    net = Conv()
    opt = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.0 if variant == "no_decay" else 1e-3)
    epochs = 12 if variant != "small_batch" else 7
    total = epochs * len(loader)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: i / 15 if i < 15 else 0.5 * (1 + math.cos(math.pi * (i - 15) / (total - 15))))
    tau = 0.25 if variant == "tau025" else 0.15
    for ep in range(epochs):
        net.train()
        acc = 0.0
        for x in loader:
            a = transform(x)
            if variant == "one_view":
                b = a
            else:
                b = transform(x)
            loss = nt_xent(net(a), net(b), tau)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            acc += loss.item()
        print(f"epoch {ep + 1}/{epochs} nt-xent {acc / len(loader):.4f} (chance {math.log(2 * bs - 1):.2f})")

    net.eval()
    with torch.no_grad():
        H = torch.cat([net.features(torch.from_numpy(X[i:i + 512])) for i in range(0, len(X), 512)]).numpy()
    mu, sd = H[tr].mean(0), H[tr].std(0) + 1e-6
    H = (H - mu) / sd
    few = np.random.default_rng(1).choice(tr, 600, replace=False)
    clf = LogisticRegression(max_iter=400, C=0.3).fit(H[few], act[few])
    print(f"linear probe accuracy on test windows: {clf.score(H[te], act[te]):.3f}")


FAULTS = {
    "one_view": {"stages": "M", "what": "The augmentation is drawn once and the same tensor is handed over as both views.", "source": "https://github.com/microsoft/A-CLIP/pull/4"},
    "in_order": {"stages": "B", "what": "The loader does not shuffle and the windows are stored activity by activity, so nearly all negatives in a batch come from the same activity.", "source": "https://github.com/luhaofang/tripletloss/issues/52"},
    "windows": {"stages": "S", "what": "Overlapping windows are split at random, so test windows overlap training windows of the same people.", "source": "https://github.com/fchest/EEG-AAD/issues/7"},
}
HEALTHY = {
    "healthy": "Base run: subject-wise split, two independent augmentations, warm-up from zero.",
    "small_batch": "Batch of 48.",
    "no_decay": "No weight decay.",
    "tau025": "Temperature 0.25.",
    "linear_head": "Linear projector.",
}

if __name__ == "__main__":
    main()

"""Contrastive pre-training of a 1-D CNN on accelerometer-like windows of several subjects (TS-TCC flavour), then kNN."""
import argparse
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def simulate(n_subj=10, n_act=5, seconds=60, fs=20, seed=0):
    r = np.random.RandomState(seed); rec = []
    f = np.linspace(.8, 2.6, n_act)
    for s in range(n_subj):
        style = r.randn(3) * .5; gain = r.uniform(.7, 1.3); shift = r.uniform(-.2, .2)
        for a in range(n_act):
            t = np.arange(seconds * fs) / fs
            base = np.stack([gain * np.sin(2 * np.pi * (f[a] + shift) * t + k + .3 * np.cumsum(r.randn(len(t))) * .1) + style[k] for k in range(3)])
            rec.append((s, a, base + .5 * r.randn(*base.shape)))
    return rec


def windows(rec, L=64, hop=16):
    X, Y, S = [], [], []
    for s, a, x in rec:
        for i in range(0, x.shape[1] - L, hop):
            X.append(x[:, i:i + L]); Y.append(a); S.append(s)
    return np.array(X, dtype='float32'), np.array(Y), np.array(S)


class Enc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(3, 24, 7, padding=3), nn.BatchNorm1d(24), nn.ReLU(), nn.MaxPool1d(2),
                                 nn.Conv1d(24, 48, 5, padding=2), nn.BatchNorm1d(48), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten())
        self.drop = nn.Dropout(0.1)
        self.proj = nn.Sequential(nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 32))
    def forward(self, x):
        h = self.drop(self.net(x)); return h, F.normalize(self.proj(h), dim=1)


def jitter(x, s): return x + s * torch.randn_like(x)
def scaling(x, s): return x * (1 + s * torch.randn(x.size(0), 1, 1))


def supcon(z, y, T=.2):
    sim = z @ z.t() / T; eye = torch.eye(len(z), dtype=torch.bool)
    sim = sim.masked_fill(eye, -1e9); lp = sim - torch.logsumexp(sim, 1, keepdim=True)
    pos = (y[:, None] == y[None]) & ~eye
    return -(lp.masked_fill(~pos, 0).sum(1) / pos.sum(1).clamp(min=1)).mean()


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('--fault', default=''); ap.add_argument('--healthy', default=''); a = ap.parse_args()
    torch.manual_seed(0)
    X, Y, S = windows(simulate()); r = np.random.RandomState(0)
    if a.fault == 'random_window_split':    # https://github.com/hoangNguyen210/Fall-Detection-Research-1/issues/2 , https://github.com/Xiaohan-Chen/transfer-learning-fault-diagnosis-pytorch/issues/11
        te = r.rand(len(Y)) < .3
    else:
        te = np.isin(S, [7, 8, 9])
    mu, sd = X[~te].mean((0, 2), keepdims=True), X[~te].std((0, 2), keepdims=True)
    X = (X - mu) / sd
    xtr, ytr = torch.tensor(X[~te]), torch.tensor(Y[~te])
    if a.fault == 'shuffle_x_only':         # inputs shuffled, labels not
        xtr = xtr[torch.randperm(len(xtr))]
    if a.fault == 'wrong_axis':             # [B, C, T] made out of [B, T, C] by view instead of permute; https://github.com/vitrioil/Speech-Separation/issues/4
        xtr = xtr.permute(0, 2, 1).contiguous().view(len(xtr), 3, 64)
    net = Enc(); opt = torch.optim.AdamW(net.parameters(), 1e-3)
    js = .8 if a.healthy == 'heavy_jitter' else .2
    if a.healthy == 'frozen_bn':            # batch norm kept at its statistics on purpose after a warm start
        net.train()
        with torch.no_grad():
            for i in range(20): net(xtr[torch.randint(0, len(xtr), (128,))])
    def freeze_bn():
        for m in net.modules():
            if isinstance(m, nn.BatchNorm1d): m.eval()
    net.train(); it = 0
    for ep in range(10):
        if a.fault != 'stuck_in_eval': net.train()      # https://github.com/fartashf/vsepp/issues/4
        if a.healthy == 'frozen_bn': freeze_bn()
        tot = []
        for idx in torch.randperm(len(xtr)).split(128):
            x, y = xtr[idx], ytr[idx]
            _, z = net(torch.cat([scaling(jitter(x, js), .2), jitter(x, js)])); loss = supcon(z, torch.cat([y, y]))
            opt.zero_grad(); loss.backward(); opt.step(); tot.append(loss.item()); it += 1
            if a.fault == 'stuck_in_eval' and it == 1: net.eval()   # a quick validation after the first step, never back to train()
        net.eval()
        with torch.no_grad():
            zt, zv = net(xtr)[1], net(torch.tensor(X[te]))[1]
        acc = (Y[te] == ytr[(zv @ zt.t()).topk(5).indices].mode(1).values.numpy()).mean()
        print(f'epoch {ep} loss {np.mean(tot):.4f} test acc {acc:.4f}', flush=True)
    torch.save(net.state_dict(), __import__("tempfile").gettempdir() + "/har.pt")


main()


FAULTS = {
    'random_window_split': {'stages': 'S', 'what': 'overlapping windows of one subject in train and test'},
    'shuffle_x_only': {'stages': 'L', 'what': 'inputs shuffled, labels not'},
    'wrong_axis': {'stages': 'DE', 'what': 'view instead of permute on training data only'},
    'stuck_in_eval': {'stages': 'E', 'what': 'model never back in train mode'},
}
HEALTHY = ['plain', 'frozen_bn', 'heavy_jitter']

"""Time-series contrastive (TS2Vec/TNC-like) on sensor windows of several subjects. Validation by subject. Early stopping, ReduceLROnPlateau."""
import argparse, os, numpy as np, torch
import torch.nn as nn, torch.nn.functional as F
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.metrics import f1_score, accuracy_score

def simulate(nsub=10, per=60, T=100, seed=0):
    r = np.random.RandomState(seed); X, y, g = [], [], []
    for s in range(nsub):
        off, amp = r.randn(3) * 1.5, .7 + .6 * r.rand()
        for _ in range(per):
            c = r.randint(5); t = np.arange(T) / 50
            X.append(np.stack([amp * np.sin(2 * np.pi * (1 + c * .7) * t * (1 + .05 * r.randn()) + k + 6 * r.rand()) + off[k] + .5 * r.randn(T) for k in range(3)])); y.append(c); g.append(s)
    return np.array(X, 'float32'), np.array(y), np.array(g)

class TSEnc(nn.Module):
    def __init__(self, d=32):
        super().__init__(); self.net = nn.Sequential(nn.Conv1d(3, 32, 9, padding=4, stride=2), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(.1), nn.Conv1d(32, 64, 9, stride=2, padding=4), nn.ReLU()); self.out = nn.Linear(64, d)
    def forward(self, x): return F.normalize(self.out(self.net(x).amax(-1)), dim=-1)

def supcon(z1, z2, y, t):
    z = torch.cat([z1, z2]); y = torch.cat([y, y]); s = z.matmul(z.T) / t
    m = ~torch.eye(len(z), dtype=torch.bool); pos = (y[:, None] == y) & m
    lp = s - torch.log((s.exp() * m).sum(1, keepdim=True))
    return -(lp * pos).sum(1).div(pos.sum(1)).mean()

class EarlyStopping:
    def __init__(self, patience, mode='min'): self.p, self.best, self.n, self.mode = patience, None, 0, mode
    def __call__(self, v):
        v = -v if self.mode == 'max' else v
        if self.best is None or v < self.best: self.best, self.n = v, 0; return False, True
        self.n += 1; return self.n > self.p, False

def main():
    ap = argparse.ArgumentParser(); ap.add_argument('--fault', default=''); ap.add_argument('--healthy', default=''); ap.add_argument('--nsub', type=int, default=10); a = ap.parse_args()
    torch.manual_seed(0); np.random.seed(0)
    X, y, g = simulate(a.nsub)
    if a.fault == 'randomsplit':       # windows of one subject on both sides although "new subjects" is claimed
        idx = np.random.permutation(len(X)); tr, va, te = idx[:360], idx[360:480], idx[480:]
    else: tr, va, te = np.where(g < 6)[0], np.where((g >= 6) & (g < 8))[0], np.where(g >= 8)[0]
    if a.fault == 'dupsplit':          # oversampling before the split: copies of one window in train and test
        idx = np.random.permutation(np.repeat(np.arange(len(X)), 3)); tr, va, te = idx[:1080], idx[1080:1440], idx[1440:]
    sc = StandardScaler().fit(X[tr].transpose(0, 2, 1).reshape(-1, 3)); sca = lambda X_: torch.tensor(sc.transform(X_.transpose(0, 2, 1).reshape(-1, 3)).reshape(len(X_), -1, 3).transpose(0, 2, 1)).float()
    Xtr, Xva = sca(X[tr]), sca(X[va])
    if a.fault == 'testunscaled': Xte = torch.tensor(X[te] * 9.81)      # the test set is in other units and not scaled
    elif a.fault == 'refit': Xte = (lambda s: torch.tensor(s.fit_transform(X[te].reshape(len(te), -1)).reshape(len(te), 3, -1)).float())(StandardScaler())  # scaler fitted again on the test set, and along another axis
    else: Xte = sca(X[te])
    ytr, yva = torch.tensor(y[tr]), torch.tensor(y[va])
    enc = TSEnc(); opt = torch.optim.Adam(enc.parameters(), 2e-3); plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, mode='max' if a.fault == 'plateaumode' else 'min', factor=.1, patience=0 if a.fault == 'plateaumode' else 4)
    stop = EarlyStopping(6, mode='max' if a.fault == 'stopmode' else 'min'); t = .1
    if a.fault == 'cold': t = 1e-3     # exp overflows: https://github.com/HobbitLong/SupContrast/issues/20 (nan)
    for ep in range(25):
        enc.train(); L = []
        for b in torch.randperm(len(Xtr)).split(60):
            x = Xtr[b]; v1, v2 = x + .3 * torch.randn_like(x), x * (1 + .2 * torch.randn(len(x), 3, 1))
            loss = supcon(enc(v1), enc(v2), ytr[b], t)
            opt.zero_grad(); loss.backward(); opt.step(); L.append(loss.item())
        enc.eval()
        with torch.no_grad(): v = supcon(enc(Xva[:120]), enc(Xva[:120] + .1), yva[:120], t).item()
        plateau.step(v); done, better = stop(v)
        if better: torch.save(enc.state_dict(), __import__("tempfile").gettempdir() + "/ts_best.pt")
        print(f'{ep:02d} train {np.mean(L):.4f} val {v:.4f} lr {opt.param_groups[0]["lr"]:.1e}')
        if done: print('early stop'); break
    enc.load_state_dict(torch.load(__import__("tempfile").gettempdir() + "/ts_best.pt")); enc.eval()
    with torch.no_grad(): A, B = enc(Xtr).numpy(), enc(Xte).numpy()
    p = SVC().fit(A, y[tr]).predict(B); print('test acc %.3f f1 %.3f' % (accuracy_score(y[te], p), f1_score(y[te], p, average='macro')))

FAULTS = {
    'randomsplit': {'stages': 'S', 'what': 'windows of one subject in train and test (scores inflated?); dupsplit: oversampled before split -> exact copies in test'},
    'cold': {'stages': 'P', 'what': 't=1e-3, exp overflows -> nan.'},
}
HEALTHY = ['plain']


if __name__ == '__main__': main()

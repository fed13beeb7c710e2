"""Contrastive pretraining, numpy augmentation inside Dataset, several workers."""
import argparse, numpy as np, torch, torch.nn as nn, torch.nn.functional as F, random
from torch.utils.data import Dataset, DataLoader
from sklearn.datasets import load_digits

def seed_everything(s): random.seed(s); np.random.seed(s); torch.manual_seed(s)

class Views(Dataset):
    def __init__(self, x, y, fault): self.x, self.y, self.fault = x, y, fault
    def __len__(self): return len(self.x)
    def aug(self, v, r):
        m = r.rand(8, 8) > .25; return np.roll(v.reshape(8, 8) * m, r.randint(-1, 2), 1) + .1 * r.randn(8, 8)
    def __getitem__(self, i):
        if self.fault == "fixedseed":   # seed set inside __getitem__: every sample, epoch and view gets the same augmentation (https://tanelp.github.io/posts/a-bug-that-plagues-thousands-of-open-source-ml-projects/)
            v1 = self.aug(self.x[i], np.random.RandomState(0)); v2 = self.aug(self.x[i], np.random.RandomState(0))
        else: v1, v2 = self.aug(self.x[i], np.random), self.aug(self.x[i], np.random)
        return torch.tensor(v1).float().flatten(), torch.tensor(v2).float().flatten(), self.y[i]

def main(o):
    seed_everything(0)
    x, y = load_digits(return_X_y=True); x = x / 16.
    if o.fault == "uint8": x = (x * 16).astype(np.uint8); x = x - np.uint8(8)      # "centred" in uint8: wraps to 248..255
    n = 1300; tr = slice(0, n); te = slice(n, None)
    if o.fault == "tail": x, y = x[np.argsort(y, kind="stable")], y[np.argsort(y, kind="stable")]   # sorted by class, then cut: test classes are not in train
    dl = DataLoader(Views(x[tr], y[tr], o.fault), 100, shuffle=True, num_workers=o.workers, drop_last=True, worker_init_fn=lambda w: np.random.seed(torch.initial_seed() % 2**32))
    enc = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64)); proj = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))
    opt = torch.optim.Adam([*enc.parameters(), *proj.parameters()], lr=1e-3)
    if o.fault == "lrdecay": sch = torch.optim.lr_scheduler.ExponentialLR(opt, .5)       # stepped in each batch
    elif o.healthy == "cosine0": sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 13 * o.epochs)
    else: sch = None
    for e in range(o.epochs):
        s = 0
        for a, b, _ in dl:
            za, zb = F.normalize(proj(enc(a)), dim=1), F.normalize(proj(enc(b)), dim=1)
            lg = za @ zb.T / .1; t = torch.arange(len(a)); loss = .5 * (F.cross_entropy(lg, t) + F.cross_entropy(lg.T, t))
            opt.zero_grad(); loss.backward(); opt.step(); s += loss.item()
            if sch: sch.step()
        print("epoch", e, "loss", round(s / len(dl), 4), "lr", opt.param_groups[0]["lr"])
    with torch.no_grad(): h = F.normalize(enc(torch.tensor(x.reshape(len(x), 64)).float()), dim=1)
    p = y[tr][(h[te] @ h[tr].T).argmax(1).numpy()]
    print("1-NN", (p == y[te]).mean())


FAULTS = {
    'uint8': {'stages': 'D', 'what': 'wraps'},
    'tail': {'stages': 'S', 'what': 'classes in test not in train'},
    'lrdecay': {'stages': 'O', 'what': 'ExponentialLR .5 each batch'},
    'fixedseed': {'stages': 'MB', 'what': 'RandomState(0) in __getitem__: two views identical'},
}
HEALTHY = ['plain', 'cosine0']


if __name__ == "__main__":
    q = argparse.ArgumentParser(); q.add_argument("--fault", default=""); q.add_argument("--healthy", default=""); q.add_argument("--epochs", type=int, default=8); q.add_argument("--workers", type=int, default=2); main(q.parse_args())

#!/usr/bin/env python
"""BYOL/SimSiam on tabular data (wine-like blobs), functions with odd names."""
import sys, argparse, torch, numpy as np
from torch import nn
from torch.nn.functional import normalize, cosine_similarity
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

P = argparse.ArgumentParser(); P.add_argument("--fault", default=""); P.add_argument("--healthy", default=""); A = P.parse_args()
torch.manual_seed(0); rs = np.random.RandomState(0)

def get_stuff():
    X, y = make_classification(3000, 40, n_informative=12, n_redundant=10, n_classes=6, n_clusters_per_class=1, class_sep=2.0, random_state=0)
    if A.fault == "constcol":       # one unscaled column (an id / timestamp) rules everything
        X[:, 0] = np.arange(len(X)) * 1e4
    else:
        X = (X - X.mean(0)) / X.std(0)
    return X.astype("float32"), y

class Thing(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Linear(40, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64), nn.BatchNorm1d(64))
        self.h = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 64))
    def forward(self, u): z = self.f(u); return z, self.h(z)

def wiggle(b):
    m = torch.rand_like(b) < .3
    return torch.where(m, b[torch.randperm(len(b))], b) + .1 * torch.randn_like(b)

def go():
    X, y = get_stuff(); a, b, ya, yb = train_test_split(X, y, test_size=.3, random_state=1, stratify=y)
    a, b = torch.tensor(a), torch.tensor(b); net = Thing()
    o = torch.optim.SGD(net.parameters(), lr=.05, momentum=.9, weight_decay=5e-4)
    for ep in range(15):
        acc = []
        for ii in torch.randperm(len(a)).split(128):
            if len(ii) < 2: continue
            z1, p1 = net(wiggle(a[ii])); z2, p2 = net(wiggle(a[ii]))
            if A.fault == "nostopgrad":     # stop-gradient forgotten: https://github.com/facebookresearch/simsiam
                p1, p2 = z1, z2; l = -(cosine_similarity(p1, z2).mean() + cosine_similarity(p2, z1).mean()) / 2
            else: l = -(cosine_similarity(p1, z2.detach()).mean() + cosine_similarity(p2, z1.detach()).mean()) / 2
            if A.fault == "stepfirst": o.zero_grad(); o.step(); l.backward()     # step before backward, after zero_grad
            elif A.fault == "nozero_afterbackward": l.backward(); o.zero_grad(); o.step()
            else: o.zero_grad(); l.backward(); o.step()
            acc.append(l.item())
        with torch.no_grad(): sd = normalize(net(a)[0]).std(0).mean().item()
        print("ep", ep, "loss", round(float(np.mean(acc)), 4), "std", round(sd, 4))
    net.eval()
    with torch.no_grad(): fa, fb = net.f(a).numpy(), net.f(b).numpy()
    print("linear", LogisticRegression(max_iter=300).fit(fa, ya).score(fb, yb))
go()


FAULTS = {
    'constcol': {'stages': 'D', 'what': 'column 0 = index*1e4, nothing scaled'},
    'stepfirst': {'stages': 'O', 'what': 'zero_grad; step; backward: every step applies zero/none gradients'},
    'nozero_afterbackward': {'stages': 'O', 'what': 'backward; zero_grad; step. Same.'},
}
HEALTHY = ['plain']

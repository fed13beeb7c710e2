# person re-id flavoured triplet training, everything by hand (identity = synthetic "walker")
import argparse, random
import numpy as np
import torch
from torch import nn, optim


def make_people(n_id, shots, seed):
    r = np.random.default_rng(seed)
    W = np.random.default_rng(7).normal(size=(10, 60))
    ids = r.normal(size=(n_id, 10)); X, Y, C = [], [], []
    for i in range(n_id):
        for s in range(shots):
            cam = s % 3
            X.append(np.tanh((ids[i] + .45 * r.normal(size=10)) @ W / 2) + .5 * r.normal(size=60) + cam * .4); Y.append(i); C.append(cam)
    return torch.tensor(np.array(X)).float(), torch.tensor(Y), torch.tensor(C)


class PK:
    def __init__(self, y, p, k, iters):
        self.y, self.p, self.k, self.iters = y, p, k, iters
        self.where = {int(c): torch.where(y == c)[0].tolist() for c in y.unique()}
    def __iter__(self):
        for _ in range(self.iters):
            out = []
            for c in random.sample(sorted(self.where), self.p):
                w = self.where[c]
                out += random.sample(w, self.k) if len(w) >= self.k else random.choices(w, k=self.k)
            yield torch.tensor(out)


def pdist(a, b, squared=False):
    d = a.pow(2).sum(1)[:, None] + b.pow(2).sum(1)[None] - 2 * a @ b.t()
    d = d.clamp(min=1e-12)
    return d if squared else d.sqrt()


def hard_triplet(e, y, margin, how):
    D = pdist(e, e); same = y[:, None] == y[None]
    if how == "swapped_mask":      # mask of positives and of negatives exchanged
        same = ~same               # https://quaterion.qdrant.tech/tutorials/triplet_loss_trick.html (stuck near the margin)
    hp = (D * same).max(1)[0]
    hn = (D + 1e6 * same).min(1)[0] if how != "swapped_mask" else (D + 1e6 * same + 1e6 * torch.eye(len(y))).min(1)[0]
    return torch.relu(hp - hn + margin).mean()


def cmc(model, qx, qy, gx, gy):
    model.eval()
    with torch.no_grad():
        D = pdist(model(qx), model(gx))
    return (gy[D.argmin(1)] == qy).float().mean().item()


def main(fault, healthy):
    random.seed(0); np.random.seed(0); torch.manual_seed(0)
    X, Y, C = make_people(60, 12, 1); TX, TY, TC = make_people(40, 6, 2)
    if fault == "labels_shuffled":                  # labels read from a listing in another order than the images
        Y = Y[torch.tensor(np.random.permutation(len(Y)))]
    if healthy == "few_shots":                      # a third of the identities have 3 shots only, drawn with replacement
        k = torch.tensor([int(y) % 3 != 0 or i % 12 < 3 for i, y in enumerate(Y)]); X, Y = X[k], Y[k]
    net = nn.Sequential(nn.Linear(60, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 64))
    lr = 3e-4
    if fault == "collapse_lr":                      # https://quaterion.qdrant.tech/tutorials/triplet_loss_trick.html , batch-hard falls onto one point
        lr = 0.5
    opt = optim.Adam(net.parameters(), lr=lr)
    margin = 0.3
    for ep in range(25):
        net.train(); s = 0.; n = 0
        for idx in PK(Y, 12, 4, 40):
            e = net(X[idx])
            loss = hard_triplet(e, Y[idx], margin, fault)
            opt.zero_grad(set_to_none=True); loss.backward(); opt.step()
            s += loss.item(); n += 1
        if ep % 4 == 0: print(f"[{ep:02d}] triplet {s / n:.4f}", flush=True)
    q = TC == 0; g = TC != 0
    if fault == "gallery_has_query":                # https://github.com/CompVis/metric-learning-divide-and-conquer/issues/10
        print("rank-1", cmc(net, TX[q], TY[q], TX, TY))
    else:
        print("rank-1", cmc(net, TX[q], TY[q], TX[g], TY[g]))



FAULTS = {
    'swapped_mask': {'stages': 'P', 'what': 'positive and negative masks exchanged'},
    'labels_shuffled': {'stages': 'L', 'what': 'labels permuted against inputs'},
    'collapse_lr': {'stages': 'O', 'what': 'lr too high'},
    'gallery_has_query': {'stages': 'E', 'what': 'gallery contains the queries'},
}
HEALTHY = ['plain', 'few_shots']


if __name__ == "__main__":
    a = argparse.ArgumentParser(); a.add_argument("--fault", default=""); a.add_argument("--healthy", default=""); a = a.parse_args()
    main(a.fault, a.healthy)

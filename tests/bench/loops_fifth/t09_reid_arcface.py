"""Person re-identification: ArcFace + batch-hard triplets, Market-style cameras.

    python t09_reid_arcface.py VARIANT

Tracklet descriptors (a pretrained trunk was run offline) are refined by a small head.
"""
import sys
from collections import defaultdict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import DataLoader, Dataset, Sampler

torch.set_num_threads(1)

N_CAMS, DIM = 6, 96


class Tracklets(Dataset):
    """pid 0..P-1, each seen by several cameras; every camera paints its own cast."""

    def __init__(self, n_ids, per_cam, seed, cams_of=None, first_pid=0):
        world = np.random.default_rng(99)
        self.mix = world.normal(0, 1, (24, DIM)) / 5
        cast = world.normal(0, 1, (N_CAMS, DIM)) * 1.1
        twist = world.normal(0, 1, (N_CAMS, 16, DIM)) / 4
        r = np.random.default_rng(seed)
        x, pid, cam = [], [], []
        for p in range(n_ids):
            ident = r.normal(0, 1, 24)
            cams = r.choice(N_CAMS, cams_of or 4, replace=False)
            for c in cams:
                clothes = r.normal(0, 1, 16)
                for _ in range(per_cam):
                    base = np.tanh(ident @ self.mix * 1.3) + clothes @ twist[c] + cast[c]
                    x.append(base + r.normal(0, 0.35, DIM))
                    pid.append(first_pid + p)
                    cam.append(c)
        self.x = torch.tensor(np.array(x), dtype=torch.float32)
        self.pid, self.cam = torch.tensor(pid), torch.tensor(cam)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.pid[i], self.cam[i]


class RandomIdentitySampler(Sampler):
    """P identities x K instances, identity after identity"""

    def __init__(self, labels, k):
        self.k = k
        self.where = defaultdict(list)
        for i, l in enumerate(labels.tolist()):
            self.where[l].append(i)

    def __iter__(self):
        ids = np.random.permutation(list(self.where))
        for p in ids:
            pool = self.where[p]
            yield from np.random.choice(pool, self.k, replace=len(pool) < self.k).tolist()

    def __len__(self):
        return len(self.where) * self.k


class Head(nn.Module):
    def __init__(self, out=48):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIM, 192), nn.BatchNorm1d(192), nn.ReLU(), nn.Linear(192, out))
        self.neck = nn.BatchNorm1d(out)

    def forward(self, x):
        f = self.net(x)
        return f, self.neck(f)


@torch.no_grad()
def cmc_map(head, query, gallery, variant):
    head.eval()
    q, g = (F.normalize(head(d.x)[1], dim=1) for d in (query, gallery))
    sim = q @ g.t()
    rank1, aps = [], []
    for i in range(len(q)):
        order = sim[i].argsort(descending=True)
        if variant != "all_gallery":
            junk = (gallery.pid[order] == query.pid[i]) & (gallery.cam[order] == query.cam[i])
            order = order[~junk]
        hit = (gallery.pid[order] == query.pid[i]).float()
        if hit.sum() == 0:
            continue
        rank1.append(hit[0])
        prec = hit.cumsum(0) / torch.arange(1, len(hit) + 1)
        aps.append((prec * hit).sum() / hit.sum())
    return torch.stack(rank1).mean().item(), torch.stack(aps).mean().item()


def main(variant):
    torch.manual_seed(5)
    np.random.seed(5)
    n_ids = 160
    train = Tracklets(n_ids, 3, seed=1)
    test = Tracklets(70, 3, seed=2, first_pid=10_000)
    first = torch.arange(len(test)) % 3 == 0
    query, gallery = Tracklets(0, 0, 0), Tracklets(0, 0, 0)
    query.x, query.pid, query.cam = test.x[first], test.pid[first], test.cam[first]
    gallery.x, gallery.pid, gallery.cam = test.x[~first], test.pid[~first], test.cam[~first]

    head = Head()
    arc = losses.ArcFaceLoss(n_ids, 48, margin=17.2, scale=16)
    tri = losses.TripletMarginLoss(margin=0.2)
    hard = miners.BatchHardMiner()
    lam = 0.0 if variant == "id_loss_only" else 0.3

    if variant == "deep_instances":
        loader = DataLoader(train, batch_size=12, sampler=RandomIdentitySampler(train.pid, k=12), drop_last=True)
    elif variant == "plain_shuffle":
        loader, lam = DataLoader(train, batch_size=128, shuffle=True, drop_last=True), 0.0
    elif variant == "per_class_sampler":
        loader = DataLoader(train, batch_size=128, sampler=MPerClassSampler(train.pid, 4, 128, len(train)))
    else:
        loader = DataLoader(train, batch_size=128, sampler=RandomIdentitySampler(train.pid, k=8), drop_last=True)

    groups = [{"params": head.parameters(), "lr": 2e-3}]
    if variant != "head_only":
        groups.append({"params": arc.parameters(), "lr": 2e-2})
    opt = torch.optim.AdamW(groups, weight_decay=5e-4)
    epochs = max(1, round(420 / len(loader)))
    warm = 40
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, s / warm))
    print("untrained  rank-1 %.3f  mAP %.3f" % cmc_map(head, query, gallery, variant))

    for epoch in range(epochs):
        head.train()
        seen, total = 0, 0.0
        for x, pid, _ in loader:
            raw, bn = head(x)
            loss = arc(bn, pid)
            if lam:
                loss = loss + lam * tri(raw, pid, hard(raw, pid))
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            seen, total = seen + 1, total + loss.item()
        if epoch % max(1, epochs // 4) == 0:
            print(f"epoch {epoch + 1}/{epochs}  loss {total / seen:.3f}")
    print("final  rank-1 %.3f  mAP %.3f" % cmc_map(head, query, gallery, variant))


if __name__ == "__main__":
    main(sys.argv[1])

FAULTS = {
    'all_gallery': {'stages': 'E', 'source': 'https://github.com/SiddhantKapil/LA-Transformer/issues/3'},
    'head_only': {'stages': 'O', 'source': 'https://github.com/4uiiurz1/pytorch-adacos/issues/10'},
    'deep_instances': {'stages': 'B', 'source': 'https://github.com/jessekim-ck/2020-ai-challenge-04/issues/2'},
}
HEALTHY = ['healthy', 'id_loss_only', 'plain_shuffle', 'per_class_sampler']

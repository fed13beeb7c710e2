"""Wrist accelerometer activities, few labelled people, many unlabelled ones.

Supervised contrastive loss on what has a label, refreshed pseudo labels for
the rest, early choice of the epoch on two validation people, test on people
nobody has seen.
"""
from __future__ import annotations

import copy
import sys
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)


@dataclass
class Args:
    variant: str = 'healthy'
    n_people: int = 14
    labelled: list = field(default_factory=lambda: [0, 1])
    val: list = field(default_factory=lambda: [9, 10])
    test: list = field(default_factory=lambda: [11, 12, 13])
    windows: int = 36          # per person and activity
    epochs: int = 14
    warm_epochs: int = 4
    batch: int = 96
    lr: float = 3e-3
    threshold: float = 0.8
    tau: float = 0.2
    seed: int = 6


ACTIVITIES = ['lie', 'sit', 'walk', 'run', 'stairs', 'cycle', 'iron']


def person(rng):
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = np.eye(3) * 0.9 + 0.35 * q
    return dict(turn=turn, pace=rng.uniform(.85, 1.18), force=rng.uniform(.75, 1.3), noise=rng.uniform(.1, .3))


def window(act, who, rng, n=80):
    t = np.arange(n) / 20
    pace = who['pace'] * rng.uniform(.93, 1.07)
    ph = rng.uniform(0, 2 * np.pi)
    g = np.array([[0, 1, 0], [0, .6, .8], [.2, .9, .3], [.2, .9, .3], [.25, .85, .35], [.7, .5, .4], [.5, .6, .6]], float)[act]
    f, a, h = [(0, 0, 0), (.25, .08, 0), (1.7, .7, .25), (2.7, 1.4, .6), (1.5, .75, .55), (1.2, .45, .05), (.8, .5, .3)][act]
    x = np.repeat(g[None], n, 0)
    if f:
        w = 2 * np.pi * f * pace
        amp = a * who['force'] * rng.uniform(.85, 1.15)
        x = x + np.stack([.6 * np.sin(w * t + ph), np.sin(w * t + ph + 1) + h * np.sin(2 * w * t + 2 * ph),
                          .5 * np.cos(w * t + ph) + h * np.sin(3 * w * t)], 1) * amp
    x = x @ who['turn'].T + rng.normal(0, who['noise'], (n, 3))
    return x.T


class People(Dataset):
    """index, window, label (-1 where nobody annotated)"""

    def __init__(self, x, y, who, known):
        self.x = torch.tensor(x, dtype=torch.float32)
        self.truth = torch.tensor(y)
        self.y = torch.where(torch.tensor(np.isin(who, known)), self.truth, torch.full_like(self.truth, -1))
        self.pseudo = torch.full_like(self.truth, -1)

    def __len__(self):
        return len(self.truth)

    def __getitem__(self, i):
        label = self.y[i] if self.y[i] >= 0 else self.pseudo[i]
        return self.x[i], label


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(3, 24, 7, padding=3), nn.GroupNorm(4, 24), nn.GELU(), nn.MaxPool1d(2),
                                  nn.Conv1d(24, 48, 5, padding=2), nn.GroupNorm(4, 48), nn.GELU(), nn.MaxPool1d(2),
                                  nn.Conv1d(48, 64, 5, padding=2), nn.GELU(), nn.AdaptiveAvgPool1d(2), nn.Flatten())
        self.proj = nn.Linear(128, 32)
        self.cls = nn.Linear(128, len(ACTIVITIES))

    def forward(self, x):
        h = self.body(x)
        return F.normalize(self.proj(h), dim=1), self.cls(h)


def shake(x):
    n = len(x)
    x = x * torch.empty(n, 1, 1).uniform_(.8, 1.2) + .08 * torch.randn_like(x)
    return torch.roll(x, int(torch.randint(0, 80, ())), -1)


def supcon(z, y, tau):
    sim = z @ z.t() / tau
    eye = torch.eye(len(z), dtype=torch.bool)
    sim = sim.masked_fill(eye, -1e9)
    logp = sim - sim.logsumexp(1, keepdim=True)
    pos = (y[:, None] == y[None]) & ~eye
    twin = torch.zeros_like(pos)
    n = len(z) // 2
    twin[torch.arange(n), torch.arange(n) + n] = True
    twin |= twin.t().clone()
    pos = torch.where((y >= 0)[:, None], pos, twin)
    return -(logp * pos).sum(1).div(pos.sum(1).clamp(min=1)).mean()


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    out = (net(x)[1].argmax(1) == y).float().mean().item()
    net.train()
    return out


@torch.no_grad()
def relabel(net, data, loader, args):
    net.eval()
    probs = torch.cat([net(x)[1].softmax(1) for x, _ in loader])
    sure, label = probs.max(1)
    data.pseudo = torch.where(sure > args.threshold, label, torch.full_like(label, -1))
    net.train()
    free = data.y < 0
    used = free & (data.pseudo >= 0)
    return int(used.sum()), int(free.sum())


def main(args: Args):
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    people = [person(rng) for _ in range(args.n_people)]
    if args.variant == 'one_more_label':
        args.labelled = [0, 1, 2]
    x, y, who = [], [], []
    for p, w in enumerate(people):
        for a in range(len(ACTIVITIES)):
            n = args.windows if args.variant != 'uneven_activities' else max(6, args.windows // (1 + a % 3))
            for _ in range(n):
                x.append(window(a, w, rng))
                y.append(a)
                who.append(p)
    x, y, who = np.stack(x), np.array(y), np.array(who)
    tr = ~np.isin(who, args.val + args.test)
    train = People(x[tr], y[tr], who[tr], args.labelled)
    pick = lambda ids: (torch.tensor(x[np.isin(who, ids)], dtype=torch.float32), torch.tensor(y[np.isin(who, ids)]))
    val, test = pick(args.val), pick(args.test)

    loader = DataLoader(train, args.batch, shuffle=True, drop_last=True)
    ordered = DataLoader(train, 256, shuffle=False)
    if args.variant == 'reuse_loader':
        ordered = DataLoader(train, 256, shuffle=True)

    net = Net()
    opt = optim.AdamW(net.parameters(), lr=args.lr, weight_decay=1e-3)
    average = copy.deepcopy(net).requires_grad_(False)
    best, best_state, best_epoch = -1.0, None, -1
    print(f'untrained: test {accuracy(net, *test):.4f}')
    for epoch in range(args.epochs):
        note = ''
        if epoch >= args.warm_epochs:
            used, free = relabel(net, train, ordered, args)
            note = f'  pseudo {used}/{free}'
        for xb, yb in loader:
            z, logits = net(torch.cat([shake(xb), shake(xb)]))
            yy = torch.cat([yb, yb])
            loss = 0.3 * supcon(z, yy, args.tau)
            if args.variant == 'clamped_labels':
                loss = loss + F.cross_entropy(logits, yy.clamp(min=0))
            elif (yy >= 0).any():
                loss = loss + F.cross_entropy(logits, yy, ignore_index=-1)
            opt.zero_grad()
            loss.backward()
            opt.step()
            with torch.no_grad():
                for a, b in zip(average.parameters(), net.parameters()):
                    a.lerp_(b, 0.02)
        judge = average if args.variant == 'averaged' else net
        acc = accuracy(judge, *val)
        if acc > best:
            best, best_epoch = acc, epoch
            best_state = judge.state_dict() if args.variant == 'keep_state' else copy.deepcopy(judge.state_dict())
        if epoch % 3 == 0:
            print(f'epoch {epoch:2d} val {acc:.4f}{note}')
    net.load_state_dict(best_state)
    print(f'chosen epoch {best_epoch} val {best:.4f} (loaded: val {accuracy(net, *val):.4f})')
    print(f'test accuracy {accuracy(net, *test):.4f}')


if __name__ == '__main__':
    main(Args(variant=sys.argv[1] if len(sys.argv) > 1 else 'healthy'))

FAULTS = {
    'reuse_loader': {'stages': 'L B', 'source': 'https://github.com/facebookresearch/deepcluster/issues/6'},
    'clamped_labels': {'stages': 'P L', 'source': 'https://github.com/VectorInstitute/cyclops/pull/168'},
    'keep_state': {'stages': 'C', 'source': 'https://github.com/pytorch/tutorials/pull/188'},
}
HEALTHY = ['healthy', 'one_more_label', 'uneven_activities', 'averaged']

"""SimCLR on small textured patches, plain training loop.

usage: python t01_simclr_gratings.py VARIANT
"""
import argparse
import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)


def parse():
    p = argparse.ArgumentParser()
    p.add_argument("variant")
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--batch-size", type=int, default=128)
    p.add_argument("--temperature", type=float, default=0.2)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def make_patches(n, rng, class_probs):
    """gratings: 4 directions x 2 spacings, free colours, phase, contrast"""
    y = rng.choice(8, size=n, p=class_probs)
    yy, xx = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    theta = (y % 4) * math.pi / 4 + rng.normal(0, 0.15, n)
    freq = np.where(y < 4, 0.9, 1.7) * rng.uniform(0.9, 1.1, n)
    phase = rng.uniform(0, 2 * math.pi, n)
    arg = (np.cos(theta)[:, None, None] * xx + np.sin(theta)[:, None, None] * yy) * freq[:, None, None]
    g = np.sin(arg + phase[:, None, None])
    fg = rng.uniform(0.5, 1, (n, 3, 1, 1)) * rng.choice([-1, 1], (n, 3, 1, 1))
    bg = rng.uniform(-1.5, 1.5, (n, 3, 1, 1))
    img = bg + fg * g[:, None] + rng.normal(0, 0.9, (n, 3, 16, 16))
    return torch.tensor(img, dtype=torch.float32), torch.tensor(y)


def augment(x, gen):
    n = x.size(0)
    scale = 0.7 + 0.3 * torch.rand(n, generator=gen)
    shift = (torch.rand(n, 2, generator=gen) * 2 - 1) * (1 - scale)[:, None]
    mat = torch.zeros(n, 2, 3)
    mat[:, 0, 0] = scale
    mat[:, 1, 1] = scale
    mat[:, :, 2] = shift
    out = F.grid_sample(x, F.affine_grid(mat, x.shape, align_corners=False),
                        align_corners=False, padding_mode="reflection")
    gain = 0.4 + 1.2 * torch.rand(n, 3, 1, 1, generator=gen)
    offset = torch.randn(n, 3, 1, 1, generator=gen)
    out = out * gain + offset
    grey = torch.rand(n, 1, 1, 1, generator=gen) < 0.2
    out = torch.where(grey, out.mean(1, keepdim=True).expand_as(out), out)
    return out + 0.1 * torch.randn(out.shape, generator=gen)


class Encoder(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        def block(i, o, k, s):
            return nn.Sequential(nn.Conv2d(i, o, k, s, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.body = nn.Sequential(block(3, 24, 4, 2), block(24, 48, 3, 2), block(48, dim, 3, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = (x - x.mean((2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 1e-3)
        return self.pool(self.body(x)).flatten(1)


def nt_xent(z, ids, temperature):
    """z: all projections of the batch, rows with the same id belong together"""
    z = F.normalize(z, dim=1)
    sim = z @ z.t() / temperature
    eye = torch.eye(len(z), dtype=torch.bool)
    sim = sim.masked_fill(eye, float("-inf"))
    pos = (ids[:, None] == ids[None, :]) & ~eye
    logp = sim - torch.logsumexp(sim, dim=1, keepdim=True)
    return -(logp.masked_fill(~pos, 0).sum(1) / pos.sum(1)).mean()


@torch.no_grad()
def embed(encoder, x):
    encoder.eval()
    return torch.cat([encoder(b) for b in x.split(256)])


def linear_eval(encoder, train, test, args):
    xs, ys = train
    head = nn.Linear(64, 8)
    if args.variant == "probe_all":
        params = list(encoder.parameters()) + list(head.parameters())
        opt = torch.optim.Adam(params, lr=3e-3)
        encoder.train()
    else:
        for p in encoder.parameters():
            p.requires_grad_(False)
        opt = torch.optim.Adam(head.parameters(), lr=1e-2)
        encoder.eval()
    for _ in range(6):
        for idx in torch.randperm(len(xs)).split(128):
            loss = F.cross_entropy(head(encoder(xs[idx])), ys[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
    pred = head(embed(encoder, test[0])).argmax(1)
    return (pred == test[1]).float().mean().item()


def knn(encoder, train, test, k=10):
    a, b = F.normalize(embed(encoder, train[0]), dim=1), F.normalize(embed(encoder, test[0]), dim=1)
    near = (b @ a.t()).topk(k, dim=1).indices
    votes = F.one_hot(train[1][near], 8).sum(1)
    return (votes.argmax(1) == test[1]).float().mean().item()


def main():
    args = parse()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    gen = torch.Generator().manual_seed(args.seed)
    even = np.ones(8) / 8
    uneven = np.array([0.3, 0.2, 0.15, 0.1, 0.1, 0.06, 0.05, 0.04])
    train = make_patches(2048, rng, uneven if args.variant == "uneven_classes" else even)
    test = make_patches(800, rng, even)
    if args.variant == "hot_temperature":
        args.temperature = 0.8

    encoder = Encoder()
    projector = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
    opt = torch.optim.AdamW([*encoder.parameters(), *projector.parameters()], lr=args.lr, weight_decay=1e-4)
    steps = args.epochs * (len(train[0]) // args.batch_size)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=steps)
    print(f"knn before training {knn(encoder, train, test):.3f}")

    for epoch in range(args.epochs):
        encoder.train()
        total = 0.0
        order = torch.randperm(len(train[0]))
        batches = [b for b in order.split(args.batch_size) if len(b) == args.batch_size]
        for idx in batches:
            x = train[0][idx]
            v1 = augment(x, gen)
            if args.variant == "single_draw":
                v2 = v1
            elif args.variant == "one_plain_view":
                v2 = x
            else:
                v2 = augment(x, gen)
            views = torch.stack([v1, v2], dim=1)            # (B, 2, C, H, W)
            z = projector(encoder(views.flatten(0, 1)))     # (2B, D)
            if args.variant == "tiled_ids":
                ids = torch.arange(len(idx)).repeat(2)
            else:
                ids = torch.arange(len(idx)).repeat_interleave(2)
            loss = nt_xent(z, ids, args.temperature)
            opt.zero_grad()
            loss.backward()
            opt.step()
            sched.step()
            total += loss.item()
        if epoch % 4 == 3:
            print(f"epoch {epoch + 1} loss {total / len(batches):.4f}")

    k = knn(encoder, train, test)
    acc = linear_eval(encoder, train, test, args)
    print(f"knn {k:.3f}  linear probe accuracy {acc:.3f}")


if __name__ == "__main__":
    main()

FAULTS = {
    'single_draw': {'stages': 'M D', 'source': 'https://github.com/HobbitLong/SupContrast/issues/97'},
    'tiled_ids': {'stages': 'P M', 'source': 'https://github.com/KevinMusgrave/pytorch-metric-learning/issues/335'},
    'probe_all': {'stages': 'E O', 'source': 'https://github.com/p3i0t/SimCLR-CIFAR10/issues/8'},
}
HEALTHY = ['healthy', 'hot_temperature', 'one_plain_view', 'uneven_classes']

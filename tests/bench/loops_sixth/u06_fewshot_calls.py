"""Few-shot call recognition: prototypical network on short spectrograms.

    python u06_fewshot_calls.py healthy
"""
import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

torch.set_num_threads(1)
BINS, FRAMES = 24, 32


def synth_species(rng):
    """A call is two sweeping notes; species differ in pitch, sweep, gap and overtones."""
    return dict(f0=rng.uniform(4, 18), slope=rng.uniform(-.35, .35), f1=rng.uniform(4, 18), slope1=rng.uniform(-.35, .35),
                start=rng.uniform(2, 8), dur=rng.uniform(5, 11), gap=rng.uniform(1, 6), overtone=rng.uniform(0, .8),
                trill=rng.choice([0, 0, 3, 5]))


def synth_call(sp, rng, site):
    t = np.arange(FRAMES)
    f = np.arange(BINS)[:, None]
    spec = np.zeros((BINS, FRAMES))
    on = sp['start'] + rng.normal(0, 1.6)
    shift = rng.normal(0, 0.7)
    for pitch, slope in ((sp['f0'], sp['slope']), (sp['f1'], sp['slope1'])):
        d = sp['dur'] * rng.uniform(.85, 1.2)
        inside = ((t >= on) & (t < on + d)).astype(float)
        if sp['trill']:
            inside = inside * (0.55 + 0.45 * np.sin(2 * np.pi * t / sp['trill']))
        track = pitch + shift + slope * (t - on)
        spec += np.exp(-0.5 * ((f - track) / 0.9) ** 2) * inside
        spec += sp['overtone'] * np.exp(-0.5 * ((f - track - 7) / 0.9) ** 2) * inside
        on = on + d + sp['gap']
    return rng.uniform(.7, 1.4) * spec + site + rng.normal(0, 0.35, spec.shape)


class CallDataset(Dataset):
    def __init__(self, x, y):
        self.x = torch.as_tensor(x, dtype=torch.float32).unsqueeze(1)
        self.y = np.asarray(y)
        self.by_class = {c: np.where(self.y == c)[0] for c in np.unique(self.y)}

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])


class EpisodeSampler(Sampler):
    def __init__(self, data, way, per_class, episodes, seed, restart=False):
        self.data, self.way, self.per_class, self.episodes = data, way, per_class, episodes
        self.seed, self.restart = seed, restart
        self.rng = np.random.default_rng(seed)

    def __len__(self):
        return self.episodes

    def __iter__(self):
        rng = np.random.default_rng(self.seed) if self.restart else self.rng
        classes = [c for c, idx in self.data.by_class.items() if len(idx) >= self.per_class]
        for _ in range(self.episodes):
            batch = []
            for c in rng.choice(classes, self.way, replace=False):
                batch.extend(rng.choice(self.data.by_class[c], self.per_class, replace=False))
            yield [int(i) for i in batch]


def block(c_in, c_out):
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2))


class ConvNet(nn.Module):
    def __init__(self, widths, plain=False):
        super().__init__()
        blocks = [block(a, b) for a, b in zip([1] + widths[:-1], widths)]
        self.blocks = blocks if plain else nn.ModuleList(blocks)
        self.out = nn.Linear(widths[-1] * (BINS // 8) * (FRAMES // 8), 48)

    def forward(self, x):
        for b in self.blocks:
            x = b(x)
        return self.out(x.flatten(1))


def episode_logits(net, x, way, shot, query, args):
    z = net(x).view(way, shot + query, -1)
    if args.variant == 'cosine':
        z = F.normalize(z, dim=-1)
    proto, q = z[:, :shot].mean(1), z[:, shot:].reshape(way * query, -1)
    scale = 10.0 if args.variant == 'cosine' else 1.0 / z.size(-1) ** 0.5
    return -torch.cdist(q, proto) ** 2 * scale


def run(net, loader, way, shot, query, args, optimizer=None):
    net.train(optimizer is not None)
    target = torch.arange(way).repeat_interleave(query)
    accs, losses = [], []
    with torch.set_grad_enabled(optimizer is not None):
        for x, _ in loader:
            logits = episode_logits(net, x, way, shot, query, args)
            loss = F.cross_entropy(logits, target)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            accs.append((logits.argmax(1) == target).float().mean().item())
            losses.append(loss.item())
    return float(np.mean(losses)), float(np.mean(accs))


def parse():
    p = argparse.ArgumentParser()
    p.add_argument('variant', nargs='?', default='healthy')
    p.add_argument('--epochs', type=int, default=16)
    p.add_argument('--episodes', type=int, default=10)
    p.add_argument('--way', type=int, default=5)
    p.add_argument('--shot', type=int, default=3)
    p.add_argument('--query', type=int, default=5)
    p.add_argument('--lr', type=float, default=2e-3)
    p.add_argument('--seed', type=int, default=4)
    return p.parse_args()


def main():
    args = parse()
    if args.variant == 'one_shot':
        args.shot = 1
    rng = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    species = [synth_species(rng) for _ in range(28)]
    sites = rng.normal(0, 0.25, (6, BINS, 1))
    x, y = [], []
    for s, sp in enumerate(species):
        n = int(rng.integers(12, 60)) if args.variant == 'uneven_species' else 34
        for _ in range(n):
            x.append(synth_call(sp, rng, sites[rng.integers(6)]))
            y.append(s)
    x, y = np.stack(x), np.array(y)
    x = (x - x.mean(axis=(1, 2), keepdims=True)) / x.std(axis=(1, 2), keepdims=True)
    if args.variant == 'clip_split':
        pick = rng.permutation(len(y))
        cut = int(.57 * len(y))
        tr, te = pick[:cut], pick[cut:]
    else:
        tr, te = np.where(y < 16)[0], np.where(y >= 16)[0]
    train_set, test_set = CallDataset(x[tr], y[tr]), CallDataset(x[te], y[te])
    per_class = args.shot + args.query
    train_loader = DataLoader(train_set, batch_sampler=EpisodeSampler(
        train_set, args.way, per_class, args.episodes, 1, restart=args.variant == 'seeded_episodes'))
    test_loader = DataLoader(test_set, batch_sampler=EpisodeSampler(test_set, args.way, per_class, 150, 2))

    net = ConvNet([24, 32, 32], plain=args.variant == 'block_list')
    if args.variant == 'fixed_first_block':
        net.blocks[0].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=args.lr)
    sched = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    print('untrained %.4f' % run(net, test_loader, args.way, args.shot, args.query, args)[1])
    for epoch in range(args.epochs):
        loss, acc = run(net, train_loader, args.way, args.shot, args.query, args, optimizer)
        sched.step()
        if epoch % 4 == 3:
            print(f'epoch {epoch + 1:2d} loss {loss:.3f} train acc {acc:.3f}')
    print('test accuracy %.4f' % run(net, test_loader, args.way, args.shot, args.query, args)[1])


if __name__ == '__main__':
    main()

FAULTS = {
    'clip_split': {'stages': 'S', 'source': 'https://github.com/ylsung/gnn_few_shot_cifar100/issues/1'},
    'seeded_episodes': {'stages': 'B', 'source': 'https://github.com/Lightning-AI/pytorch-lightning/issues/13316'},
    'block_list': {'stages': 'N O', 'source': 'https://github.com/pytorch/pytorch/issues/38639'},
}
HEALTHY = ['healthy', 'one_shot', 'cosine', 'uneven_species', 'fixed_first_block']

"""Ceramic tile identification with pytorch-metric-learning.

Each tile lot has its own glaze; lots are found again by retrieval.  Proxy
based training, then query photos against a gallery of reference photos.
"""
import argparse
import os
import tempfile

import numpy as np
import pandas as pd
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import CosineSimilarity
from sklearn.preprocessing import LabelEncoder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

torch.set_num_threads(1)


def render(rng, lots, style, counts):
    """photos (3 x 16 x 16) of every lot and the lot names"""
    xs, names = [], []
    yy, xx = np.mgrid[0:16, 0:16] / 16.0
    for lot, n in zip(lots, counts):
        s = style[lot]
        for _ in range(n):
            ph = rng.uniform(0, 2 * np.pi, 2)
            w1 = np.sin(2 * np.pi * (s['fx'] * xx + s['fy'] * yy) + ph[0])
            w2 = np.sin(2 * np.pi * (s['gx'] * xx - s['gy'] * yy) + ph[1])
            img = s['base'][:, None, None] + s['a'][:, None, None] * w1 + s['b'][:, None, None] * w2
            light = rng.normal(0, .25, (3, 1, 1)) + rng.normal(0, .5) * (xx - .5) + rng.normal(0, .5) * (yy - .5)
            xs.append(img * rng.uniform(.7, 1.3) + light + rng.normal(0, .45, img.shape))
            names.append(lot)
    return np.stack(xs).astype('float32'), names


def make_data(args, root):
    rng = np.random.default_rng(args.seed)
    lots = [f'L{k:03d}' for k in rng.permutation(60)]
    style = {l: dict(fx=rng.integers(1, 5), fy=rng.integers(0, 5), gx=rng.integers(1, 5), gy=rng.integers(0, 5),
                     base=rng.normal(0, .25, 3), a=rng.normal(0, .4, 3), b=rng.normal(0, .4, 3)) for l in lots}
    many = np.full(60, 40)
    if args.variant not in ('plain_batches',):
        many = rng.integers(14, 60, 60)
    train = render(rng, lots, style, many)
    order = rng.permutation(len(train[1]))
    train = train[0][order], [train[1][i] for i in order]
    gallery = render(rng, lots, style, np.full(60, 4))
    asked = [l for l in lots if l not in ('L029', 'L041', 'L050')]
    if args.variant == 'every_lot':
        asked = lots
    query = render(rng, asked, style, np.full(len(asked), 8))
    for name, (x, lab) in dict(train=train, gallery=gallery, query=query).items():
        np.save(os.path.join(root, name + '.npy'), x)
        pd.DataFrame({'lot': lab}).to_csv(os.path.join(root, name + '.csv'), index=False)


def read(root, part):
    return torch.from_numpy(np.load(os.path.join(root, part + '.npy'))), pd.read_csv(os.path.join(root, part + '.csv'))['lot'].to_numpy()


def network(dim=8):
    return nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.BatchNorm2d(24), nn.LeakyReLU(.1), nn.MaxPool2d(2),
                         nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.LeakyReLU(.1), nn.AdaptiveAvgPool2d(4),
                         nn.Flatten(), nn.Linear(48 * 16, dim))


@torch.no_grad()
def embed(model, x):
    model.eval()
    return nn.functional.normalize(torch.cat([model(c) for c in x.split(256)]), dim=1)


def retrieval(model, root, encoder, args):
    gx, gl = read(root, 'gallery')
    qx, ql = read(root, 'query')
    if args.variant == 'fit_again':
        gy, qy = LabelEncoder().fit_transform(gl), LabelEncoder().fit_transform(ql)
    else:
        gy, qy = encoder.transform(gl), encoder.transform(ql)
    nearest = (embed(model, qx) @ embed(model, gx).t()).argmax(1).numpy()
    return float((gy[nearest] == qy).mean())


def train_loader(x, y, args):
    data = TensorDataset(x, torch.from_numpy(y))
    if args.variant in ('plain_batches', 'uneven_lots'):
        return DataLoader(data, args.batch, shuffle=True, drop_last=True)
    weights = 1.0 / np.bincount(y)
    if args.variant != 'lot_weights':
        weights = weights[y]
    sampler = WeightedRandomSampler(torch.as_tensor(weights), num_samples=len(y), replacement=True)
    return DataLoader(data, args.batch, sampler=sampler, drop_last=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('variant', nargs='?', default='healthy')
    p.add_argument('--batch', type=int, default=64)
    p.add_argument('--epochs', type=int, default=6)
    p.add_argument('--lr', type=float, default=1e-3)
    p.add_argument('--seed', type=int, default=12)
    args = p.parse_args()
    torch.manual_seed(args.seed)
    with tempfile.TemporaryDirectory() as root:
        make_data(args, root)
        x, lots = read(root, 'train')
        encoder = LabelEncoder().fit(lots)
        y = encoder.transform(lots)
        model = network()
        criterion = losses.ProxyNCALoss(num_classes=60, embedding_size=8, softmax_scale=12, distance=CosineSimilarity())
        miner = miners.MultiSimilarityMiner(epsilon=.1) if args.variant == 'with_miner' else None
        groups = [{'params': model.parameters()}]
        if args.variant != 'network_only':
            groups.append({'params': criterion.parameters(), 'lr': args.lr * 20})
        optimizer = torch.optim.RMSprop(groups, lr=args.lr)
        loader = train_loader(x, y, args)
        print(f'recall@1 untrained {retrieval(model, root, encoder, args):.4f}')
        for epoch in range(args.epochs):
            model.train()
            total = 0.0
            for xb, yb in loader:
                out = model(xb)
                loss = criterion(out, yb, miner(out, yb)) if miner else criterion(out, yb)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            print(f'epoch {epoch} loss {total / len(loader):.3f}')
        print(f'recall@1 {retrieval(model, root, encoder, args):.4f}')


if __name__ == '__main__':
    main()

FAULTS = {
    'network_only': {'stages': 'O P', 'source': 'https://github.com/sung-yeon-kim/Proxy-Anchor-CVPR2020/issues/25'},
    'lot_weights': {'stages': 'B', 'source': 'https://github.com/deep-voice/soundbay/pull/49'},
    'fit_again': {'stages': 'L E', 'source': 'https://github.com/scikit-learn/scikit-learn/issues/10324'},
}
HEALTHY = ['healthy', 'plain_batches', 'uneven_lots', 'every_lot', 'with_miner']

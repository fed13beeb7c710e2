"""MoCo on seasonal satellite patches, functional style (no trainer class).

Two acquisitions of one place are the two views.  Evaluation: kNN over land
cover of places from other tiles.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

torch.set_num_threads(1)
variant = sys.argv[1] if len(sys.argv) > 1 else 'healthy'
gen = np.random.default_rng(21)
torch.manual_seed(21)

N_COVER, BANDS, SIZE, FILL = 8, 5, 12, -9999.0
DIM, BATCH, EPOCHS, LR, MOM, TAU = 32, 64, 9, 0.06, 0.99, 0.15
if variant == 'quick_momentum':
    MOM = 0.9
QUEUE = 128 if variant == 'short_queue' else 512


def make_tiles(n_tiles, per_tile):
    """reflectance [tile*place, season, band, h, w] and cover labels"""
    spectra = np.random.default_rng(1).uniform(0.05, 0.5, (N_COVER, BANDS))
    season_gain = np.random.default_rng(2).normal(0, 0.10, (N_COVER, 2, BANDS))
    scale = np.array([1, 1, 2, 2, 3, 3, 4, 6])
    x = np.zeros((n_tiles * per_tile, 2, BANDS, SIZE, SIZE), dtype=np.float32)
    y = np.zeros(len(x), dtype=int)
    p = np.ones(N_COVER) / N_COVER if variant != 'mostly_forest' else np.array([.4, .15, .1, .1, .08, .07, .05, .05])
    i = 0
    for _ in range(n_tiles):
        for _ in range(per_tile):
            c = gen.choice(N_COVER, p=p)
            own = gen.normal(0, 0.035, BANDS)
            block = gen.normal(0, 1, (SIZE // scale[c] + 1, SIZE // scale[c] + 1))
            texture = np.kron(block, np.ones((scale[c], scale[c])))[:SIZE, :SIZE]
            for s in range(2):
                haze = gen.normal(0, 0.07) + gen.normal(0, 0.02, (BANDS, 1, 1))
                ref = (spectra[c] + season_gain[c, s] + own)[:, None, None] * (1 + 0.25 * texture) + haze
                x[i, s] = ref * gen.uniform(.8, 1.2) + gen.normal(0, .05, ref.shape)
            y[i] = c
            i += 1
    x = x.astype("float32")
    # swath borders and clouds carry the fill value
    for k in np.where(gen.random(len(x)) < 0.3)[0]:
        s, w = gen.integers(2), gen.integers(2, 5)
        if gen.random() < .5:
            x[k, s, :, :, :w] = FILL
        else:
            x[k, s, :, -w:] = FILL
    return x, y


def prepare(train, test):
    if variant == 'raw_fill':
        mean = train.mean(axis=(0, 1, 3, 4), keepdims=True)
        std = train.std(axis=(0, 1, 3, 4), keepdims=True)
        return [torch.from_numpy((a - mean) / std) for a in (train, test)]
    good = np.where(train == FILL, np.nan, train)
    mean = np.nanmean(good, axis=(0, 1, 3, 4), keepdims=True)
    std = np.nanstd(good, axis=(0, 1, 3, 4), keepdims=True)
    out = []
    for a in (train, test):
        out.append(torch.from_numpy(np.where(a == FILL, 0.0, (a - mean) / std).astype('float32')))
    return out


def build_net():
    return nn.Sequential(nn.Conv2d(BANDS, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, DIM))


def embed(net, x):
    return F.normalize(net(x), dim=1)


def jitter(x):
    if torch.rand(()) < .5:
        x = x.flip(-1)
    if torch.rand(()) < .5:
        x = x.transpose(-1, -2)
    gain = torch.empty(len(x), 1, 1, 1).uniform_(.8, 1.2)
    return x * gain + 0.1 * torch.randn_like(x)


def momentum_update(net_q, net_k, m):
    with torch.no_grad():
        for pq, pk in zip(net_q.parameters(), net_k.parameters()):
            if variant == 'slow_copy':
                pk = pk * m + pq * (1 - m)
            else:
                pk.mul_(m).add_(pq, alpha=1 - m)


def contrast(q, k, queue):
    pos = (q * k).sum(1, keepdim=True)
    logits = torch.cat([pos, q @ queue.t()], 1) / TAU
    if variant == 'row_targets':
        target = torch.arange(len(q))
    else:
        target = torch.zeros(len(q), dtype=torch.long)
    return F.cross_entropy(logits, target)


@torch.no_grad()
def knn_score(net, bank_x, bank_y, x, y, k=7):
    net.eval()
    feats = lambda t: F.normalize(torch.cat([net[:9](c) for c in t.split(256)]), dim=1)
    sims = feats(x) @ feats(bank_x).t()
    votes = torch.from_numpy(bank_y)[sims.topk(k, 1).indices]
    net.train()
    return (votes.mode(1).values == torch.from_numpy(y)).float().mean().item()


raw_train, y_train = make_tiles(12, 150)
raw_test, y_test = make_tiles(4, 120)
x_train, x_test = prepare(raw_train, raw_test)

net_q, net_k = build_net(), build_net()
net_k.load_state_dict(net_q.state_dict())
for p in net_k.parameters():
    p.requires_grad_(False)
queue = F.normalize(torch.randn(QUEUE, DIM), dim=1)
head = 0
opt = torch.optim.SGD(net_q.parameters(), lr=LR, momentum=.9, weight_decay=1e-4)
steps = EPOCHS * (len(x_train) // BATCH)
sched = torch.optim.lr_scheduler.OneCycleLR(opt, LR, total_steps=steps, pct_start=.15)
print(f'kNN untrained {knn_score(net_q, x_train[:, 0], y_train, x_test[:, 1], y_test):.4f}')

for epoch in range(EPOCHS):
    perm, total = torch.randperm(len(x_train)), 0.0
    for s in range(len(x_train) // BATCH):
        xb = x_train[perm[s * BATCH:(s + 1) * BATCH]]
        first = int(torch.randint(2, ()))
        q = embed(net_q, jitter(xb[:, first]))
        with torch.no_grad():
            k = embed(net_k, jitter(xb[:, 1 - first]))
        loss = contrast(q, k, queue)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        momentum_update(net_q, net_k, MOM)
        queue[head:head + BATCH] = k
        head = (head + BATCH) % QUEUE
        total += loss.item()
    if epoch % 3 == 2:
        print(f'epoch {epoch + 1} loss {total / (len(x_train) // BATCH):.3f}')

net = net_k if variant == 'key_features' else net_q
print(f'kNN accuracy {knn_score(net, x_train[:, 0], y_train, x_test[:, 1], y_test):.4f}')

FAULTS = {
    'raw_fill': {'stages': 'D', 'source': 'https://github.com/ctherien/pysptools/issues/6'},
    'slow_copy': {'stages': 'N O', 'source': 'https://github.com/ligerfotis/mvitac/issues/2'},
    'row_targets': {'stages': 'P', 'source': 'https://github.com/facebookresearch/moco/issues/24'},
}
HEALTHY = ['healthy', 'quick_momentum', 'short_queue', 'mostly_forest', 'key_features']

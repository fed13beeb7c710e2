"""Two-step supervised contrastive learning on bearing vibration.

Step 1 trains an encoder and a projection head with SupCon, step 2 puts a
linear layer on the frozen encoder and reports accuracy on bearings that were
never mounted in the training rig.
"""
import os
import sys
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
VARIANT = sys.argv[1] if len(sys.argv) > 1 else 'healthy'
SEED = 3
rng = np.random.default_rng(SEED)
torch.manual_seed(SEED)

CLASSES = ['normal', 'inner', 'outer', 'ball', 'cage']
BEARINGS_PER_CLASS = 40
WIN, HOP, FS = 256, 64, 2560.0
BATCH = 24 if VARIANT == 'small_batch' else 96
TEMP = 0.5 if VARIANT == 'warm_temperature' else 0.1
EPOCHS = 14


def record(fault, n):
    """One recording of one bearing: shaft tone, impacts at the fault rate, noise."""
    t = np.arange(n) / FS
    shaft = rng.uniform(22, 34)
    rate = {0: 0.0, 1: 5.4, 2: 3.6, 3: 2.3, 4: 0.7}[fault] * shaft
    res = rng.normal([0, 420, 560, 700, 840][fault], 60)
    x = rng.uniform(0.3, 1.2) * np.sin(2 * np.pi * shaft * t + rng.uniform(0, 6))
    x += rng.uniform(0.2, 0.8) * np.sin(2 * np.pi * rng.uniform(60, 400) * t)
    if rate > 0:
        kernel_t = np.arange(48) / FS
        kernel = np.exp(-kernel_t * rng.uniform(110, 260)) * np.sin(2 * np.pi * res * kernel_t)
        train = np.zeros(n)
        hits = (np.cumsum(rng.normal(1.0, 0.03, size=int(n / FS * rate) + 2)) / rate * FS).astype(int)
        hits = hits[hits < n]
        train[hits] = rng.uniform(0.7, 1.3, size=len(hits))
        x += 2.4 * np.convolve(train, kernel)[:n]
    x += rng.normal(0, rng.uniform(0.35, 0.7), n)
    return x * rng.uniform(0.5, 2.0)


def build():
    xs, ys, groups = [], [], []
    for c in range(len(CLASSES)):
        for b in range(BEARINGS_PER_CLASS):
            length = 768
            if VARIANT == 'uneven_classes' and c >= 3:
                length = 448
            sig = record(c, length)
            for start in range(0, length - WIN + 1, HOP):
                xs.append(sig[start:start + WIN])
                ys.append(c)
                groups.append(c * BEARINGS_PER_CLASS + b)
    x = np.stack(xs).astype('float32')
    x = (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-6)
    return x, np.array(ys), np.array(groups)


X, Y, G = build()
if VARIANT == 'window_split':
    order = rng.permutation(len(X))
    n_test = int(0.3 * len(X))
    test_idx, train_idx = order[:n_test], order[n_test:]
else:
    held = G % BEARINGS_PER_CLASS >= 30
    test_idx, train_idx = np.where(held)[0], np.where(~held)[0]

Xtr = torch.from_numpy(X[train_idx]).unsqueeze(1)
Ytr = torch.from_numpy(Y[train_idx])
Xte = torch.from_numpy(X[test_idx]).unsqueeze(1)
Yte = torch.from_numpy(Y[test_idx])
print(f'train windows {len(Xtr)}  test windows {len(Xte)}  classes {np.bincount(Y[train_idx])}')


class Encoder(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.stem = nn.Conv1d(1, 16, 33, stride=2, padding=16)
        self.body = nn.Sequential(
            nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, width, 9, stride=2, padding=4), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, 64, 5, stride=2, padding=2), nn.BatchNorm1d(64), nn.ReLU())

    def forward(self, x):
        h = self.body(self.stem(x))
        return torch.cat([h.mean(-1), h.amax(-1)], 1)


class SupConNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x):
        return F.normalize(self.head(self.encoder(x)), dim=1)


def augment(x):
    n = x.size(0)
    x = x * torch.empty(n, 1, 1).uniform_(0.7, 1.3)
    x = torch.roll(x, int(torch.randint(0, WIN, (1,))), dims=-1)
    return x + 0.15 * torch.randn_like(x)


def supcon(z, labels, temperature):
    sim = z @ z.t() / temperature
    sim = sim - sim.max(1, keepdim=True).values.detach()
    same = (labels[:, None] == labels[None, :]).float()
    others = 1 - torch.eye(len(z))
    pos = same * others
    log_prob = sim - torch.log((sim.exp() * others).sum(1, keepdim=True))
    return -((pos * log_prob).sum(1) / pos.sum(1).clamp(min=1)).mean()


net = SupConNet()
if VARIANT == 'fixed_stem':
    net.encoder.stem.requires_grad_(False)
opt = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, momentum=0.9, weight_decay=1e-4)
loader = DataLoader(TensorDataset(Xtr, Ytr), batch_size=BATCH, shuffle=True, drop_last=True)
total = EPOCHS * len(loader)
if VARIANT == 'warmup_from_zero':
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(s / (0.2 * total), 1.0))
else:
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, total)

for epoch in range(EPOCHS):
    net.train()
    running = 0.0
    for xb, yb in loader:
        z = net(torch.cat([augment(xb), augment(xb)]))
        targets = yb.repeat_interleave(2) if VARIANT == 'view_labels' else yb.repeat(2)
        loss = supcon(z, targets, TEMP)
        opt.zero_grad()
        loss.backward()
        opt.step()
        sched.step()
        running += loss.item()
    if epoch % 4 == 0 or epoch == EPOCHS - 1:
        print(f'epoch {epoch:2d}  supcon {running / len(loader):.3f}')

ckpt = os.path.join(tempfile.mkdtemp(), 'pretrained.pth')
torch.save({'model': net.state_dict(), 'epoch': EPOCHS}, ckpt)


class LinearModel(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.backbone = Encoder()
        self.fc = nn.Linear(128, n_classes)

    def forward(self, x):
        with torch.no_grad():
            h = self.backbone(x)
        return self.fc(h)


torch.manual_seed(SEED + 1)
probe = LinearModel(len(CLASSES))
state = torch.load(ckpt)['model']
prefix = 'module.encoder.' if VARIANT == 'saved_names' else 'encoder.'
state = {k.replace(prefix, 'backbone.'): v for k, v in state.items()}
probe.load_state_dict(state, strict=False)

optimizer = torch.optim.Adam(probe.fc.parameters(), lr=5e-3)
for epoch in range(8):
    probe.train()
    probe.backbone.eval()
    for xb, yb in DataLoader(TensorDataset(Xtr, Ytr), batch_size=128, shuffle=True):
        loss = F.cross_entropy(probe(xb), yb)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

probe.eval()
with torch.no_grad():
    pred = torch.cat([probe(b).argmax(1) for b in Xte.split(256)])
acc = (pred == Yte).float().mean().item()
print(f'test accuracy {acc:.4f}')

FAULTS = {
    'window_split': {'stages': 'S', 'source': 'https://github.com/ermongroup/Wifi_Activity_Recognition/issues/47'},
    'saved_names': {'stages': 'C', 'source': 'https://github.com/HobbitLong/PyContrast/issues/1'},
    'view_labels': {'stages': 'P L M', 'source': 'https://github.com/open-mmlab/mmselfsup/issues/159'},
}
HEALTHY = ['healthy', 'warm_temperature', 'small_batch', 'uneven_classes', 'fixed_stem', 'warmup_from_zero']

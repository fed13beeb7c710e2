"""Identity embedding with an angular margin head. Plain tensors, hand-made batches.
After https://github.com/ronghuaiyang/arcface-pytorch (models/metrics.py: ArcMarginProduct, AddMarginProduct).

Threads the variants are modelled on:
  https://github.com/gitabcworld/MatchingNetworks/issues/5      softmax and then cross_entropy
  https://github.com/ronghuaiyang/arcface-pytorch/issues/91     "Request to avoid loss to NaN" (also #32)
  https://github.com/yunjey/pytorch-tutorial/issues/238         where zero_grad belongs
Usage: python q03_arcface_raw.py VARIANT
"""
import math, sys
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
N_ID, DIM = 8, 2
rng = np.random.default_rng(5)
torch.manual_seed(5)


class ArcMarginProduct(nn.Module):
    def __init__(self, in_features, out_features, s=16.0, m=0.25):
        super().__init__()
        self.s = s
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.xavier_uniform_(self.weight)
        self.set_margin(m)

    def set_margin(self, m):
        self.cos_m, self.sin_m = math.cos(m), math.sin(m)
        self.th, self.mm = math.cos(math.pi - m), math.sin(math.pi - m) * m

    def forward(self, x, label):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight))
        if VARIANT == "sine_of_cosine":
            sine = torch.sqrt(1.0 - torch.pow(cosine, 2))
        else:
            sine = torch.sqrt((1.0 - torch.pow(cosine, 2)).clamp(1e-6, 1))
        phi = cosine * self.cos_m - sine * self.sin_m
        phi = torch.where(cosine > self.th, phi, cosine - self.mm)
        one_hot = F.one_hot(label, cosine.shape[1]).to(cosine.dtype)
        return self.s * (one_hot * phi + (1.0 - one_hot) * cosine)


class AddMarginProduct(ArcMarginProduct):
    def forward(self, x, label):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight))
        return self.s * (cosine - 0.2 * F.one_hot(label, cosine.shape[1]))


def faces(per_id, spread, seed):
    protos = np.random.default_rng(0).normal(size=(N_ID, 64))
    g = np.random.default_rng(seed)
    y = np.repeat(np.arange(N_ID), per_id)
    x = protos[y] * g.uniform(0.6, 1.4, size=(len(y), 1)) + spread * g.normal(size=(len(y), 64))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


x_train, y_train = faces(60, 1.2, 1)
x_test, y_test = faces(20, 1.2, 2)

backbone = nn.Sequential(nn.Linear(64, 96), nn.BatchNorm1d(96), nn.PReLU(), nn.Linear(96, 96), nn.BatchNorm1d(96), nn.PReLU(), nn.Linear(96, DIM))
head = AddMarginProduct(DIM, N_ID) if VARIANT == "cosface" else ArcMarginProduct(DIM, N_ID)
if VARIANT == "scale_64":
    head.s = 64.0
if VARIANT == "head_faster":
    optimizer = torch.optim.SGD([{"params": backbone.parameters(), "lr": 0.03}, {"params": head.parameters(), "lr": 0.2}], momentum=0.9, weight_decay=5e-4)
else:
    optimizer = torch.optim.SGD([{"params": backbone.parameters()}, {"params": head.parameters()}], lr=0.05, momentum=0.9, weight_decay=5e-4)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[18, 26], gamma=0.2)
criterion = nn.CrossEntropyLoss(label_smoothing=0.0)


def verify():
    """Rank-1 by cosine with the training set as the gallery, and the accuracy of same/different pairs at the best threshold."""
    backbone.eval()
    with torch.no_grad():
        g, q = F.normalize(backbone(x_train)), F.normalize(backbone(x_test))
    sim = q @ g.T
    rank1 = (y_train[sim.argmax(1)] == y_test).float().mean().item()
    same = y_test[:, None] == y_train[None]
    best = max(0.5 * ((sim > t)[same].float().mean() + (sim <= t)[~same].float().mean()).item() for t in np.linspace(-0.5, 0.999, 40))
    return rank1, best


batch_size = 48
for epoch in range(30):
    backbone.train()
    if VARIANT == "margin_grows":
        head.set_margin(0.25 * min(epoch / 8, 1.0))
    perm = rng.permutation(len(x_train))
    running = 0.0
    n_batches = len(perm) // batch_size
    for b in range(n_batches):
        idx = perm[b * batch_size:(b + 1) * batch_size]
        data, label = x_train[idx], y_train[idx]
        feature = backbone(data)
        output = head(feature, label)
        if VARIANT == "probabilities":
            output = F.softmax(output, dim=1)
        loss = criterion(output, label)
        if VARIANT == "clear_then_step":
            loss.backward()
            optimizer.zero_grad()
            optimizer.step()
        else:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        running += loss.item()
    scheduler.step()
    if epoch % 5 == 0 or epoch == 29:
        r1, pair = verify()
        print(f"epoch {epoch} loss {running / n_batches:.4f} rank-1 {r1:.3f} pairs {pair:.3f}")


FAULTS = {'probabilities': {'stages': 'P',
                   'source': 'https://github.com/gitabcworld/MatchingNetworks/issues/5'},
 'sine_of_cosine': {'stages': 'P D N O',
                    'source': 'https://github.com/ronghuaiyang/arcface-pytorch/issues/91'},
 'clear_then_step': {'stages': 'O N',
                     'source': 'https://github.com/yunjey/pytorch-tutorial/issues/238'}}
HEALTHY = ['healthy', 'cosface', 'scale_64', 'head_faster', 'margin_grows']

# SimCLR minimal
import argparse, random
import numpy as np, torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.model_selection import train_test_split

ap = argparse.ArgumentParser()
ap.add_argument("--fault", default=""); ap.add_argument("--healthy", default="")
ap.add_argument("--epochs", type=int, default=12); ap.add_argument("--bs", type=int, default=128)
cfg = ap.parse_args()
torch.manual_seed(1); np.random.seed(1); random.seed(1)

def augment(x):
    n = x.size(0)
    x = torch.roll(x, (random.randint(-1, 1), random.randint(-1, 1)), (2, 3))
    x = x * (torch.rand(n, 1, 8, 8) > 0.2)
    return x * (0.7 + 0.6 * torch.rand(n, 1, 1, 1)) + 0.1 * torch.randn_like(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.Conv2d(1, 24, 3, 1, 1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(48 * 16, 128))
        self.g = nn.Sequential(nn.ReLU(), nn.Linear(128, 64))
    def forward(self, x):
        h = self.f(x)
        return h, self.g(h)

def info_nce_loss(z, t=0.2):
    n = z.size(0) // 2
    z = F.normalize(z, dim=1) if cfg.healthy != "cosfn" else z
    sim = F.cosine_similarity(z[:, None], z[None], dim=-1) if cfg.healthy == "cosfn" else z @ z.t()
    sim = sim / t
    sim.masked_fill_(torch.eye(2 * n, dtype=torch.bool), -1e9)
    target = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    if cfg.fault == "interleave":   # https://github.com/open-mmlab/mmselfsup/issues/159
        target = torch.arange(2 * n) ^ 1
    if cfg.fault == "softmax":      # softmax before CrossEntropyLoss, https://discuss.pytorch.org/t/do-i-need-to-use-softmax-before-nn-crossentropyloss
        sim = torch.softmax(sim, dim=1)
    return F.cross_entropy(sim, target)

X, y = load_digits(return_X_y=True)
X = torch.tensor(X / 16., dtype=torch.float32).view(-1, 1, 8, 8); y = torch.tensor(y)
i_tr, i_te = train_test_split(np.arange(len(y)), test_size=.25, random_state=0)
loader = DataLoader(TensorDataset(X[i_tr], y[i_tr]), batch_size=cfg.bs, shuffle=True, drop_last=True)
net = Net(); opt = torch.optim.Adam(net.parameters(), lr=2e-3 if cfg.healthy != "tinylr" else 2e-4)

for ep in range(cfg.epochs):
    tot = 0
    for x, _ in loader:
        x1, x2 = augment(x), augment(x)
        if cfg.fault == "sameview":  # https://github.com/microsoft/A-CLIP/pull/4 (does not compare the two augmentations)
            x1 = augment(x); x2 = x1
        _, z = net(torch.cat([x1, x2]))
        if cfg.fault == "numpyloss":  # https://discuss.pytorch.org : loss made from .data, gradient lost on one side
            z = torch.cat([z[: len(x)].detach(), z[len(x):].detach()]).requires_grad_()
        loss = info_nce_loss(z)
        opt.zero_grad(); loss.backward(); opt.step()
        tot += loss.item()
    print(f"epoch {ep} loss {tot / len(loader):.4f}")

net.eval()
with torch.no_grad(): H = F.normalize(net(X)[0], dim=1).numpy()
print("knn", KNeighborsClassifier(5).fit(H[i_tr], y[i_tr]).score(H[i_te], y[i_te]))
torch.save(net.state_dict(), __import__("tempfile").gettempdir() + "/simclr.pt")


FAULTS = {
    'interleave': {'stages': 'P', 'what': 'target = arange ^ 1: positives are neighbours'},
    'softmax': {'stages': 'P', 'what': 'softmax before cross_entropy'},
    'sameview': {'stages': 'M', 'what': 'both views are one tensor'},
    'numpyloss': {'stages': 'PN', 'what': 'embeddings detached, loss backward does not reach net: no gradient to the encoder'},
}
HEALTHY = ['plain', 'cosfn']

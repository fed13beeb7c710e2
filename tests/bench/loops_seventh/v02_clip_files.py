"""Tiny CLIP on a folder of pictures and a caption table."""
import glob
import os
import re
import sys
import tempfile

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
SLOTS, WORDS = 5, 12


def write_folder(root, n=2400, seed=5):
    g = np.random.default_rng(seed)
    pat = g.normal(size=(SLOTS, WORDS, 3, 12, 12))
    caps = []
    for i in range(n):
        w = g.integers(0, WORDS, SLOTS)
        img = 0.5 * sum(pat[s, w[s]] for s in range(SLOTS)) + 3.2 * g.normal(size=(3, 12, 12))
        img = (255 / (1 + np.exp(-img))).astype("uint8")
        np.save(os.path.join(root, f"pic_{i}.npy"), img)
        words = [f"s{s}w{w[s]}" for s in range(SLOTS)]
        g.shuffle(words)
        caps.append(" ".join(["a"] * g.integers(0, 3) + words))
    pd.DataFrame({"number": np.arange(n), "caption": caps}).to_csv(os.path.join(root, "captions.csv"), index=False)


class PicText(Dataset):
    def __init__(self, root, augment=True):
        files = glob.glob(os.path.join(root, "pic_*.npy"))
        if VARIANT == "sorted_names":
            self.files = sorted(files)
        else:
            self.files = sorted(files, key=lambda f: int(re.findall(r"pic_(\d+)", f)[0]))
        self.caps = pd.read_csv(os.path.join(root, "captions.csv")).sort_values("number").caption.tolist()
        vocab = sorted({w for c in self.caps for w in c.split()})
        self.stoi = {w: i + 1 for i, w in enumerate(vocab)}
        self.pics = [np.load(f) for f in self.files]
        self.augment = augment

    def __len__(self):
        return len(self.files)

    def tokens(self, i):
        ids = [self.stoi[w] for w in self.caps[i].split()]
        return torch.tensor(ids + [0] * (SLOTS + 3 - len(ids)))

    def __getitem__(self, i):
        x = torch.from_numpy(self.pics[i]).float()
        if VARIANT != "raw_pixels":
            x = x / 255.0
        if self.augment:
            x = x * (1 + 0.1 * torch.randn(3, 1, 1))
        return x, self.tokens(i)


class Vision(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(432, 320), nn.GELU(), nn.Linear(320, d))

    def forward(self, x):
        return self.net((x - 0.5) * 2)


class Text(nn.Module):
    def __init__(self, vocab, d):
        super().__init__()
        self.emb = nn.Embedding(vocab + 1, 96, padding_idx=0)
        self.net = nn.Sequential(nn.Linear(96, 160), nn.GELU(), nn.Linear(160, d))

    def forward(self, t):
        m = (t > 0).float().unsqueeze(-1)
        return self.net((self.emb(t) * m).sum(1) / m.sum(1))


class Clip(nn.Module):
    def __init__(self, vocab, d=64):
        super().__init__()
        self.vision, self.text = Vision(d), Text(vocab, d)
        t0 = 0.07 if VARIANT != "fixed_temp" else 0.2
        self.logit_scale = nn.Parameter(torch.tensor(float(np.log(1 / t0))), requires_grad=VARIANT != "fixed_temp")

    def forward(self, x, t):
        return F.normalize(self.vision(x), dim=-1), F.normalize(self.text(t), dim=-1)


class Trainer:
    def __init__(self, model, loader, epochs):
        self.model, self.loader, self.epochs = model, loader, epochs
        lr = 2e-3
        if VARIANT == "two_rates":
            groups = [{"params": model.vision.parameters(), "lr": 1e-3},
                      {"params": [p for n, p in model.named_parameters() if not n.startswith("vision")], "lr": 4e-3}]
            self.opt = torch.optim.AdamW(groups, weight_decay=0.02)
        else:
            self.opt = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.02)
        self.sched = torch.optim.lr_scheduler.ExponentialLR(self.opt, gamma=0.88)

    def epoch(self):
        self.model.train()
        total = 0.0
        for x, t in self.loader:
            zi, zt = self.model(x, t)
            scale = self.model.logit_scale.exp().clamp(max=100)
            logits = scale * zi @ zt.T
            target = torch.arange(len(x))
            loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
            self.opt.zero_grad(set_to_none=True)
            loss.backward()
            if VARIANT == "grad_clip":
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.opt.step()
            if VARIANT == "sched_in_loop":
                self.sched.step()
            total += loss.item()
        if VARIANT != "sched_in_loop" and VARIANT != "no_decay":
            self.sched.step()
        return total / len(self.loader)

    def fit(self):
        for e in range(self.epochs):
            l = self.epoch()
            print(f"[{e + 1:02d}/{self.epochs}] loss={l:.4f} scale={self.model.logit_scale.exp().item():.2f}")


@torch.no_grad()
def recall(model, data, idx):
    model.eval()
    zi, zt = [], []
    for s in range(0, len(idx), 64):
        part = idx[s:s + 64]
        x = torch.stack([torch.from_numpy(data.pics[i]).float() / 255.0 for i in part])
        t = torch.stack([data.tokens(i) for i in part])
        a, b = model(x, t)
        zi.append(a), zt.append(b)
    sim = torch.cat(zt) @ torch.cat(zi).T
    rank = (sim > sim.diag().unsqueeze(1)).sum(1)
    return (rank < 1).float().mean().item(), (rank < 5).float().mean().item()


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        write_folder(root)
        data = PicText(root)
    order = np.random.default_rng(1).permutation(len(data))
    train, test = order[:2000], order[2000:]
    bs = 32 if VARIANT == "small_batch" else 100
    loader = DataLoader(Subset(data, train.tolist()), batch_size=bs, shuffle=True, drop_last=True)
    model = Clip(len(data.stoi))
    Trainer(model, loader, epochs=16).fit()
    r1, r5 = recall(model, data, test.tolist())
    print(f"test text->image R@1={r1:.3f} R@5={r5:.3f}")


FAULTS = {
    "sorted_names": {"stages": "MD", "what": "Picture files are sorted by name as text (pic_10 before pic_2) while captions are in numeric order, so nearly every pair is wrong.", "source": "https://stackoverflow.com/questions/4813061/non-alphanumeric-list-order-from-os-listdir"},
    "raw_pixels": {"stages": "DE", "what": "The training data set hands over raw 0-255 pixels while evaluation divides by 255.", "source": "https://github.com/ifzhang/FairMOT/issues/367"},
    "sched_in_loop": {"stages": "O", "what": "A per-epoch exponential scheduler is stepped after every batch, so the rate is gone within the first epochs.", "source": "https://github.com/Lightning-AI/pytorch-lightning/issues/101"},
}
HEALTHY = {
    "healthy": "Base run, learned logit scale, exponential decay per epoch.",
    "small_batch": "Batch of 32 pairs.",
    "fixed_temp": "Fixed temperature of 0.2, logit scale not trained.",
    "two_rates": "Two parameter groups with different rates.",
    "grad_clip": "Gradient clipping at 1.0.",
    "no_decay": "Scheduler built but the rate held constant on purpose.",
}

if __name__ == "__main__":
    main()

"""Wearable sensors: contrastive pre-training of a small Transformer with the
Hugging Face Trainer; nearest-neighbour activity recognition afterwards.

    python t07_har_hf_trainer.py VARIANT
"""
import os
import sys
import tempfile

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from transformers import Trainer, TrainingArguments, set_seed
from transformers.utils import logging as hf_logging

torch.set_num_threads(1)
hf_logging.set_verbosity_error()

WINDOW, STRIDE, PATCH, TOKENS = 40, 10, 4, 11
N_ACT = 5


def stream(subject, activity, n, r):
    """three axes: activity rhythm and shape, worn and walked differently by everybody"""
    s = np.random.default_rng(1000 + subject)
    pace = s.uniform(0.8, 1.25)
    q, _ = np.linalg.qr(np.eye(3) + 0.75 * s.normal(0, 1, (3, 3)))
    gravity = s.normal(0, 0.8, 3)
    habit = s.normal(0, 0.25, (N_ACT, 3, 3))
    a = np.random.default_rng(50 + activity)
    w = np.array([0.35, 0.6, 0.85, 1.1, 0.6])[activity] * pace
    amp = a.normal(0, 1, (3, 3)) + habit[activity]
    ph = a.uniform(0, 6.28, (3, 3))
    t = np.arange(n)[:, None, None] + r.uniform(0, 30)
    drift = np.cumsum(r.normal(0, 0.05, (n, 3)), 0)
    x = (amp * np.sin(w * t * np.arange(1, 4) + ph)).sum(-1) @ q + gravity + drift
    return x + r.normal(0, 0.6, (n, 3))


def windows(subjects, seed, bout):
    r = np.random.default_rng(seed)
    x, y, who = [], [], []
    for s in subjects:
        for act in range(N_ACT):
            n = int(bout * [1.6, 1.2, 1.0, 0.5, 0.4][act])
            track = stream(s, act, n, r)
            for a in range(0, n - WINDOW + 1, STRIDE):
                x.append(track[a:a + WINDOW])
                y.append(act)
                who.append(s)
    return torch.tensor(np.array(x), dtype=torch.float32), np.array(y), np.array(who)


class Windows(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "y": int(self.y[i])}


def jitter(x):
    n = PATCH * int(torch.randint(6, WINDOW // PATCH + 1, (1,)))
    a = int(torch.randint(0, WINDOW - n + 1, (1,)))
    x = x[a:a + n]
    tilt = torch.eye(3) + 0.3 * torch.randn(3, 3)
    return x @ tilt * (0.8 + 0.4 * torch.rand(1)) + 0.6 * torch.randn(3) + 0.3 * torch.randn(n, 3)


def pad(segments):
    out = torch.zeros(len(segments), TOKENS * PATCH, 3)
    for row, s in zip(out, segments):
        row[:len(s)] = s
    return out, torch.tensor([len(s) // PATCH for s in segments])


def two_views(items):
    a, la = pad([jitter(i["x"]) for i in items])
    b, lb = pad([jitter(i["x"]) for i in items])
    return {"a": a, "len_a": la, "b": b, "len_b": lb}


class SensorEncoder(nn.Module):
    def __init__(self, variant, dim=32):
        super().__init__()
        self.variant = variant
        self.patch = nn.Linear(3 * PATCH, dim)
        self.pos = nn.Parameter(0.05 * torch.randn(TOKENS + 1, dim))
        self.cls = nn.Parameter(0.05 * torch.randn(1, 1, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0 if variant == "no_dropout" else 0.05,
                                           batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, 32))
        self.tau = 0.2

    def embed(self, x, tokens):
        b = len(x)
        t = torch.cat([self.cls.expand(b, -1, -1), self.patch(x.reshape(b, TOKENS, -1))], 1) + self.pos
        inside = torch.arange(TOKENS + 1)[None, :] <= tokens[:, None]
        if self.variant == "valid_mask":
            t = self.blocks(t, src_key_padding_mask=inside)
        else:
            t = self.blocks(t, src_key_padding_mask=~inside)
        return t[:, 0]

    def forward(self, a, len_a, b, len_b):
        za = F.normalize(self.head(self.embed(a, len_a)), dim=1)
        zb = F.normalize(self.head(self.embed(b, len_b)), dim=1)
        logits = za @ zb.T / self.tau
        target = torch.arange(len(a))
        return {"loss": (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2}


class ContrastiveTrainer(Trainer):
    variant = "healthy"

    def get_train_dataloader(self):
        y = torch.as_tensor(self.train_dataset.y)
        per_class = 1.0 / torch.bincount(y).double()
        size = self.args.train_batch_size
        if self.variant == "natural_frequencies":
            return DataLoader(self.train_dataset, size, shuffle=True, drop_last=True, collate_fn=two_views)
        weights = per_class if self.variant == "class_weights" else per_class[y]
        sampler = WeightedRandomSampler(weights, num_samples=len(y))
        return DataLoader(self.train_dataset, size, sampler=sampler, drop_last=True, collate_fn=two_views)


@torch.no_grad()
def nearest(model, bank, query, k=5):
    model.eval()
    f = []
    for d in (bank, query):
        x, n = pad(list(d.x))
        f.append(F.normalize(torch.cat([model.embed(*c) for c in zip(x.split(300), n.split(300))]), dim=1))
    idx = (f[1] @ f[0].T).topk(k, 1).indices
    y = torch.as_tensor(bank.y)
    pred = F.one_hot(y[idx], N_ACT).sum(1).argmax(1)
    q = torch.as_tensor(query.y)
    return np.mean([(pred[q == c] == c).float().mean().item() for c in range(N_ACT)])


def main(variant):
    set_seed(6)
    everyone = range(16)
    bout = 200
    x, y, who = windows(everyone, 1, bout)
    mu, sd = x.mean((0, 1)), x.std((0, 1))
    x = (x - mu) / sd
    if variant == "random_windows":
        tr, te = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=0)
    else:
        held = who >= 11
        tr, te = np.where(~held)[0], np.where(held)[0]
    train, test = Windows(x[tr], y[tr]), Windows(x[te], y[te])
    model = SensorEncoder(variant)
    print(f"{len(train)} / {len(test)} windows, balanced accuracy before training {nearest(model, train, test):.3f}")

    with tempfile.TemporaryDirectory() as out:
        args = TrainingArguments(
            output_dir=out, per_device_train_batch_size=48, max_steps=220, learning_rate=3e-3,
            warmup_steps=60 if variant == "long_warmup" else 15,
            lr_scheduler_type="constant_with_warmup" if variant == "long_warmup" else "cosine",
            weight_decay=0.01, save_strategy="no", logging_steps=55, report_to=[], disable_tqdm=True,
            remove_unused_columns=False, use_cpu=True, seed=6)
        trainer = ContrastiveTrainer(model=model, args=args, train_dataset=train, data_collator=two_views)
        trainer.variant = variant
        trainer.train()
    print("losses", [round(float(h["loss"]), 3) for h in trainer.state.log_history if "loss" in h])
    print(f"balanced accuracy {nearest(model, train, test):.3f}")


if __name__ == "__main__":
    main(sys.argv[1])

FAULTS = {
    'random_windows': {'stages': 'S', 'source': 'https://github.com/ermongroup/Wifi_Activity_Recognition/issues/47'},
    'class_weights': {'stages': 'B', 'source': 'https://codetd.com/article/12726075'},
    'valid_mask': {'stages': 'N', 'source': 'https://github.com/speechbrain/speechbrain/issues/2276'},
}
HEALTHY = ['healthy', 'no_dropout', 'natural_frequencies', 'long_warmup']

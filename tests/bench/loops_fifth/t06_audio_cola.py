"""Contrastive pre-training on sound clips (two segments of one recording attract),
GRU encoder, wav files + metadata.csv on disk, logistic regression on top.

    python t06_audio_cola.py VARIANT
"""
import csv
import os
import re
import sys
import tempfile

import numpy as np
import soundfile as sf
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
RATE, BINS, KINDS = 4000, 24, 6
CACHE = {}


def record(folder, n, seed):
    """writes clip_<k>.wav and metadata.csv (one row per clip, in recording order)"""
    r = np.random.default_rng(seed)
    t = np.arange(int(1.3 * RATE)) / RATE
    rows = []
    for k in range(n):
        kind = int(r.integers(KINDS))
        f0 = r.uniform(450, 600)
        rate = [3.0, 7.0, 14.0][kind % 3] * r.uniform(0.9, 1.1)
        if kind < 3:                                   # vibrato
            wave = np.sin(2 * np.pi * f0 * t + 220 / rate * np.sin(2 * np.pi * rate * t))
        else:                                          # tremolo of a small chord
            wave = (np.sin(2 * np.pi * f0 * t) + np.sin(2 * np.pi * 1.5 * f0 * t)) * (0.6 + 0.6 * np.sin(2 * np.pi * rate * t))
        wave = wave * r.uniform(0.2, 0.6) + r.normal(0, 0.06, len(t))
        sf.write(os.path.join(folder, f"clip_{k}.wav"), np.clip(wave / 3, -1, 1), RATE, subtype="PCM_16")
        rows.append((k, ["vib3", "vib7", "vib14", "trem3", "trem7", "trem14"][kind]))
    with open(os.path.join(folder, "metadata.csv"), "w", newline="") as h:
        w = csv.writer(h)
        w.writerow(["clip", "tag"])
        w.writerows(rows)


def log_spectrogram(wave):
    s = torch.stft(wave, 256, hop_length=64, window=torch.hann_window(256), return_complex=True).abs()
    s = s[4:4 + 4 * BINS].reshape(BINS, 4, -1).mean(1)          # (bins, frames)
    return torch.log(s + 1e-2)


class Recordings(Dataset):
    def __init__(self, folder, variant):
        names = [f for f in os.listdir(folder) if f.endswith(".wav")]
        if variant == "name_order":
            names = sorted(names)
        else:
            names = sorted(names, key=lambda f: int(re.findall(r"\d+", f)[0]))
        with open(os.path.join(folder, "metadata.csv")) as h:
            tags = [row["tag"] for row in csv.DictReader(h)]
        vocab = sorted(set(tags))
        self.y = np.array([vocab.index(t) for t in tags])
        feats = []
        for f in names:
            key = f if variant == "cache_by_name" else os.path.join(folder, f)
            if key not in CACHE:
                wave, _ = sf.read(os.path.join(folder, f), dtype="float32")
                CACHE[key] = log_spectrogram(torch.from_numpy(wave)).T.contiguous()
            feats.append(CACHE[key])
        self.x = feats
        stack = torch.cat(feats)
        self.mean, self.std = stack.mean(), stack.std()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i]


class SegmentPairs:
    """collate: two random segments per recording, with their own lengths and levels"""

    def __init__(self, data, lo=18, hi=34, overlap_free=False):
        self.d, self.lo, self.hi, self.split = data, lo, hi, overlap_free

    def cut(self, x, start, stop):
        n = int(torch.randint(self.lo, self.hi + 1, (1,)))
        a = start + int(torch.randint(0, max(1, stop - start - n), (1,)))
        seg = (x[a:a + n] - self.d.mean) / self.d.std
        roll = int(torch.randint(-4, 5, (1,)))
        return torch.roll(seg, roll, 1) + 0.4 * torch.randn(1) + 0.2 * torch.randn_like(seg)

    def __call__(self, batch):
        half = len(batch[0]) // 2 if self.split else None
        left = [self.cut(x, 0, half or len(x)) for x in batch]
        right = [self.cut(x, half or 0, len(x)) for x in batch]
        return self.pack(left), self.pack(right)

    @staticmethod
    def pack(segments):
        return pad_sequence(segments, batch_first=True), torch.tensor([len(s) for s in segments])


class Encoder(nn.Module):
    def __init__(self, variant, hidden=48):
        super().__init__()
        self.variant = variant
        self.front = nn.Sequential(nn.Linear(BINS, 32), nn.ReLU())
        self.gru = nn.GRU(32, hidden, batch_first=True)

    def forward(self, x, lengths):
        lengths, order = torch.sort(lengths, descending=True, stable=True)
        packed = pack_padded_sequence(self.front(x[order]), lengths, batch_first=True)
        _, h = self.gru(packed)
        h = h[-1]
        if self.variant == "sorted_out":
            return h
        return h[torch.argsort(order)]


@torch.no_grad()
def embed(enc, data):
    enc.eval()
    x = torch.stack([(s - data.mean) / data.std for s in data.x])
    return torch.cat([enc(b, torch.full((len(b),), b.shape[1])) for b in x.split(200)]).numpy()


def probe(enc, train, test):
    a, b = embed(enc, train), embed(enc, test)
    mu, sd = a.mean(0), a.std(0) + 1e-6
    clf = LogisticRegression(max_iter=300).fit((a - mu) / sd, train.y)
    return clf.score((b - mu) / sd, test.y)


def main(variant):
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as root:
        sets = []
        for name, n, seed in (("train", 700, 1), ("test", 400, 2)):
            folder = os.path.join(root, name)
            os.makedirs(folder)
            record(folder, n, seed)
            sets.append(Recordings(folder, variant))
    train, test = sets
    if variant != "own_statistics":
        test.mean, test.std = train.mean, train.std

    enc = Encoder(variant)
    head = nn.Sequential(nn.Linear(48, 48), nn.LayerNorm(48), nn.Tanh())
    bilinear = nn.Parameter(torch.eye(48))
    print(f"probe accuracy, untrained encoder {probe(enc, train, test):.3f}")
    if variant == "fixed_front":
        enc.front.requires_grad_(False)
    params = [p for p in [*enc.parameters(), *head.parameters(), bilinear] if p.requires_grad]
    opt = torch.optim.Adam(params, lr=6e-3)
    collate = SegmentPairs(train, overlap_free=(variant == "disjoint_halves"))
    loader = DataLoader(train, batch_size=50, shuffle=True, drop_last=True, collate_fn=collate)
    for epoch in range(10):
        enc.train()
        total = 0.0
        for (a, la), (b, lb) in loader:
            za, zb = head(enc(a, la)), head(enc(b, lb))
            logits = za @ bilinear @ zb.T / 4
            loss = F.cross_entropy(logits, torch.arange(len(za)))
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item()
        if epoch % 3 == 1:
            print(f"epoch {epoch + 1}: loss {total / len(loader):.3f}")
    print(f"probe accuracy {probe(enc, train, test):.3f}")


if __name__ == "__main__":
    main(sys.argv[1])

FAULTS = {
    'name_order': {'stages': 'L D', 'source': 'https://github.com/openvpi/audio-slicer/issues/16'},
    'cache_by_name': {'stages': 'D S E', 'source': 'https://github.com/felixbur/nkululeko/issues/429'},
    'sorted_out': {'stages': 'M N P', 'source': 'https://github.com/pytorch/pytorch/issues/3584'},
}
HEALTHY = ['healthy', 'own_statistics', 'fixed_front', 'disjoint_halves']

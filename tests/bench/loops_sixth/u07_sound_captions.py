"""CLIP-like training of sound clips and captions with accelerate.

Clips are .npy files in a folder, captions sit in a csv next to them.
"""
import csv
import glob
import os
import sys
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)

CFG = dict(variant=sys.argv[1] if len(sys.argv) > 1 else 'healthy', clips=2600, held=400, micro=32, accumulate=4,
           epochs=14, lr=0.08, momentum=0.9, dim=32, seed=9)
SOURCES = ['dog', 'crow', 'siren', 'drill', 'rain', 'bell', 'frog', 'train', 'saw', 'owl', 'engine', 'waves']
MANNER = ['near', 'far', 'fast', 'slow', 'twice', 'once', 'rising', 'falling']
LINK = ['a', 'the', 'with', 'and', 'heard', 'sounds', 'then', 'in']
WORDS = ['<pad>'] + SOURCES + MANNER + LINK


def write_folder(root, n, rng):
    """Spectrogram-like clips of one or two sources, each in its manner."""
    freq, time = np.arange(24)[:, None], np.arange(24)[None]
    proto = rng.normal(0, 1, (len(SOURCES), 24))
    proto = np.stack([np.convolve(p, np.ones(3) / 3, 'same') for p in proto]) * 1.6
    rows = []
    names = rng.permutation(n)
    for k in range(n):
        picks = rng.choice(len(SOURCES), 2, replace=False)
        spec, words = rng.normal(0, .45, (24, 24)), []
        for j, s in enumerate(picks):
            m = rng.integers(len(MANNER))
            env = np.zeros(24)
            centre = 6 + 12 * j + rng.normal(0, 1)
            width = [3, 3, 1.2, 5, 1.5, 3, 3, 3][m]
            env = np.exp(-0.5 * ((np.arange(24) - centre) / width) ** 2)
            if MANNER[m] == 'twice':
                env = np.exp(-0.5 * ((np.arange(24) - centre + 3) / 1) ** 2) + np.exp(-0.5 * ((np.arange(24) - centre - 3) / 1) ** 2)
            gain = {'near': 1.6, 'far': .6}.get(MANNER[m], 1.0)
            tone = proto[s][:, None] * env
            if MANNER[m] in ('rising', 'falling'):
                sign = 1 if MANNER[m] == 'rising' else -1
                shift = np.clip(np.round(sign * (np.arange(24) - centre) / 3), -4, 4).astype(int)
                tone = np.stack([np.roll(tone[:, i], shift[i]) for i in range(24)], 1)
            spec += gain * tone
            words += [rng.choice(LINK), SOURCES[s], MANNER[m]]
        name = f'clip_{names[k]}.npy'
        np.save(os.path.join(root, name), spec.astype('float32'))
        rows.append((name, ' '.join(words)))
    with open(os.path.join(root, 'captions.csv'), 'w', newline='') as f:
        w = csv.writer(f)
        w.writerow(['file', 'caption'])
        w.writerows(rows)


class Clips(Dataset):
    def __init__(self, root, variant):
        with open(os.path.join(root, 'captions.csv')) as f:
            table = {r['file']: r['caption'] for r in csv.DictReader(f)}
        if variant == 'sorted_paths':
            self.captions = list(table.values())
            self.paths = sorted(glob.glob(os.path.join(root, '*.npy')))
        else:
            self.paths = sorted(glob.glob(os.path.join(root, '*.npy')))
            self.captions = [table[os.path.basename(p)] for p in self.paths]
        self.audio = [np.load(p) for p in self.paths]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        ids = [WORDS.index(w) for w in self.captions[i].split()]
        return torch.from_numpy(self.audio[i]), torch.tensor(ids)


class Towers(nn.Module):
    def __init__(self, variant, dim):
        super().__init__()
        self.audio = nn.Sequential(nn.Unflatten(1, (1, 24)), nn.Conv2d(1, 24, (24, 5), padding=(0, 2)), nn.BatchNorm2d(24), nn.ReLU(),
                                   nn.Flatten(), nn.Dropout(0.35), nn.Linear(24 * 24, 96), nn.ReLU(), nn.Dropout(0.35), nn.Linear(96, dim))
        self.words = nn.Embedding(len(WORDS), 24, padding_idx=0)
        self.text = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(6 * 24, 96), nn.ReLU(), nn.Linear(96, dim))
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.1), dtype=torch.float32))
        if variant == 'fixed_words':
            self.words.weight.requires_grad_(False)
        if variant == 'fixed_scale':
            self.log_scale.requires_grad_(False)

    def forward(self, audio, ids):
        a = F.normalize(self.audio(audio), dim=1)
        t = F.normalize(self.text(self.words(ids)), dim=1)
        return a, t, self.log_scale.exp().clamp(max=50)


def clip_loss(a, t, scale):
    logits = scale * a @ t.t()
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


@torch.no_grad()
def retrieval(model, loader, variant):
    if variant != 'same_mode':
        model.eval()
    a, t = [], []
    for audio, ids in loader:
        za, zt, _ = model(audio, ids)
        a.append(za)
        t.append(zt)
    sim = torch.cat(a) @ torch.cat(t).t()
    model.train()
    rank = (sim > sim.diag()[:, None]).sum(1)
    return (rank < 1).float().mean().item()


def main(cfg):
    variant = cfg['variant']
    if variant == 'whole_batches':
        cfg.update(micro=128, accumulate=1)
    set_seed(cfg['seed'])
    rng = np.random.default_rng(cfg['seed'])
    acc = Accelerator(cpu=True, gradient_accumulation_steps=cfg['accumulate'])
    with tempfile.TemporaryDirectory() as root:
        write_folder(root, cfg['clips'], rng)
        data = Clips(root, variant)
    order = rng.permutation(len(data))
    held = torch.utils.data.Subset(data, order[:cfg['held']].tolist())
    train = torch.utils.data.Subset(data, order[cfg['held']:].tolist())
    train_loader = DataLoader(train, batch_size=cfg['micro'], shuffle=True, drop_last=True)
    test_loader = DataLoader(held, batch_size=100)
    model = Towers(variant, cfg['dim'])
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(params, lr=cfg['lr'], momentum=cfg['momentum'], nesterov=True)
    updates = cfg['epochs'] * len(train_loader) // cfg['accumulate']
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    model, optimizer, train_loader, test_loader = acc.prepare(model, optimizer, train_loader, test_loader)
    acc.print(f'R@1 untrained {retrieval(model, test_loader, variant):.4f}')
    for epoch in range(cfg['epochs']):
        total = 0.0
        for audio, ids in train_loader:
            with acc.accumulate(model):
                if variant == 'zero_first':
                    optimizer.zero_grad()
                loss = clip_loss(*model(audio, ids))
                acc.backward(loss)
                optimizer.step()
                if variant != 'zero_first':
                    optimizer.zero_grad()
                if acc.sync_gradients and variant != 'constant_rate':
                    scheduler.step()
            total += loss.item()
        if epoch % 4 == 0:
            acc.print(f'epoch {epoch} loss {total / len(train_loader):.3f}')
    acc.print(f'R@1 sound->text {retrieval(model, test_loader, variant):.4f}')


if __name__ == '__main__':
    main(CFG)

FAULTS = {
    'zero_first': {'stages': 'O', 'source': 'https://github.com/huggingface/accelerate/issues/1299'},
    'sorted_paths': {'stages': 'M D', 'source': 'https://github.com/cloneofsimo/lora/issues/197'},
    'same_mode': {'stages': 'E', 'source': 'https://github.com/yanx27/GACNet/issues/8'},
}
HEALTHY = ['healthy', 'whole_batches', 'fixed_words', 'fixed_scale', 'constant_rate']

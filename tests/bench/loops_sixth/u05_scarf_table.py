"""SCARF-style pretraining on a process table, then a small labelled probe.

    python u05_scarf_table.py healthy
"""
import copy
import os
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

torch.set_num_threads(1)


@dataclass
class Config:
    variant: str = 'healthy'
    rows: int = 5000
    batch_size: int = 128
    epochs: int = 24
    lr: float = 2e-3
    tau: float = 0.3
    corruption: float = 0.4
    labelled: int = 150
    ema: float = 0.99
    seed: int = 17


def write_tables(cfg, folder):
    """Measurements and grades come as two files joined by row order."""
    rng = np.random.default_rng(cfg.seed)
    p = np.ones(6) / 6
    if cfg.variant == 'skewed_grades':
        p = np.array([.38, .25, .15, .1, .07, .05])
    grade = rng.choice(6, cfg.rows, p=p)
    centres = rng.normal(0, 1.0, (6, 3, 5))
    recipe = rng.integers(0, 3, cfg.rows)
    latent = centres[grade, recipe] + rng.normal(0, 0.45, (cfg.rows, 5))
    cols = {}
    for j in range(40):
        w = np.zeros(5)
        w[j % 5] = rng.choice([-1, 1]) * rng.uniform(.8, 1.3)
        cols[f's{j:02d}'] = np.tanh(latent @ w) * rng.uniform(1, 30) + rng.normal(0, 1.0, cfg.rows) * rng.uniform(2, 14)
    frame = pd.DataFrame(cols)
    gaps = rng.random(cfg.rows) < 0.04
    frame.loc[gaps, rng.choice(frame.columns)] = np.nan
    frame.to_csv(os.path.join(folder, 'measurements.csv'), index=False, float_format='%.4f')
    pd.Series(grade, name='grade').to_csv(os.path.join(folder, 'grades.csv'), index=False)


def load(cfg, folder):
    x = pd.read_csv(os.path.join(folder, 'measurements.csv'))
    y = pd.read_csv(os.path.join(folder, 'grades.csv'))['grade']
    if cfg.variant == 'clean_rows':
        x = x.dropna().reset_index(drop=True)
    else:
        x = x.dropna()
    y = y.loc[x.index].to_numpy()
    x = x.to_numpy('float32')
    n = len(x)
    a, b = int(.7 * n), int(.8 * n)
    mean, std = x[:a].mean(0), x[:a].std(0)
    x = (x - mean) / std
    t = torch.from_numpy
    return (t(x[:a]), y[:a]), (t(x[a:b]), y[a:b]), (t(x[b:]), y[b:])


class Net(nn.Module):
    def __init__(self, n_in, width=96):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 24))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(24, 24))

    def forward(self, x):
        return F.normalize(self.head(self.encoder(x)), dim=1)


class SCARFTrainer:
    def __init__(self, cfg, train, val, test):
        self.cfg, self.train_data, self.val_data, self.test_data = cfg, train, val, test
        torch.manual_seed(cfg.seed)
        self.model = Net(train[0].size(1))
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self.opt = torch.optim.AdamW(self.model.parameters(), lr=cfg.lr, weight_decay=1e-4)
        self.steps_per_epoch = len(train[0]) // cfg.batch_size
        if cfg.variant == 'no_decay':
            self.sched = None
        elif cfg.variant == 'zero_start':
            warm = 3 * self.steps_per_epoch
            self.sched = torch.optim.lr_scheduler.LambdaLR(self.opt, lambda s: min(1.0, s / warm))
        else:
            self.sched = torch.optim.lr_scheduler.StepLR(self.opt, step_size=6, gamma=0.5)
        self.step_each_batch = cfg.variant in ('zero_start', 'quick_steps')

    def corrupt(self, x):
        rate = 0.7 if self.cfg.variant == 'strong_corruption' else self.cfg.corruption
        pool = self.train_data[0]
        swap = torch.rand_like(x) < rate
        rows = torch.randint(0, len(pool), x.shape)
        return torch.where(swap, pool[rows, torch.arange(x.size(1))], x)

    def make_batch(self, x):
        return {'view1': self.corrupt(x), 'view2': self.corrupt(x)}

    def loss(self, batch):
        z1 = self.model(batch['view1'])
        z2 = self.model(batch['view1' if self.cfg.variant == 'two_views' else 'view2'])
        logits = z1 @ z2.t() / self.cfg.tau
        target = torch.arange(len(z1))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2

    @torch.no_grad()
    def update_average(self):
        for slow, fast in zip(self.averaged.parameters(), self.model.parameters()):
            slow.lerp_(fast, 1 - self.cfg.ema)

    def fit(self):
        x = self.train_data[0]
        for epoch in range(self.cfg.epochs):
            self.model.train()
            order = torch.randperm(len(x))
            total = 0.0
            for s in range(self.steps_per_epoch):
                xb = x[order[s * self.cfg.batch_size:(s + 1) * self.cfg.batch_size]]
                loss = self.loss(self.make_batch(xb))
                self.opt.zero_grad(set_to_none=True)
                loss.backward()
                self.opt.step()
                self.update_average()
                if self.sched and self.step_each_batch:
                    self.sched.step()
                total += loss.item()
            if self.sched and not self.step_each_batch:
                self.sched.step()
            if epoch % 8 == 7:
                print(f'epoch {epoch + 1:2d} loss {total / self.steps_per_epoch:.4f} probe {self.probe(self.val_data):.4f}')

    @torch.no_grad()
    def features(self, x):
        net = self.averaged if self.cfg.variant == 'averaged_weights' else self.model
        net.eval()
        return net.encoder(x).numpy()

    def probe(self, part):
        x, y = self.train_data
        k = self.cfg.labelled
        clf = LogisticRegression(max_iter=300).fit(self.features(x[:k]), y[:k])
        return clf.score(self.features(part[0]), part[1])


def main():
    cfg = Config(variant=sys.argv[1] if len(sys.argv) > 1 else 'healthy')
    with tempfile.TemporaryDirectory() as folder:
        write_tables(cfg, folder)
        train, val, test = load(cfg, folder)
    trainer = SCARFTrainer(cfg, train, val, test)
    print(f'rows {len(train[1])}/{len(val[1])}/{len(test[1])}  untrained test {trainer.probe(test):.4f}')
    trainer.fit()
    print(f'test accuracy {trainer.probe(test):.4f}')


if __name__ == '__main__':
    main()

FAULTS = {
    'clean_rows': {'stages': 'L D', 'source': 'https://github.com/pandas-dev/pandas/issues/32190'},
    'two_views': {'stages': 'M', 'source': 'https://github.com/catalyst-team/catalyst/pull/1278'},
    'quick_steps': {'stages': 'O', 'source': 'https://github.com/automl/Auto-PyTorch/issues/211'},
}
HEALTHY = ['healthy', 'skewed_grades', 'no_decay', 'zero_start', 'averaged_weights', 'strong_corruption']

"""Press station monitoring with three sensors (vibration, sound, gas panel).

Every cycle may lack one or two of the sensors.  A small transformer fuses what
is there; an InfoNCE term ties vibration and sound of one cycle together.
"""
import sys
import tempfile
import warnings

import lightning as L
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset

warnings.filterwarnings('ignore')
torch.set_num_threads(1)

N_STATES = 6


class StationCycles(Dataset):
    def __init__(self, table, labelled=1.0, seed=0):
        self.vib, self.snd, self.gas, self.present, self.y = table
        self.mask = np.random.default_rng(seed).random(len(self.y)) < labelled

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        y = int(self.y[i]) if self.mask[i] else -100
        return {'vib': self.vib[i], 'snd': self.snd[i], 'gas': self.gas[i],
                'present': self.present[i], 'y': y}


class StationData(L.LightningDataModule):
    def __init__(self, variant, n=3200, batch_size=32):
        super().__init__()
        self.variant, self.n, self.batch_size = variant, n, batch_size

    def setup(self, stage=None):
        if hasattr(self, 'train_set'):
            return
        rng = np.random.default_rng(11)
        n = self.n
        p = np.ones(N_STATES) / N_STATES
        if self.variant == 'rare_states':
            p = np.array([0.4, 0.22, 0.14, 0.1, 0.08, 0.06])
        y = rng.choice(N_STATES, n, p=p)
        # the tone depends on the running mode, the sound on mode and state together
        code_v = rng.integers(0, 2, n)
        code_s = (y // 2 + code_v) % 3
        code_g = y % 2
        t = np.arange(64)
        cycle_phase = rng.uniform(0, 2 * np.pi, n)
        freq = np.array([4.0, 9.0])[code_v] + rng.normal(0, 0.4, n)
        vib = np.sin(2 * np.pi * freq[:, None] * t / 64 + cycle_phase[:, None]) * rng.uniform(.6, 1.4, n)[:, None]
        vib = vib + rng.normal(0, 0.7, vib.shape)
        bands = np.zeros((n, 24))
        for k in range(3):
            m = code_s == k
            centre = np.array([5, 11, 18])[k] + 1.2 * np.sin(cycle_phase[m])
            bands[m] = 1.8 * np.exp(-0.5 * ((np.arange(24) - centre[:, None]) / 1.5) ** 2)
        snd = bands + rng.normal(0, 0.6, bands.shape)
        load = rng.normal(0, 1, (n, 3))
        mix = rng.normal(0, 1, (3, 8))
        gas = load @ mix * 0.6 + rng.normal(0, .5, (n, 8)) + 30
        gas[:, :3] += (code_g * 2 - 1)[:, None] * 1.2
        dead = rng.random(gas.shape) < 0.06
        gas[dead] = -200.0
        present = rng.random((n, 3)) < 0.88
        if self.variant == 'no_gas':
            present[:, 2] = False
        empty = ~present.any(1)
        present[empty, 0] = True

        if self.variant != 'gas_fill':
            gas[gas <= -200] = np.nan
        cut1, cut2 = int(.7 * n), int(.85 * n)
        mean, std = np.nanmean(gas[:cut1], 0), np.nanstd(gas[:cut1], 0)
        gas = np.nan_to_num((gas - mean) / std)
        vib = vib / vib[:cut1].std()
        snd = (snd - snd[:cut1].mean(0)) / snd[:cut1].std(0)

        def part(a, b):
            f = lambda arr: torch.as_tensor(arr[a:b], dtype=torch.float32)
            return f(vib), f(snd), f(gas), torch.as_tensor(present[a:b]), y[a:b]
        share = 0.6 if self.variant == 'few_labels' else 1.0
        self.train_set = StationCycles(part(0, cut1), share)
        self.val_set = StationCycles(part(cut1, cut2))
        self.test_set = StationCycles(part(cut2, n))

    def train_dataloader(self):
        return DataLoader(self.train_set, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val_set, 256)

    def test_dataloader(self):
        return DataLoader(self.test_set, 256)


class Fusion(L.LightningModule):
    def __init__(self, variant, dim=32, lr=3e-3, epochs=9):
        super().__init__()
        self.variant, self.lr, self.epochs = variant, lr, epochs
        self.vib = nn.Sequential(nn.Conv1d(1, 16, 9, padding=4), nn.ReLU(), nn.AvgPool1d(2),
                                 nn.Conv1d(16, 32, 9, padding=4), nn.ReLU(), nn.AdaptiveMaxPool1d(1),
                                 nn.Flatten(), nn.Linear(32, dim))
        self.snd = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, dim))
        self.gas = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, dim))
        self.kind = nn.Parameter(torch.randn(4, dim) * 0.1)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.1, batch_first=True)
        self.fuse = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.cls = nn.Linear(dim, N_STATES)

    def tokens(self, batch):
        tok = torch.stack([self.vib(batch['vib'].unsqueeze(1)), self.snd(batch['snd']), self.gas(batch['gas'])], 1)
        return tok * batch['present'].unsqueeze(-1)

    def forward(self, batch):
        tok = self.tokens(batch)
        b = tok.size(0)
        seq = torch.cat([torch.zeros(b, 1, tok.size(-1)), tok], 1) + self.kind
        keep = batch['present'] if self.variant == 'sensor_mask' else ~batch['present']
        pad = torch.cat([torch.zeros(b, 1, dtype=torch.bool), keep], 1)
        out = self.fuse(seq, src_key_padding_mask=pad)
        return self.cls(out.mean(1)), tok

    def tie(self, tok, present):
        both = present[:, 0] & present[:, 1]
        if both.sum() < 4:
            return tok.sum() * 0.0
        a, s = F.normalize(tok[both, 0], dim=1), F.normalize(tok[both, 1], dim=1)
        logits = a @ s.t() / 0.2
        target = torch.arange(len(a))
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))

    def training_step(self, batch, _):
        logits, tok = self(batch)
        ce = F.cross_entropy(logits, batch['y'], ignore_index=-100)
        loss = ce + 0.05 * self.tie(tok, batch['present'])
        self.log('train_loss', loss)
        return loss

    def _score(self, batch, name):
        logits, _ = self(batch)
        self.log(name, (logits.argmax(1) == batch['y']).float().mean(), batch_size=len(batch['y']),
                 on_epoch=True, on_step=False)

    def validation_step(self, batch, _):
        self._score(batch, 'val_acc')

    def test_step(self, batch, _):
        self._score(batch, 'test_acc')

    def configure_optimizers(self):
        opt = torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=self.lr, weight_decay=1e-3)
        if self.variant == 'flat_rate':
            return opt
        return {'optimizer': opt, 'lr_scheduler': torch.optim.lr_scheduler.CosineAnnealingLR(opt, self.epochs)}


def main(variant):
    L.seed_everything(5, verbose=False)
    accumulate = 2 if variant == 'accumulated' else 1
    data = StationData(variant, batch_size=16 if variant == 'accumulated' else 32)
    model = Fusion(variant)
    out = tempfile.mkdtemp()
    if variant == 'keep_best':
        keep = ModelCheckpoint(out, monitor='val_acc', save_top_k=1)
    else:
        keep = ModelCheckpoint(out, monitor='val_acc', save_top_k=1, mode='max')
    trainer = L.Trainer(max_epochs=model.epochs, accelerator='cpu', logger=False, callbacks=[keep],
                        enable_progress_bar=False, enable_model_summary=False,
                        accumulate_grad_batches=accumulate, num_sanity_val_steps=0)
    trainer.fit(model, data)
    result = trainer.test(model, data, ckpt_path='best', verbose=False)[0]
    print(f"kept {keep.best_model_path.split('/')[-1]}  val {float(keep.best_model_score):.4f}")
    print(f"test accuracy {result['test_acc']:.4f}")


if __name__ == '__main__':
    import logging
    logging.getLogger('lightning.pytorch').setLevel(logging.ERROR)
    main(sys.argv[1] if len(sys.argv) > 1 else 'healthy')

FAULTS = {
    'sensor_mask': {'stages': 'M N', 'source': 'https://github.com/mlwithme/TransformerTranslation/issues/2'},
    'keep_best': {'stages': 'C', 'source': 'https://github.com/mila-iqia/cookiecutter-pyml/issues/119'},
    'gas_fill': {'stages': 'D', 'source': 'https://github.com/JohnGavin/rallyr/issues/30'},
}
HEALTHY = ['healthy', 'no_gas', 'few_labels', 'flat_rate', 'accumulated', 'rare_states']

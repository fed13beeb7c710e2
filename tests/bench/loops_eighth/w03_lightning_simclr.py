import argparse
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
import lightning as L
from torch.utils.data import DataLoader, Dataset
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

p = argparse.ArgumentParser(); p.add_argument('--fault', default=''); p.add_argument('--healthy', default='')
hp = p.parse_args()


class Contrastive(Dataset):
    def __init__(self, x, n_views=2, strength=0.15):
        self.x, self.n, self.s = x, n_views, strength

    def __len__(self): return len(self.x)

    def _t(self, im):
        if hp.fault == 'fixed_rng':                       # https://github.com/wolny/pytorch-3dunet/issues/32 fixed seed in the transform
            rng = np.random.RandomState(47)
        else:
            rng = np.random
        im = np.roll(im, (rng.randint(-1, 2), rng.randint(-1, 2)), (0, 1))
        im = im * rng.uniform(0.7, 1.3) + rng.normal(0, self.s, im.shape)
        return torch.from_numpy(im.astype('float32'))[None]

    def __getitem__(self, i):
        return [self._t(self.x[i]) for _ in range(self.n)]


class SimCLR(L.LightningModule):
    def __init__(self, hidden_dim, lr, temperature, weight_decay, max_epochs):
        super().__init__()
        self.save_hyperparameters()
        self.convnet = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten())
        self.mlp = nn.Sequential(nn.Linear(512, 4 * hidden_dim), nn.ReLU(inplace=True), nn.Linear(4 * hidden_dim, hidden_dim))

    def configure_optimizers(self):
        opt = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)
        if hp.fault == 'sched_step':                      # https://runebook.dev/en/docs/pytorch/generated/torch.optim.lr_scheduler.lrscheduler
            return [opt], [{'scheduler': torch.optim.lr_scheduler.StepLR(opt, 2, 0.1), 'interval': 'step'}]
        sch = torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=self.hparams.max_epochs, eta_min=0)
        return [opt], [sch]

    def info_nce_loss(self, batch, mode='train'):
        imgs = torch.cat(batch, dim=0)
        feats = self.mlp(self.convnet(imgs))
        cos_sim = F.cosine_similarity(feats[:, None, :], feats[None, :, :], dim=-1)
        self_mask = torch.eye(cos_sim.shape[0], dtype=torch.bool)
        if hp.fault != 'no_self_mask':                    # https://github.com/XinhaoMei/audio-text_retrieval/issues/5 diagonal in NT-Xent
            cos_sim.masked_fill_(self_mask, -9e15)
        shift = cos_sim.shape[0] // 2
        if hp.fault == 'adjacent_pairs':                  # positives assumed interleaved, views are concatenated; github.com/KevinMusgrave/pytorch-metric-learning/issues/179
            j = torch.arange(len(cos_sim)) ^ 1
            pos_mask = F.one_hot(j, len(cos_sim)).bool()
        else:
            pos_mask = self_mask.roll(shifts=shift, dims=0)
        cos_sim = cos_sim / self.hparams.temperature
        nll = (-cos_sim[pos_mask] + torch.logsumexp(cos_sim, dim=-1)).mean()
        self.log(mode + '_loss', nll)
        return nll

    def training_step(self, batch, idx): return self.info_nce_loss(batch, 'train')

    def on_train_epoch_end(self):
        print('epoch', self.current_epoch, 'loss', float(self.trainer.callback_metrics['train_loss']), flush=True)



FAULTS = {
    'fixed_rng': {'stages': 'MB', 'what': 'RandomState(47) new in each call: both views of an image equal'},
    'sched_step': {'stages': 'O', 'what': "StepLR(2, .1) with interval='step'"},
    'no_self_mask': {'stages': 'P', 'what': 'diagonal not masked'},
    'adjacent_pairs': {'stages': 'P', 'what': 'positives i^1 although views are concatenated: positives are other images'},
}
HEALTHY = ['plain', 'clip', 'heavy_aug']


if __name__ == '__main__':
    L.seed_everything(42, verbose=False)
    x, y = load_digits(return_X_y=True); x = x.reshape(-1, 8, 8) / 16
    a, b = np.arange(len(x)) % 4 != 0, np.arange(len(x)) % 4 == 0
    strength = 0.35 if hp.healthy == 'heavy_aug' else 0.1
    dl = DataLoader(Contrastive(x[a], strength=strength), batch_size=128, shuffle=True, drop_last=True)
    m = SimCLR(32, lr=1e-3, temperature=0.1, weight_decay=1e-4, max_epochs=9)
    t = L.Trainer(max_epochs=9, accelerator='cpu', enable_progress_bar=False, logger=False, enable_checkpointing=False, enable_model_summary=False, gradient_clip_val=1.0 if hp.healthy == 'clip' else None)
    t.fit(m, dl)
    m.eval()
    with torch.no_grad():
        h = m.convnet(torch.tensor(x, dtype=torch.float32)[:, None]).numpy()
        z = F.normalize(m.mlp(torch.tensor(h)), dim=1).numpy()
    print('linear', LogisticRegression(max_iter=300).fit(h[a], y[a]).score(h[b], y[b]))
    nn_ = (z[b] @ z[a].T).argmax(1)
    print('knn on z', (y[a][nn_] == y[b]).mean())

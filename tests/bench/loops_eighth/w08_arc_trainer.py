import argparse, copy, io, math
import torch, yaml
import torch.nn as nn, torch.nn.functional as F
from sklearn.datasets import fetch_openml, load_digits  # noqa

CONFIG = yaml.safe_load("""
seed: 5
data: {batch: 32, test_every: 4}
model: {width: 128, emb: 32}
loss: {s: 30.0, m: 0.3}
optim: {name: sgd, lr: 0.05, momentum: 0.9, wd: 5.0e-4, clip: 5.0, accum: 4}
train: {epochs: 20, amp: true}
""")


class ArcMarginProduct(nn.Module):
    def __init__(self, d, n, s, m):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n, d)); nn.init.xavier_uniform_(self.weight)
        self.s, self.cm, self.sm, self.th, self.mm = s, math.cos(m), math.sin(m), math.cos(math.pi - m), math.sin(math.pi - m) * m

    def forward(self, x, label):
        cos = F.linear(F.normalize(x), F.normalize(self.weight)).float()
        sin = torch.sqrt((1 - cos * cos).clamp(1e-7, 1))
        phi = torch.where(cos > self.th, cos * self.cm - sin * self.sm, cos - self.mm)
        hot = F.one_hot(label, cos.shape[1])
        return (hot * phi + (1 - hot) * cos) * self.s


class Trainer:
    def __init__(self, cfg, fault, healthy):
        self.cfg, self.fault, self.healthy = cfg, fault, healthy
        torch.manual_seed(cfg['seed'])
        X, y = load_digits(return_X_y=True); X = torch.tensor(X).float() / 16; y = torch.tensor(y)
        te = torch.arange(len(y)) % cfg['data']['test_every'] == 0
        self.tr, self.te = torch.utils.data.TensorDataset(X[~te], y[~te]), (X[te], y[te])
        self.gallery = (X[~te], y[~te])
        w = cfg['model']['width']
        self.model = nn.Sequential(nn.Linear(64, w), nn.BatchNorm1d(w), nn.ReLU(), nn.Linear(w, w), nn.BatchNorm1d(w), nn.ReLU(), nn.Linear(w, cfg['model']['emb']))
        s = 64.0 if healthy == 's64' else cfg['loss']['s']
        self.metric_fc = ArcMarginProduct(cfg['model']['emb'], 10, s, 0.5 if healthy == 's64' else cfg['loss']['m'])
        self.criterion = nn.CrossEntropyLoss()
        self.optimizer = self.build_optimizer()
        if fault == 'stale_optimizer':            # the model is rebuilt (load from checkpoint) after the optimizer was made; discuss.pytorch.org/t/best-practice-for-freezing-layers/58156
            buf = io.BytesIO(); torch.save(self.model, buf); buf.seek(0); self.model = torch.load(buf, weights_only=False)
        self.scaler = torch.amp.GradScaler('cpu', enabled=cfg['train']['amp'])

    def build_optimizer(self):
        o = self.cfg['optim']; ps = [{'params': self.model.parameters()}, {'params': self.metric_fc.parameters()}]
        if self.fault == 'head_not_optimised':    # https://github.com/4uiiurz1/pytorch-adacos/issues/10
            ps = ps[:1]
        if self.healthy == 'no_decay':
            named = list(self.model.named_parameters()) + list(self.metric_fc.named_parameters())
            ps = [{'params': [p for n, p in named if p.ndim > 1]}, {'params': [p for n, p in named if p.ndim <= 1], 'weight_decay': 0.0}]
        return torch.optim.SGD(ps, lr=o['lr'], momentum=o['momentum'], weight_decay=o['wd'])

    def params(self):
        return list(self.model.parameters()) + list(self.metric_fc.parameters())

    def epoch(self):
        o = self.cfg['optim']; dl = torch.utils.data.DataLoader(self.tr, self.cfg['data']['batch'], shuffle=True, drop_last=True)
        self.model.train(); run = []
        self.optimizer.zero_grad()
        for it, (x, y) in enumerate(dl):
            with torch.autocast('cpu', dtype=torch.bfloat16, enabled=self.cfg['train']['amp']):
                out = self.metric_fc(self.model(x), y)
                if self.fault == 'double_softmax':    # https://discuss.pytorch.org/t/cross-entropy-loss-is-not-decreasing/43814/16
                    out = F.softmax(out, dim=1)
                loss = self.criterion(out, y)
            self.scaler.scale(loss / o['accum']).backward()
            run.append(loss.item())
            if self.fault == 'zero_each_micro' and (it + 1) % o['accum']:   # https://thecodeforge.io/ml-ai/pytorch-basics/ , accumulated gradients thrown away
                self.optimizer.zero_grad()
            if (it + 1) % o['accum'] == 0:
                if self.fault != 'clip_scaled':       # https://kaijuan.co/qa/54716377 : clipped before unscale_
                    self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self.params(), o['clip'])
                self.scaler.step(self.optimizer); self.scaler.update(); self.optimizer.zero_grad()
        return sum(run) / len(run)

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        g, q = F.normalize(self.model(self.gallery[0])), F.normalize(self.model(self.te[0]))
        return (self.gallery[1][(q @ g.T).argmax(1)] == self.te[1]).float().mean().item()

    def run(self):
        for e in range(self.cfg['train']['epochs']):
            l = self.epoch()
            if e % 4 == 0 or e == self.cfg['train']['epochs'] - 1: print(f'epoch {e} loss {l:.3f} recall@1 {self.evaluate():.4f}', flush=True)
        torch.save({'model': self.model.state_dict()}, __import__("tempfile").gettempdir() + "/arc.pt")



FAULTS = {
    'stale_optimizer': {'stages': 'ON', 'what': 'the optimizer holds the parameters of the old model'},
    'head_not_optimised': {'stages': 'N', 'what': 'metric_fc not in optimizer'},
    'double_softmax': {'stages': 'P', 'what': 'softmax before CrossEntropyLoss'},
    'zero_each_micro': {'stages': 'O', 'what': 'zero_grad inside accumulation'},
    'clip_scaled': {'stages': 'O', 'what': 'clip before unscale_'},
}
HEALTHY = ['plain', 'no_decay', 's64']


if __name__ == '__main__':
    p = argparse.ArgumentParser(); p.add_argument('--fault', default=''); p.add_argument('--healthy', default='')
    a = p.parse_args()
    Trainer(copy.deepcopy(CONFIG), a.fault, a.healthy).run()

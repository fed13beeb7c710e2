"""Multimodal fusion: vibration + process table; configuration in yaml; checkpoint of the best epoch; test at the end."""
import argparse, os, numpy as np, pandas as pd, torch, torch.nn as nn, torch.nn.functional as F, yaml
CFG = """
data: {n: 1600, classes: 6, missing: 0.3}
model: {dim: 48}
train: {epochs: 12, batch: 64, lr: 0.001, temperature: 0.1}
"""
def load(cfg, fault):
    r = np.random.RandomState(0); n = cfg['data']['n']; y = r.randint(0, cfg['data']['classes'], n)
    A = np.random.RandomState(1).randn(6, 20)[y // 2] + .9 * r.randn(n, 20)          # vibration tells y//2
    B = np.random.RandomState(2).randn(6, 12)[y % 2] * 1.2 + .9 * r.randn(n, 12)      # process tells y%2
    ids = np.array(['w%05d' % i for i in r.permutation(n)])
    vib = pd.DataFrame(A).assign(id=ids, label=y); proc = pd.DataFrame(B).assign(id=ids).sort_values('id')
    if fault == 'misaligned':      # concatenated by position, not merged by id (pandas: reset_index, concat axis=1)
        b = proc.reset_index(drop=True).drop(columns='id').to_numpy()
    else:
        b = vib[['id']].merge(proc, on='id', how='left').drop(columns='id').to_numpy()
    have = r.rand(n, 2) > cfg['data']['missing']; have[~have.any(1), 0] = True
    a = A * have[:, :1]; b = b * have[:, 1:]
    return [torch.tensor(v).float() for v in (a, b, have)] + [torch.tensor(y)]

class Fusion(nn.Module):
    def __init__(self, d, fault):
        super().__init__(); self.fault = fault
        self.a = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, d)); self.b = nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, d)); self.out = nn.Linear(2 * d, d)
    def forward(self, a, b, have):
        if self.fault == 'maskinv': have = 1 - have       # missing mask read as presence mask
        h = torch.cat([self.a(a) * have[:, :1], self.b(b) * have[:, 1:]], 1)
        return F.normalize(self.out(h), dim=1)

def supcon(z, y, t):
    s = z @ z.T / t; eye = torch.eye(len(z)).bool(); s = s.masked_fill(eye, float('-inf')); lp = s - s.logsumexp(1, keepdim=True)
    pos = (y[:, None] == y) & ~eye
    return -(lp.masked_fill(~pos, 0).sum(1) / pos.sum(1).clamp(min=1)).mean()

def knn(z, y, zq, yq): return (y[torch.cdist(zq, z).topk(5, largest=False).indices].mode(1).values == yq).float().mean().item()


FAULTS = {
    'misaligned': {'stages': 'M', 'what': 'process table joined by position'},
    'maskinv': {'stages': 'M', 'what': 'have = 1-have: a present modality is blanked'},
    'besttest': {'stages': 'E', 'what': 'epoch chosen on test'},
    'strict': {'stages': 'C', 'what': 'final.load_state_dict strict=False with "module." prefix, nothing loaded'},
}
HEALTHY = ['plain', 'missing']


if __name__ == '__main__':
    ap = argparse.ArgumentParser(); ap.add_argument('--fault', default=''); ap.add_argument('--healthy', default=''); o = ap.parse_args()
    cfg = yaml.safe_load(CFG); torch.manual_seed(0)
    if o.healthy == 'missing': cfg['data']['missing'] = .5
    a, b, have, y = load(cfg, o.fault); n = len(y); idx = torch.randperm(n); tr, va, te = idx[:1000], idx[1000:1300], idx[1300:]
    model = Fusion(cfg['model']['dim'], o.fault); opt = torch.optim.AdamW(model.parameters(), lr=cfg['train']['lr'])
    best, path = -1, __import__("tempfile").gettempdir() + "/fusion_best.pth"
    for ep in range(cfg['train']['epochs']):
        model.train(); L = []
        for j in tr[torch.randperm(len(tr))].split(cfg['train']['batch']):
            loss = supcon(model(a[j], b[j], have[j]), y[j], cfg['train']['temperature']); opt.zero_grad(); loss.backward(); opt.step(); L.append(loss.item())
        model.eval()
        with torch.no_grad():
            q = te if o.fault == 'besttest' else va       # https://github.com/LTH14/targeted-supcon/issues/16 : the test set chooses the epoch
            acc = knn(model(a[tr], b[tr], have[tr]), y[tr], model(a[q], b[q], have[q]), y[q])
        print(f'epoch {ep} loss {np.mean(L):.4f} val_acc {acc:.4f}')
        if acc > best: best = acc; torch.save({'state_dict': {'module.' + k: v for k, v in model.state_dict().items()}}, path)
    final = Fusion(cfg['model']['dim'], o.fault); sd = torch.load(path)['state_dict']
    if o.fault != 'strict': sd = {k.replace('module.', '', 1): v for k, v in sd.items()}
    final.load_state_dict(sd, strict=False)               # 'module.' prefix: nothing is loaded; https://taourl.com/read-1959892.html
    final.eval()
    with torch.no_grad(): print('test acc %.4f' % knn(final(a[tr], b[tr], have[tr]), y[tr], final(a[te], b[te], have[te]), y[te]))

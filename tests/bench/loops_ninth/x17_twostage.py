"""Stage 1: SupCon + CE auxiliary. Stage 2: linear classifier on the frozen encoder (main_linear style). set_model / set_loader / train / validate."""
import argparse, os, numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import TensorDataset, DataLoader
from sklearn.datasets import load_digits

def parse(): p = argparse.ArgumentParser(); p.add_argument('--fault', default=''); p.add_argument('--healthy', default=''); p.add_argument('--ckpt', default=__import__("tempfile").gettempdir() + "/stage1.pth"); return p.parse_args()
def set_loader(opt):
    X, y = load_digits(return_X_y=True); r = np.random.RandomState(0).permutation(len(X)); X, y = torch.tensor(X[r] / 16).float().view(-1, 1, 8, 8), torch.tensor(y[r])
    a, b, c = slice(0, 1000), slice(1000, 1300), slice(1300, None)
    ytr = y[a].clone()
    if opt.fault == 'noisy': m = torch.rand(1000) < .6; ytr[m] = torch.randint(0, 10, (int(m.sum()),))      # 60 % of the labels are wrong
    if opt.fault == 'onehot_argmax': ytr = F.one_hot(ytr, 10).argmax(0)[torch.arange(1000) % 10] % 10         # argmax over the wrong axis
    mk = lambda s, yy, sh: DataLoader(TensorDataset(X[s], yy), 100, shuffle=sh)
    return mk(a, ytr, True), mk(b, y[b], False), mk(c, y[c], False)
class Enc(nn.Module):
    def __init__(self):
        super().__init__(); self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 64)); self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, 32))
    def forward(self, x): return F.normalize(self.head(self.body(x)), dim=1)
def supcon(z, y, t=.1):
    s = z @ z.T / t; e = torch.eye(len(z)).bool(); s = s.masked_fill(e, -1e9); p = (y[:, None] == y) & ~e
    lp = F.log_softmax(s, 1); return -(lp * p).sum(1).div(p.sum(1).clamp(min=1)).mean()
def pretrain(opt, tl):
    m = Enc(); o = torch.optim.SGD(m.parameters(), .1, momentum=.9)
    for e in range(6):
        m.train(); L = 0
        for x, y in tl:
            if opt.fault == 'nogradattached':       # loss added as python floats: only a tiny auxiliary term has a graph
                z = m(x); main = supcon(z, y).item(); loss = torch.tensor(main) + 1e-4 * z.pow(2).sum() * 0 + 0 * z.sum()
            else: loss = supcon(m(x + .1 * torch.randn_like(x)), y)
            o.zero_grad(); loss.backward(); o.step(); L += loss.item()
        print('==> pretrain', e, round(L / len(tl), 4))
    torch.save({'model': m.state_dict()}, opt.ckpt)
def set_model(opt):
    m = Enc(); clf = nn.Linear(64, 10)
    if opt.fault == 'noload': pass                                   # checkpoint forgotten: the "pre-trained" encoder is random
    else: m.load_state_dict(torch.load(opt.ckpt)['model'])
    for p in m.parameters(): p.requires_grad_(False)
    return m, clf
def validate(m, clf, dl):
    m.eval(); clf.eval(); c = n = 0
    with torch.no_grad():
        for x, y in dl: c += (clf(m.body(x)).argmax(1) == y).sum().item(); n += len(y)
    return c / n
def main():
    opt = parse(); torch.manual_seed(0); tl, vl, te = set_loader(opt); pretrain(opt, tl); m, clf = set_model(opt)
    if opt.fault == 'wrongopt':
        for p in m.parameters(): p.requires_grad_(True)
        o = torch.optim.SGD(m.parameters(), .01, momentum=.9)        # model.parameters() instead of classifier.parameters()
    else: o = torch.optim.SGD(clf.parameters(), .1, momentum=.9)
    best = 0
    for e in range(8):
        clf.train(); m.train() if opt.fault == 'encodertrain' else m.eval()     # https://github.com/lightly-ai/lightly/issues/1440 , https://github.com/LTH14/targeted-supcon/issues/16
        for x, y in tl:
            if opt.fault == 'wrongopt': f = m.body(x).detach()
            else:
                with torch.no_grad(): f = m.body(x)
            l = F.cross_entropy(clf(f), y); o.zero_grad(); l.backward(); o.step()
        a = validate(m, clf, te if opt.fault == 'pickontest' else vl); best = max(best, a)
        print('linear epoch', e, 'loss %.3f acc %.3f' % (l.item(), a))
    torch.save(clf.state_dict(), __import__("tempfile").gettempdir() + "/clf.pth")
    print('best accuracy: %.4f' % best, 'test %.4f' % validate(m, clf, te))
main()


FAULTS = {
    'noload': {'stages': 'EC', 'what': 'checkpoint is not loaded, encoder random'},
    'nogradattached': {'stages': 'P', 'what': 'loss made from .item()'},
    'onehot_argmax': {'stages': 'L', 'what': 'argmax over axis 0 -> wrong labels'},
    'wrongopt': {'stages': 'OE', 'what': 'optimiser holds encoder, not classifier'},
    'noisy': {'stages': 'L', 'what': '60% labels random'},
    'pickontest': {'stages': 'E', 'what': 'epoch picked on test.'},
}
HEALTHY = ['plain']

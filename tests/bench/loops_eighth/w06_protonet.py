"""Few-shot: prototypical network with an episodic batch sampler on synthetic glyphs (train classes / novel classes)."""
import argparse
import numpy as np, torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class CategoriesSampler:
    def __init__(self, label, n_batch, n_cls, n_per):
        self.n_batch, self.n_cls, self.n_per = n_batch, n_cls, n_per
        label = np.array(label)
        self.m_ind = [torch.from_numpy(np.argwhere(label == c).reshape(-1)) for c in np.unique(label)]

    def __len__(self):
        return self.n_batch

    def __iter__(self):
        for _ in range(self.n_batch):
            batch = []
            for c in torch.randperm(len(self.m_ind))[: self.n_cls]:
                l = self.m_ind[c]
                batch.append(l[torch.randperm(len(l))[: self.n_per]])
            yield torch.stack(batch).t().reshape(-1)          # shot-major: c0 c1 .. c4 c0 c1 ..


class Convnet(nn.Module):
    def __init__(self, h=32):
        super().__init__()
        blk = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))
        self.encoder = nn.Sequential(blk(1, h), blk(h, h), nn.Flatten())

    def forward(self, x):
        return self.encoder(x)


def glyphs(n_cls, n_per, seed, noise=0.25):
    g = np.random.RandomState(seed)
    proto = (g.rand(n_cls, 12, 12) > 0.7).astype('float32')
    x, y = [], []
    for c in range(n_cls):
        for _ in range(n_per):
            x.append(np.roll(proto[c], (g.randint(-2, 3), g.randint(-2, 3)), (0, 1)) + noise * g.randn(12, 12)); y.append(c)
    return torch.tensor(np.array(x), dtype=torch.float32)[:, None], torch.tensor(y)


def episode(model, data, way, shot, query, args):
    p = shot * way
    sup, qry = data[:p], data[p:]
    if args.fault == 'support_is_query':          # https://github.com/abdulfatir/prototypical-networks-tensorflow/issues/4 , support re-used as query
        qry = data[:p].repeat(query // shot, 1, 1, 1) if query >= shot else data[:p]
    proto = model(sup)
    if args.fault == 'proto_reshape':             # data are shot-major, reshaped class-major; https://github.com/yinboc/prototypical-network-pytorch/issues/13
        proto = proto.reshape(way, shot, -1).mean(dim=1)
    else:
        proto = proto.reshape(shot, way, -1).mean(dim=0)
    label = torch.arange(way).repeat(len(qry) // way)
    z = model(qry)
    logits = -((z[:, None] - proto[None]) ** 2).sum(-1) / z.shape[1]
    return F.cross_entropy(logits, label), (logits.argmax(1) == label).float().mean().item()



FAULTS = {
    'support_is_query': {'stages': 'MEB', 'what': 'the queries are the support images'},
    'proto_reshape': {'stages': 'PM', 'what': 'prototypes average rows of different classes: reshape(way, shot)'},
    'novel_is_base': {'stages': 'SE', 'what': 'test episodes come from training images'},
    'bn_batch_stats_test': {'stages': 'E', 'what': 'model.eval() missing in evaluation'},
}
HEALTHY = ['plain', 'one_shot']


if __name__ == '__main__':
    ap = argparse.ArgumentParser()
    ap.add_argument('--fault', default=''); ap.add_argument('--healthy', default='')
    ap.add_argument('--way', type=int, default=5); ap.add_argument('--shot', type=int, default=5); ap.add_argument('--query', type=int, default=10)
    args = ap.parse_args()
    torch.manual_seed(0)
    if args.healthy == 'one_shot': args.shot = 1
    x, y = glyphs(40, 20, 0); xn, yn = glyphs(15, 20, 99)
    if args.fault == 'novel_is_base':             # "novel" split built with the same classes; the claim is wrong
        xn, yn = x[y < 15], y[y < 15]
    tl = DataLoader(TensorDataset(x, y), batch_sampler=CategoriesSampler(y, 40, args.way, args.shot + args.query))
    vl = DataLoader(TensorDataset(xn, yn), batch_sampler=CategoriesSampler(yn, 60, args.way, args.shot + args.query))
    model = Convnet(); opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    sch = torch.optim.lr_scheduler.StepLR(opt, 4, 0.5)
    for epoch in range(1, 9):
        model.train(); tot = []
        for data, _ in tl:
            loss, acc = episode(model, data, args.way, args.shot, args.query, args)
            opt.zero_grad(); loss.backward(); opt.step(); tot.append((loss.item(), acc))
        sch.step(); l, a = np.mean(tot, 0)
        if args.fault != 'bn_batch_stats_test':   # https://github.com/floodsung/LearningToCompare_FSL/issues/48
            model.eval()
        with torch.no_grad():
            va = [episode(model, d, args.way, args.shot, args.query, args)[1] for d, _ in vl]
        print(f'epoch {epoch} loss {l:.4f} acc {a:.4f} | novel classes acc {np.mean(va):.4f}', flush=True)
        torch.save(model.state_dict(), __import__("tempfile").gettempdir() + "/proto_last.pth")

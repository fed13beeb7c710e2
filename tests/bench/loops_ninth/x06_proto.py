"""Prototypical networks on synthetic 'characters'. Few-shot: train classes and test classes are disjoint."""
import argparse, numpy as np, torch, torch.nn as nn

parser = argparse.ArgumentParser(); parser.add_argument('--fault', default=''); parser.add_argument('--healthy', default='')
parser.add_argument('--way', type=int, default=5); parser.add_argument('--shot', type=int, default=1); parser.add_argument('--query', type=int, default=10); parser.add_argument('--episodes', type=int, default=400)
opt = parser.parse_args()
if opt.healthy == 'way20': opt.way = 20
rng = np.random.default_rng(3); torch.manual_seed(3)
C, PER = 60, 20
base = rng.normal(size=(C, 1, 6, 6))
data = np.repeat(np.repeat(base, 2, 2), 2, 3)[:, None] + 1.1 * rng.normal(size=(C, PER, 1, 12, 12))
nuis = rng.normal(size=(12, 12)) ; data = (data + 3 * rng.normal(size=(C, PER, 1, 1, 1)) * nuis).astype('float32')
train_cls, test_cls = np.arange(40), np.arange(40, 60)

def episode(classes, way, shot, query):
    s, q = [], []
    for c in rng.choice(classes, way, replace=False):
        if opt.fault == 'replace':   # https://github.com/sysulic/FL-MSRE/issues/5 : np.random.choice(n, K + Q, True)
            idx = rng.choice(4, shot + query, replace=True)
        else:
            idx = rng.permutation(PER)[: shot + query]
        s.append(data[c, idx[:shot]]); q.append(data[c, idx[shot:]])
    return torch.from_numpy(np.concatenate(s)), torch.from_numpy(np.concatenate(q)), torch.arange(way).repeat_interleave(query)

def block(i, o): return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))

class ProtoNet(nn.Module):
    def __init__(self):
        super().__init__(); self.enc = nn.Sequential(block(1, 32), block(32, 32), nn.Flatten())
    def forward(self, s, q):
        z = self.enc(torch.cat([s, q])); zs, zq = z[: len(s)], z[len(s):]
        proto = zs.view(opt.way, opt.shot, -1).mean(1)
        d = torch.cdist(zq, proto) ** 2
        return d if opt.fault == 'sign' else -d     # distance used as a score

net = ProtoNet(); optim = torch.optim.Adam(net.parameters(), 1e-3); sched = torch.optim.lr_scheduler.StepLR(optim, 200, .5)
criterion = nn.CrossEntropyLoss()
for it in range(opt.episodes):
    net.train()
    s, q, y = episode(train_cls, opt.way, opt.shot, opt.query)
    if opt.fault == 'shufq':        # queries shuffled, labels not
        q = q[torch.randperm(len(q))]
    out = net(s, q); loss = criterion(out, y)
    optim.zero_grad(); loss.backward()
    if opt.healthy == 'clip': nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optim.step(); sched.step()
    if it % 50 == 0: print('episode %d loss %.3f acc %.3f' % (it, loss.item(), (out.argmax(1) == y).float().mean()))

def test(n=100):
    if opt.fault != 'bntrain': net.eval()     # https://github.com/floodsung/LearningToCompare_FSL/issues/48
    a = []
    with torch.no_grad():
        for _ in range(n):
            s, q, y = episode(test_cls, opt.way, opt.shot, opt.query); p = net(s, q)
            a.append((p.argmax(1) == y).float().mean().item())
    return np.mean(a), 1.96 * np.std(a) / n ** .5
torch.save(net.state_dict(), __import__("tempfile").gettempdir() + "/proto.pt")
print('novel classes: acc %.3f +- %.3f' % test())


FAULTS = {
    'replace': {'stages': 'BM', 'what': 'rng.choice(4, shot+query, replace=True): queries are copies of supports'},
    'bntrain': {'stages': 'E', 'what': 'test in train mode (BN uses query batch)'},
    'sign': {'stages': 'P', 'what': 'logits = +distance'},
    'shufq': {'stages': 'LP', 'what': 'queries permuted, labels not; loss at ln 5'},
}
HEALTHY = ['plain', 'clip', 'way20']

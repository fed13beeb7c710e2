"""MoCo v2 on toy spectra (1-D)."""
import argparse, copy, torch, numpy as np
import torch.nn as nn, torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

def make(n, seed):
    r = np.random.RandomState(seed); y = r.randint(0, 8, n); t = np.linspace(0, 1, 64)
    fr = 2 + 1.5 * y
    x = np.sin(2 * np.pi * (fr[:, None] * t + r.rand(n, 1))) * (0.5 + r.rand(n, 1)) + .3 * np.sin(2 * np.pi * 5 * r.rand(n, 1) * t)
    return torch.tensor(x + .3 * r.randn(n, 64)).float()[:, None], y

class MoCo(nn.Module):
    def __init__(self, K=512, m=0.95, T=0.1, fault='', dim=32):
        super().__init__()
        self.K, self.m, self.T, self.fault = K, m, T, fault
        mk = lambda: nn.Sequential(nn.Conv1d(1, 16, 7, 2, 3), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 5, 2, 2), nn.BatchNorm1d(32), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, dim))
        self.encoder_q = mk(); self.encoder_k = mk()
        for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            k.data.copy_(q.data); k.requires_grad = False
        self.register_buffer("queue", F.normalize(torch.randn(dim, K), dim=0)); self.register_buffer("ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def _momentum_update_key_encoder(self):
        for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            if self.fault == 'frozenkey':      # rebinding instead of in-place, cf. https://github.com/facebookresearch/moco/issues/70
                k = k * self.m + q * (1 - self.m)
            else:
                k.data = k.data * self.m + q.data * (1. - self.m)

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys):
        b = keys.shape[0]; p = int(self.ptr)
        self.queue[:, p:p + b] = keys.T
        if self.fault != 'stuckptr': self.ptr[0] = (p + b) % self.K

    def forward(self, im_q, im_k):
        q = F.normalize(self.encoder_q(im_q), dim=1)
        with torch.no_grad():
            self._momentum_update_key_encoder()
            perm = torch.randperm(im_k.size(0))
            k = F.normalize(self.encoder_k(im_k[perm]), dim=1)
            if self.fault != 'unshuffle':      # https://github.com/CoinCheung/DenseCL/issues/1
                k = k[torch.argsort(perm)]
        if self.fault == 'enqueuefirst':       # keys enter the queue before the logits: the positive is a negative too
            self._dequeue_and_enqueue(k)
        l_pos = torch.einsum('nc,nc->n', [q, k]).unsqueeze(-1); l_neg = torch.einsum('nc,ck->nk', [q, self.queue.clone().detach()])
        logits = torch.cat([l_pos, l_neg], dim=1) / self.T
        if self.fault != 'enqueuefirst': self._dequeue_and_enqueue(k)
        return logits, torch.zeros(logits.shape[0], dtype=torch.long)

def aug(x):
    x = torch.roll(x, int(torch.randint(0, 64, (1,))), -1)
    return x * (.7 + .6 * torch.rand(len(x), 1, 1)) + .3 * torch.randn_like(x)


FAULTS = {
    'frozenkey': {'stages': 'N', 'what': '"k = k * self.m" rebinding: key encoder never moves'},
    'stuckptr': {'stages': 'N', 'what': 'ptr never advanced, queue is random noise but 128 columns'},
    'unshuffle': {'stages': 'MP', 'what': 'keys not put back in order: positives are of other samples'},
    'enqueuefirst': {'stages': 'P', 'what': "positive is in the queue as a negative too: loss can't go below ln 2"},
}
HEALTHY = ['plain']


if __name__ == '__main__':
    a = argparse.ArgumentParser(); a.add_argument('--fault', default=''); a.add_argument('--epochs', default=12, type=int); a = a.parse_args()
    torch.manual_seed(0)
    Xtr, ytr = make(2048, 0); Xte, yte = make(512, 1)
    model = MoCo(fault=a.fault); criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.encoder_q.parameters(), .1, momentum=.9, weight_decay=1e-4)
    for e in range(a.epochs):
        for g in optimizer.param_groups: g['lr'] = .1 * .5 * (1 + np.cos(np.pi * e / a.epochs))
        acc = tot = n = 0
        for idx in torch.randperm(len(Xtr)).split(128):
            x = Xtr[idx]; output, target = model(aug(x), aug(x))
            loss = criterion(output, target)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            tot += loss.item(); acc += (output.argmax(1) == 0).float().mean().item(); n += 1
        print(f'Epoch: [{e}] Loss {tot/n:.4f} Acc@1 {100*acc/n:.2f}')
    model.eval(); enc = copy.deepcopy(model.encoder_q); enc[-1] = nn.Identity()
    with torch.no_grad(): a1, a2 = enc(Xtr).numpy(), enc(Xte).numpy()
    print('probe', LogisticRegression(max_iter=500).fit(a1, ytr).score(a2, yte))

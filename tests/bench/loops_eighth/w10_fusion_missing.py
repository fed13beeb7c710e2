# Multimodal fusion with missing modalities; supervised contrastive loss written as a class
import argparse, torch, numpy as np
import torch.nn as nn, torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

cli = argparse.ArgumentParser(); cli.add_argument("--fault", default=""); cli.add_argument("--healthy", default="")
cli = cli.parse_args()
DIMS = {"video": 48, "audio": 30, "imu": 12}


class Welds(Dataset):
    def __init__(self, n, n_cls, seed, p_missing=0.3):
        g = torch.Generator().manual_seed(seed)
        W = {k: torch.randn(n_cls, d, generator=torch.Generator().manual_seed(11 + i)) for i, (k, d) in enumerate(DIMS.items())}
        self.y = torch.randint(0, n_cls, (n,), generator=g)
        self.x = {k: 0.7 * W[k][self.y] + 1.3 * torch.randn(n, d, generator=g) for k, d in DIMS.items()}
        self.have = torch.rand(n, 3, generator=g) > p_missing
        self.have[~self.have.any(1), 0] = True
        for i, k in enumerate(DIMS):
            self.x[k][~self.have[:, i]] = 0
    def __len__(self): return len(self.y)
    def __getitem__(self, i): return {k: v[i] for k, v in self.x.items()} | {"have": self.have[i], "y": self.y[i]}


class Fusion(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.inp = nn.ModuleDict({k: nn.Sequential(nn.Linear(n, d), nn.ReLU(), nn.Linear(d, d)) for k, n in DIMS.items()})
        self.kind = nn.Parameter(torch.randn(3, d) * 0.1)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.1)
        self.mix = nn.TransformerEncoder(nn.TransformerEncoderLayer(d, 4, 96, dropout=0.0, batch_first=True), 1, enable_nested_tensor=False)
        self.out = nn.Linear(d, 32)

    def forward(self, b):
        t = torch.stack([self.inp[k](b[k]) for k in DIMS], 1) + self.kind
        t = torch.cat([self.cls.expand(len(t), -1, -1), t], 1)
        ok = F.pad(b["have"], (1, 0), value=True)
        if cli.fault == "mask_inverted":        # True means "ignore": https://pytorch.org/docs/stable/generated/torch.nn.TransformerEncoder.html ; discuss threads on src_key_padding_mask
            pad = F.pad(b["have"], (1, 0), value=False)
        else:
            pad = ~ok
        return self.out(self.mix(t, src_key_padding_mask=pad)[:, 0])


class SupervisedContrastive(nn.Module):
    def __init__(self, tau=0.1): super().__init__(); self.tau = tau
    def forward(self, e, y):
        e = F.normalize(e, dim=1)
        s = e @ e.T
        s = s * self.tau if cli.fault == "times_tau" else s / self.tau   # https://github.com/huggingface/transformers/issues/13430 temperature inverted
        eye = torch.eye(len(y), dtype=torch.bool)
        pos = y[:, None] == y[None, :]
        if cli.fault != "self_positive":         # https://github.com/XinhaoMei/audio-text_retrieval/issues/5
            pos = pos & ~eye
            s = s.masked_fill(eye, float("-inf"))
        lp = s - s.logsumexp(1, keepdim=True)
        lp = lp.masked_fill(~pos, 0.0)
        n = pos.sum(1)
        per = -lp.sum(1) / n
        if cli.fault == "anchors_without_positive":   # many classes, small batch: 0/0; https://github.com/HobbitLong/SupContrast/issues/10 (nan)
            return per.mean()
        return per[n > 0].mean()


def collate(items): return {k: torch.stack([i[k] for i in items]) for k in items[0]}


classes = 12
if cli.fault == "anchors_without_positive" or cli.healthy == "small_batch_many_classes": classes = 40
train, test = Welds(1500, classes, 0, 0.5 if cli.healthy == "half_missing" else 0.3), Welds(500, classes, 1)
torch.manual_seed(2)
net, crit = Fusion(), SupervisedContrastive()
opt = torch.optim.AdamW(net.parameters(), lr=1e-3)
dl = DataLoader(train, 32 if classes == 12 else 48, shuffle=True, collate_fn=collate, drop_last=True)
for epoch in range(12):
    net.train(); L = []
    for b in dl:
        loss = crit(net(b), b["y"])
        opt.zero_grad(); loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step(); L.append(loss.item())
    print(f"epoch {epoch}: contrastive {np.mean(L):.4f}", flush=True)
net.eval()
with torch.no_grad():
    A = F.normalize(net(collate([train[i] for i in range(len(train))])), dim=1); B = F.normalize(net(collate([test[i] for i in range(len(test))])), dim=1)
print("kNN", (train.y[(B @ A.T).topk(7).indices].mode(1).values == test.y).float().mean().item(), "chance", 1 / classes)


FAULTS = {
    'mask_inverted': {'stages': 'M', 'what': 'padding mask inverted: present modalities ignored'},
    'times_tau': {'stages': 'P', 'what': 'similarity times tau'},
    'self_positive': {'stages': 'P', 'what': 'diagonal not removed'},
    'anchors_without_positive': {'stages': 'BP', 'what': '0/0 for anchors with no positive'},
}
HEALTHY = ['plain', 'half_missing', 'small_batch_many_classes']

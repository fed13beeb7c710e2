#!/usr/bin/env python
import argparse
import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

parser = argparse.ArgumentParser(description="MoCo on vibration features, kNN probe")
parser.add_argument("variant", nargs="?", default="healthy")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--bs", type=int, default=128)
parser.add_argument("--lr", type=float, default=0.06)
parser.add_argument("--moco-m", type=float, default=0.98)
parser.add_argument("--moco-k", type=int, default=1024)
parser.add_argument("--moco-t", type=float, default=0.15)
args = parser.parse_args()
if args.variant == "quick_ema":
    args.moco_m = 0.9
if args.variant == "short_queue":
    args.moco_k = 256
if args.variant == "soft_t":
    args.moco_t = 0.3


def make(n, seed, C=16):
    g = np.random.default_rng(99)
    centre = g.normal(size=(C, 10))
    W = g.normal(size=(22, 64)) / 3.0
    V = g.normal(size=(64, 80)) / 4.0
    off = 6.0 + 3 * g.normal(size=80)
    g = np.random.default_rng(seed)
    y = g.integers(0, C, n)
    lat = np.concatenate([centre[y] + 0.45 * g.normal(size=(n, 10)), 1.0 * g.normal(size=(n, 12))], 1)
    x = np.tanh(lat @ W) @ V
    return torch.tensor(4 * x + off, dtype=torch.float32), torch.tensor(y), torch.tensor(lat), (W, V, off)


def second_shot(lat, consts):
    W, V, off = consts
    lat = lat.clone().numpy()
    lat[:, 10:] = np.random.normal(size=(len(lat), 12))           # new load condition, same machine state
    lat[:, :10] += 0.2 * np.random.normal(size=(len(lat), 10))
    x = np.tanh(lat @ W) @ V
    return torch.tensor(4 * x + off + 0.6 * np.random.normal(size=x.shape), dtype=torch.float32)


class Encoder(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm1d(80), nn.Linear(80, 256), nn.BatchNorm1d(256), nn.ReLU(),
            nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU())
        self.head = nn.Linear(256, dim)

    def forward(self, x):
        return F.normalize(self.head(self.body(x)), dim=1)


class MoCo(nn.Module):
    def __init__(self, K, m, T):
        super().__init__()
        self.K, self.m, self.T = K, m, T
        self.encoder_q = Encoder()
        self.encoder_k = copy.deepcopy(self.encoder_q)
        for p in self.encoder_k.parameters():
            p.requires_grad = False
        self.register_buffer("queue", F.normalize(torch.randn(64, K), dim=0))
        self.register_buffer("ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def momentum_update(self):
        for pq, pk in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            pk.data = pk.data * self.m + pq.data * (1.0 - self.m)
        if args.variant != "ema_params":
            for bq, bk in zip(self.encoder_q.buffers(), self.encoder_k.buffers()):
                bk.copy_(bq)

    @torch.no_grad()
    def enqueue(self, k):
        p = int(self.ptr)
        self.queue[:, p:p + len(k)] = k.T
        self.ptr[0] = (p + len(k)) % self.K

    def forward(self, xq, xk):
        q = self.encoder_q(xq)
        with torch.no_grad():
            self.momentum_update()
            self.encoder_k.eval()
            k = self.encoder_k(xk)
        l_pos = (q * k).sum(1, keepdim=True)
        l_neg = q @ self.queue.clone().detach()
        logits = torch.cat([l_pos, l_neg], dim=1) / self.T
        if args.variant == "targets":
            labels = torch.arange(len(logits))
        else:
            labels = torch.zeros(len(logits), dtype=torch.long)
        self.enqueue(k)
        return logits, labels


def main():
    torch.manual_seed(7)
    np.random.seed(7)
    torch.set_num_threads(1)
    xtr, ytr, ltr, consts = make(4096, 1)
    xte, yte, _, _ = make(1000, 2)

    model = MoCo(args.moco_k, args.moco_m, args.moco_t)
    params = [p for p in model.encoder_q.parameters()]
    opt = torch.optim.SGD(params, lr=args.lr, momentum=0.9, weight_decay=1e-4)
    iters = args.epochs * (len(xtr) // args.bs)
    if args.variant == "constant_lr":
        sched = None
    else:
        sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, iters)

    for epoch in range(args.epochs):
        model.train()
        order = torch.randperm(len(xtr))
        losses, hits = [], []
        for s in range(0, len(xtr), args.bs):
            b = order[s:s + args.bs]
            logits, labels = model(second_shot(ltr[b], consts), second_shot(ltr[b], consts))
            loss = F.cross_entropy(logits, labels)
            opt.zero_grad()
            loss.backward()
            opt.step()
            if sched:
                sched.step()
            losses.append(loss.item())
            hits.append((logits.argmax(1) == labels).float().mean().item())
        print("epoch %d  loss %.4f  acc@1 %.3f" % (epoch + 1, np.mean(losses), np.mean(hits)))

    # kNN probe on the body features of the momentum encoder
    enc = model.encoder_q if args.variant == "probe_query" else model.encoder_k
    if args.variant == "probe_loop":
        enc.train()
    else:
        enc.eval()
    o = torch.argsort(yte, stable=True)
    xte, yte = xte[o], yte[o]
    with torch.no_grad():
        bank = torch.cat([F.normalize(enc.body(xtr[i:i + 256]), dim=1) for i in range(0, len(xtr), 256)])
        feat = torch.cat([F.normalize(enc.body(xte[i:i + 50]), dim=1) for i in range(0, len(xte), 50)])
    nn_idx = (feat @ bank.T).topk(15, dim=1).indices
    votes = F.one_hot(ytr[nn_idx], 16).sum(1)
    print("kNN accuracy %.3f" % (votes.argmax(1) == yte).float().mean().item())


FAULTS = {
    "targets": {"stages": "PL", "what": "Cross-entropy targets are arange(N) although the positive logit always sits in column 0.", "source": "https://github.com/YihengZhang-CV/SeCo-Sequence-Contrastive-Learning/issues/3"},
    "ema_params": {"stages": "NC", "what": "The momentum update copies parameters only; the key encoder's BatchNorm buffers stay at their initial values.", "source": "https://github.com/lucidrains/byol-pytorch/issues/73"},
    "probe_loop": {"stages": "E", "what": "Features for the probe are extracted in train mode, so BatchNorm uses the statistics of class-sorted test batches.", "source": "https://github.com/LAION-AI/CLIP_benchmark/issues/73"},
}
HEALTHY = {
    "healthy": "Base MoCo run, kNN with the EMA encoder.",
    "quick_ema": "Momentum 0.9 instead of 0.98.",
    "short_queue": "Queue of 256 keys.",
    "soft_t": "Temperature 0.3.",
    "constant_lr": "No scheduler.",
    "probe_query": "Probe with the query encoder instead of the EMA one.",
}

if __name__ == "__main__":
    main()

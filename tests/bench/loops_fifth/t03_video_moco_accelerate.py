"""MoCo on short clips, run through accelerate. The clips come from a decoder that
hands out frames one by one, as camera/file readers do.

    python t03_video_moco_accelerate.py VARIANT
"""
import argparse
import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset

torch.set_num_threads(1)
T, S = 6, 10


class Decoder:
    """Renders one clip; read() fills the picture memory of the stream and returns it."""

    def __init__(self, label, seed):
        r = np.random.default_rng(seed)
        angle = (label % 6) * np.pi / 3 + r.normal(0, 0.08)
        self.v = 1.6 * np.array([np.sin(angle), np.cos(angle)])
        self.k = r.normal(0, 1.0, (4, 2))
        self.phase = r.uniform(0, 2 * np.pi, 4)
        self.amp = r.uniform(0.4, 1.2, 4)
        self.noise = r.normal(0, 0.25, (T, S, S)).astype(np.float32)
        self.t = 0
        self.picture = np.zeros((S, S), dtype=np.float32)
        self.grid = np.stack(np.meshgrid(np.arange(S), np.arange(S), indexing="ij"))

    def read(self):
        pos = self.grid - self.v[:, None, None] * self.t * 0.6
        wave = np.tensordot(self.k, pos, 1) * 0.9 + self.phase[:, None, None]
        self.picture[:] = (self.amp[:, None, None] * np.sin(wave)).sum(0) + self.noise[self.t]
        self.t += 1
        return self.picture


class Clips(Dataset):
    def __init__(self, n, seed, variant):
        r = np.random.default_rng(seed)
        self.y = torch.tensor(r.integers(0, 6, n))
        clips = []
        for i in range(n):
            stream = Decoder(int(self.y[i]), seed * 100_000 + i)
            frames = []
            for _ in range(T):
                frame = stream.read()
                frames.append(frame if variant == "no_copy" else frame.copy())
            clips.append(np.stack(frames))
        self.x = torch.from_numpy(np.stack(clips))

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def augment(x, plain=False):
    """(B, T, H, W): one geometric/photometric draw per clip"""
    b = len(x)
    if plain:
        return x
    sy, sx = torch.randint(0, 3, (2,)).tolist()
    x = F.pad(x[:, :, sy:sy + S - 2, sx:sx + S - 2], (1, 1, 1, 1))
    gain = (0.6 + 0.8 * torch.rand(b, 1, 1, 1)) * torch.where(torch.rand(b, 1, 1, 1) < 0.5, -1.0, 1.0)
    return x * gain + 0.4 * torch.randn(b, 1, 1, 1) + 0.25 * torch.randn_like(x)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(1, 16, (3, 4, 4), stride=(1, 2, 2), padding=(0, 1, 1)), nn.BatchNorm3d(16), nn.ReLU(),
            nn.Conv3d(16, 32, (2, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)), nn.BatchNorm3d(32), nn.ReLU(),
            nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, x):
        return self.head(self.stem(x[:, None]))


class MoCo(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.args = args
        self.encoder_q = Encoder()
        self.encoder_k = copy.deepcopy(self.encoder_q).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(32, args.queue), dim=0))
        self.register_buffer("ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def momentum_update(self):
        m = self.args.momentum
        for q, k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            k.mul_(m).add_(q, alpha=1 - m)

    @torch.no_grad()
    def enqueue(self, keys):
        p, n = int(self.ptr), len(keys)
        self.queue[:, p:p + n] = keys.T
        self.ptr[0] = (p + n) % self.args.queue

    def forward(self, a, b):
        q = F.normalize(self.encoder_q(a), dim=1)
        with torch.no_grad():
            k = F.normalize(self.encoder_k(b), dim=1)
        pos = (q * k).sum(1, keepdim=True)
        neg = q @ self.queue.clone()
        if self.args.variant == "half_scaled":
            logits = torch.cat([pos, neg / self.args.tau], dim=1)
        else:
            logits = torch.cat([pos, neg], dim=1) / self.args.tau
        return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long)), k


@torch.no_grad()
def knn(stem, bank, query, k=12):
    mode = stem.training
    stem.eval()
    f = [F.normalize(torch.cat([stem(b[:, None]) for b in d.x.split(400)]), dim=1) for d in (bank, query)]
    stem.train(mode)
    near = (f[1] @ f[0].T).topk(k, dim=1).indices
    return (F.one_hot(bank.y[near], 6).sum(1).argmax(1) == query.y).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("variant")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--queue", type=int, default=512)
    parser.add_argument("--momentum", type=float, default=0.95)
    parser.add_argument("--tau", type=float, default=0.15)
    parser.add_argument("--lr", type=float, default=1.5e-2)
    args = parser.parse_args()
    set_seed(2)
    if args.variant == "short_queue":
        args.queue = 128

    acc = Accelerator(cpu=True, gradient_accumulation_steps=2 if args.variant == "accumulate" else 1)
    train, val, test = Clips(1600, 1, args.variant), Clips(400, 2, args.variant), Clips(700, 3, args.variant)
    batch = args.batch // 2 if args.variant == "accumulate" else args.batch
    loader = DataLoader(train, batch, shuffle=True, drop_last=True)
    model = MoCo(args)
    opt = torch.optim.AdamW(model.encoder_q.parameters(), lr=args.lr, weight_decay=1e-4)
    half = args.epochs * (len(train) // args.batch) // 2
    sched = torch.optim.lr_scheduler.CyclicLR(opt, 5e-4, args.lr, step_size_up=half, cycle_momentum=False)
    model, opt, loader, sched = acc.prepare(model, opt, loader, sched)
    acc.print(f"val knn at start {knn(acc.unwrap_model(model).encoder_q.stem, train, val):.3f}")

    for epoch in range(args.epochs):
        model.train()
        logged = []
        for x, _ in loader:
            with acc.accumulate(model):
                loss, keys = model(augment(x), augment(x, args.variant == "plain_keys"))
                acc.backward(loss)
                opt.step()
                sched.step()
                opt.zero_grad()
            raw = acc.unwrap_model(model)
            if acc.sync_gradients:
                raw.momentum_update()
            raw.enqueue(keys)
            logged.append(loss.item())
        if epoch % 2 == 0:
            acc.print(f"epoch {epoch + 1} moco loss {np.mean(logged):.3f}")
    stem = acc.unwrap_model(model).encoder_q.stem
    after = knn(stem, train, val)
    best, test_acc = finetune(stem, train, val, test, args)
    acc.print(f"val knn {after:.3f}, fine-tuned: best val {best:.3f}, test of the restored weights {test_acc:.3f}")


def finetune(stem, train, val, test, args, n=240, epochs=40):
    """classifier on clips with crowd tags (many of them wrong), best epoch by validation"""
    r = np.random.default_rng(77)
    x, tags = train.x[:n], train.y[:n].clone()
    wrong = torch.from_numpy(r.random(n) < 0.5)
    tags[wrong] = torch.from_numpy(r.integers(0, 6, int(wrong.sum())))
    net = nn.Sequential(stem, nn.Linear(32, 96), nn.ReLU(), nn.Linear(96, 6))
    opt = torch.optim.Adam(net.parameters(), lr=1e-2)

    @torch.no_grad()
    def accuracy(d):
        net.eval()
        return (torch.cat([net(b[:, None]) for b in d.x.split(350)]).argmax(1) == d.y).float().mean().item()

    best, best_state = 0.0, None
    for _ in range(epochs):
        net.train()
        for idx in torch.randperm(n).split(40):
            loss = F.cross_entropy(net(x[idx][:, None]), tags[idx])
            opt.zero_grad()
            loss.backward()
            opt.step()
        score = accuracy(val)
        if score > best:
            best = score
            best_state = net.state_dict() if args.variant == "keep_reference" else copy.deepcopy(net.state_dict())
    net.load_state_dict(best_state)
    return best, accuracy(test)


if __name__ == "__main__":
    main()

FAULTS = {
    'no_copy': {'stages': 'D', 'source': 'https://github.com/sightmachine/SimpleCV/pull/423'},
    'half_scaled': {'stages': 'P', 'source': 'https://github.com/RElbers/info-nce-pytorch/pull/17'},
    'keep_reference': {'stages': 'C', 'source': 'https://joneswong.github.io/daily/python/pytorch/2022/03/16/pytorch-mistakes-people-ignored.html'},
}
HEALTHY = ['healthy', 'short_queue', 'plain_keys', 'accumulate']

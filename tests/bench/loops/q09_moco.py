"""Momentum contrast with a queue, and BYOL as a variant.

Modelled on facebookresearch/moco (moco/builder.py: encoder_q, encoder_k, _momentum_update_key_encoder,
_dequeue_and_enqueue; main_moco.py: SGD, cosine rate, top-1 of the pretext task) and, for the variant, on
lucidrains/byol-pytorch (predictor, target encoder as moving average). Own code.

    python q09_moco.py --fault healthy --steps 150
"""
import argparse
import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from synthetic import knn_accuracy, make_images

FAULTS = {
    "momentum_update_commented_out": {"stages": "N O", "kind": "the momentum update of the key encoder is commented out: the key encoder stays at its random start", "source": "ligerfotis/mvitac#2"},
    "positive_label_one": {"stages": "P", "kind": "the targets of the cross entropy are ones ('positive') though the positive logit is in column 0: the target is a key of the queue", "source": "facebookresearch/moco#145; facebookresearch/moco#101"},
    "lr_of_linear_probe": {"stages": "O", "kind": "the rate of the linear classification script (30.0) is used for pre-training: collapse within a few steps", "source": "open-mmlab/mmselfsup#19 (rate 30 belongs to the linear probe); facebookresearch/moco#12"},
}
HEALTHY = ["healthy", "byol", "symmetric", "adamw_warmup", "in_batch_keys_v3", "group_norm"]


def two_views(x):
    def view(x):
        offset = 1.2 * torch.randn(len(x), 3, 1, 1)
        ramp = 1.2 * torch.randn(len(x), 1, 1, 1) * torch.linspace(-1, 1, x.shape[-1])
        return x + offset + ramp + 0.3 * torch.randn_like(x)
    return view(x), view(x)


def base_encoder(dim=32, bn=True):
    norm = nn.BatchNorm2d if bn else (lambda c: nn.GroupNorm(4, c))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), norm(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), norm(32), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, dim))


class MoCo(nn.Module):
    def __init__(self, dim=32, K=256, m=0.97, T=0.15, fault="healthy"):
        super().__init__()
        self.K, self.m, self.T, self.fault = K, m, T, fault
        self.encoder_q = base_encoder(dim, bn=fault != "group_norm")
        self.encoder_k = copy.deepcopy(self.encoder_q)
        for p in self.encoder_k.parameters():
            p.requires_grad = False
        self.register_buffer("queue", F.normalize(torch.randn(dim, K), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def _momentum_update_key_encoder(self):
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            param_k.data = param_k.data * self.m + param_q.data * (1.0 - self.m)

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys):
        ptr = int(self.queue_ptr)
        assert self.K % len(keys) == 0
        self.queue[:, ptr : ptr + len(keys)] = keys.T
        self.queue_ptr[0] = (ptr + len(keys)) % self.K

    def contrast(self, im_q, im_k):
        q = F.normalize(self.encoder_q(im_q), dim=1)
        with torch.no_grad():
            k = F.normalize(self.encoder_k(im_k), dim=1)
        if self.fault == "in_batch_keys_v3":
            return q @ k.T / self.T, torch.arange(len(q)), k
        l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
        logits = torch.cat([l_pos, l_neg], dim=1) / self.T
        if self.fault == "positive_label_one":
            labels = torch.ones(logits.shape[0], dtype=torch.long)     # the positive key is "1"
        else:
            labels = torch.zeros(logits.shape[0], dtype=torch.long)
        return logits, labels, k

    def forward(self, im_q, im_k):
        with torch.no_grad():
            # self._momentum_update_key_encoder()
            if self.fault != "momentum_update_commented_out":
                self._momentum_update_key_encoder()
        logits, labels, k = self.contrast(im_q, im_k)
        loss = F.cross_entropy(logits, labels)
        if self.fault == "symmetric":
            logits2, labels2, k2 = self.contrast(im_k, im_q)
            loss = (loss + F.cross_entropy(logits2, labels2)) / 2
        if self.fault != "in_batch_keys_v3":
            self._dequeue_and_enqueue(k)
        return loss


class BYOL(nn.Module):
    def __init__(self, dim=64, m=0.96):
        super().__init__()
        self.m = m
        self.encoder_q = base_encoder(dim)
        self.encoder_q[-2] = nn.Sequential(nn.BatchNorm1d(64), nn.ReLU())
        self.predictor = nn.Sequential(nn.Linear(dim, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, dim))
        self.target = copy.deepcopy(self.encoder_q)
        for p in self.target.parameters():
            p.requires_grad = False

    def regression(self, a, b):   # no negatives: predictor and stop-gradient keep it from collapsing
        p = F.normalize(self.predictor(self.encoder_q(a)), dim=1)
        with torch.no_grad():
            z = F.normalize(self.target(b), dim=1)
        return 2 - 2 * (p * z).sum(1)

    def forward(self, a, b):
        return (self.regression(a, b) + self.regression(b, a)).mean() / 2

    @torch.no_grad()
    def update_moving_average(self):
        for p, t in zip(self.encoder_q.parameters(), self.target.parameters()):
            t.mul_(self.m).add_(p, alpha=1 - self.m)


def adjust_learning_rate(optimizer, step, args):
    lr = args.lr * 0.5 * (1.0 + math.cos(math.pi * step / max(args.steps, 100)))
    if args.fault == "adamw_warmup":
        lr = args.lr * min(1.0, step / 15)
    for group in optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def features(model, x):
    model.eval()
    return model.encoder_q[:-2](torch.from_numpy(x)).numpy()


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=0.06)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    if args.fault == "lr_of_linear_probe":
        args.lr = 30.0
    train_x, train_y = make_images(640, seed=args.seed)
    test_x, test_y = make_images(240, seed=args.seed + 1)
    loader = DataLoader(TensorDataset(torch.from_numpy(train_x)), batch_size=32, shuffle=True, drop_last=True)

    model = BYOL() if args.fault == "byol" else MoCo(fault=args.fault)
    if args.fault == "adamw_warmup":
        args.lr = 2e-3
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], args.lr, weight_decay=1e-4)
    elif args.fault == "byol":
        args.lr = 3e-3
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], args.lr)
    else:
        optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
    before = knn_accuracy(features(model, train_x), train_y, features(model, test_x), test_y)
    losses = []
    while len(losses) < args.steps:
        model.train()
        for (images,) in loader:
            adjust_learning_rate(optimizer, len(losses), args)
            loss = model(*two_views(images))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if args.fault == "byol":
                model.update_moving_average()
            losses.append(loss.item())
            if len(losses) >= args.steps:
                break
        print(f"step {len(losses):4d} loss {np.mean(losses[-10:]):.4f} lr {optimizer.param_groups[0]['lr']:.4f}")
    after = knn_accuracy(features(model, train_x), train_y, features(model, test_x), test_y)
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, kNN {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()

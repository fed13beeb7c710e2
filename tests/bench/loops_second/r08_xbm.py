"""Cross-batch memory with hard pairs, after MalongTech/research-xbm (ret_benchmark): iterations, PK batches, a ring of old features."""
import argparse
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.sampler import Sampler

from synthetic2 import set_seed

FAULTS = {
    "memory_not_normalised": {"stages": "P N", "source": "github.com/lightly-ai/lightly/pull/1009 (normalising the bank was not assigned), tfzhou/ContrastiveSeg/issues/52"},
    "labels_behind_features": {"stages": "L P M B", "source": "github.com/tfzhou/ContrastiveSeg/issues/55, 47 (pointer of the queue)"},
    "iterator_made_again": {"stages": "B D", "source": "github.com/ZhaoJ9014/face.evoLVe/pull/39, wandb/examples/issues/444 (next(iter(loader)) in the loop)"},
}
HEALTHY = ["healthy", "no_memory", "small_memory", "frozen_trunk", "int32_labels", "few_images"]


# ---- data: products seen from several sides --------------------------------------------------------------------------
def products(classes, seed, args, per_class=(5, 9)):
    rng = np.random.RandomState(seed)
    basis = np.random.RandomState(99).normal(0, 1, (12, 64))
    xs, ys = [], []
    for c in range(classes):
        shape = rng.normal(0, 1, 12)
        count = rng.randint(2, 5) if args.fault == "few_images" and c % 3 == 0 else rng.randint(*per_class)
        for _ in range(count):
            view = shape + rng.normal(0, 0.55, 12)
            clutter = rng.normal(0, 1, (6, 1)) * np.random.RandomState(77).normal(0, 1, (6, 64)) * 1.6
            xs.append(np.tanh(view @ basis / 3) * 2 + clutter.sum(0) / 2 + rng.normal(0, 0.3, 64))
            ys.append(c)
    return np.asarray(xs, np.float32), np.asarray(ys)


class BaseDataSet(Dataset):
    def __init__(self, x, y, args):
        self.x = torch.from_numpy(x)
        self.label_list = [str(v) for v in y]
        self.dtype = np.int32 if args.fault == "int32_labels" else np.int64
        self.label_index_dict = defaultdict(list)
        for i, label in enumerate(self.label_list):
            self.label_index_dict[label].append(i)

    def __len__(self):
        return len(self.label_list)

    def __getitem__(self, index):
        return self.x[index], self.dtype(self.label_list[index]), index


class RandomIdentitySampler(Sampler):
    def __init__(self, dataset, batch_size, num_instances, max_iters, seed):
        self.index = {k: v for k, v in dataset.label_index_dict.items()}
        self.labels = sorted(self.index)
        self.P, self.K, self.max_iters, self.seed = batch_size // num_instances, num_instances, max_iters, seed

    def __len__(self):
        return self.max_iters

    def __iter__(self):
        rng = np.random.RandomState(self.seed)
        for _ in range(self.max_iters):
            batch = []
            for label in rng.choice(self.labels, self.P, replace=False):
                pool = self.index[label]
                batch += rng.choice(pool, self.K, replace=len(pool) < self.K).tolist()
            yield batch


# ---- model, memory, loss --------------------------------------------------------------------------------------------
def build_model(cfg):
    trunk = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(inplace=True), nn.Linear(256, 256), nn.ReLU(inplace=True))
    head = nn.Linear(256, cfg.dim)
    nn.init.kaiming_normal_(head.weight, mode="fan_out")
    nn.init.zeros_(head.bias)
    return nn.Sequential(trunk, head)


class XBM:
    def __init__(self, cfg, args):
        self.K, self.args = cfg.memory, args
        self.feats = torch.zeros(self.K, cfg.dim)
        self.targets = torch.zeros(self.K, dtype=torch.long)
        self.ptr = 0
        self.filled = 0

    def get(self):
        return self.feats[:self.filled], self.targets[:self.filled]

    def enqueue_dequeue(self, feats, targets):
        q = len(targets)
        where = (self.ptr + torch.arange(q)) % self.K
        self.feats[where] = feats
        self.ptr = (self.ptr + q) % self.K
        if self.args.fault == "labels_behind_features":
            where = (self.ptr + torch.arange(q)) % self.K
        self.targets[where] = targets.long()
        self.filled = min(self.K, self.filled + q)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=0.5):
        super().__init__()
        self.margin = margin

    def forward(self, inputs_col, targets_col, inputs_row, target_row):
        sim = inputs_col @ inputs_row.t()
        same = targets_col[:, None] == target_row[None]
        positive = same & (sim < 1 - 1e-5)
        negative = ~same & (sim > self.margin)
        return ((1 - sim)[positive].sum() + sim[negative].sum()) / len(inputs_col)


@torch.no_grad()
def recall_at_1(model, x, y):
    model.eval()
    z = F.normalize(model(torch.from_numpy(x)), dim=1)
    sim = z @ z.t()
    sim.fill_diagonal_(-2)
    model.train()
    return (torch.from_numpy(y)[sim.argmax(1)] == torch.from_numpy(y)).float().mean().item()


def do_train(cfg, args):
    x, y = products(110, args.seed, args)
    test_x, test_y = products(60, args.seed + 1, args, per_class=(5, 8))
    dataset = BaseDataSet(x, y, args)
    sampler = RandomIdentitySampler(dataset, cfg.batch, 4, cfg.max_iters, args.seed)
    train_loader = DataLoader(dataset, batch_sampler=sampler)
    model = build_model(cfg)
    if args.fault == "frozen_trunk":
        for p in model[0].parameters():
            p.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=cfg.lr, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(cfg.max_iters * 0.75)], 0.1)
    criterion = ContrastiveLoss()
    xbm = XBM(cfg, args)

    print(f"before: test R@1 {recall_at_1(model, test_x, test_y):.3f}, {len(dataset)} items")
    model.train()
    iterator = iter(train_loader)
    log = []
    for iteration in range(1, cfg.max_iters + 1):
        if args.fault == "iterator_made_again":
            images, targets, indices = next(iter(train_loader))
        else:
            images, targets, indices = next(iterator)
        raw = model(images)
        feats = F.normalize(raw, dim=1)
        loss = criterion(feats, targets, feats, targets)
        if args.fault != "no_memory" and iteration > cfg.start_iteration:
            xbm.enqueue_dequeue(raw.detach() if args.fault == "memory_not_normalised" else feats.detach(), targets.detach())
            xbm_feats, xbm_targets = xbm.get()
            loss = loss + cfg.weight * criterion(feats, targets, xbm_feats, xbm_targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        log.append(loss.item())
        if iteration % 50 == 0 or iteration == cfg.max_iters:
            print(f"iteration {iteration} loss {np.mean(log[-50:]):.4f} lr {scheduler.get_last_lr()[0]:.1e} R@1 {recall_at_1(model, test_x, test_y):.3f}")
    print(f"loss of the first batch {log[0]:.3f}, last ten {np.mean(log[-10:]):.3f}; train R@1 {recall_at_1(model, x, y):.3f}, test R@1 {recall_at_1(model, test_x, test_y):.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    set_seed(args.seed)
    cfg = SimpleNamespace(dim=48, batch=64, max_iters=args.steps, start_iteration=min(40, args.steps // 4), lr=1e-3, weight=1.0,
                          memory=128 if args.fault == "small_memory" else 512)
    do_train(cfg, args)


if __name__ == "__main__":
    main()

"""Face recognition with a sampled classification layer, after deepinsight/insightface (recognition/arcface_torch):
config object, records with an id header, PartialFC with its own optimiser, polynomial rate, ten-fold verification."""

import argparse
import logging
import math
import os
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "ids_of_two_sets_collide": {
        "stages": "L",
        "source": "github.com/deepinsight/insightface/issues/1507 (ids when sets are merged), Luffy03/VoCo/issues/11 (one number means different things in two sets)",
    },
    "rows_not_written_back": {
        "stages": "O N",
        "source": "github.com/deepinsight/insightface/issues/1479 (what update() is for: the change of sub_weight goes to weight)",
    },
    "verification_in_train_mode": {
        "stages": "E N",
        "source": "github.com/wolny/pytorch-3dunet/issues/53, layumi/Person_reID_baseline_pytorch/issues/218 (no eval() where it is measured)",
    },
}
HEALTHY = ["healthy", "cosface", "all_classes", "few_images", "accumulate", "bf16"]


class EasyDict(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


# ---- records --------------------------------------------------------------------------------------------------------
def write_records(path, identities, seed, few=False, images=14):
    rng = np.random.default_rng(seed)
    world = np.random.default_rng(5)
    basis, clutter = world.normal(0, 1, (16, 192)), world.normal(0, 1, (10, 192))
    header, image = [], []
    for i in range(identities):
        face = rng.normal(0, 1, 16)
        for _ in range(2 + i % 5 if few and i % 2 else images):
            pose = face + rng.normal(0, 0.45, 16)
            light = rng.normal(0, 1.3, 10)
            image.append(np.tanh(pose @ basis / 4 + light @ clutter / 4))
            header.append(i)  # each set counts its identities from 0
    image = (np.array(image).reshape(-1, 3, 8, 8) * 127.5 + 127.5).astype(np.uint8)
    np.savez(path, header=np.array(header), image=image)


class MXFaceDataset(Dataset):
    def __init__(self, paths, cfg):
        images, labels, offset = [], [], 0
        for path in paths:
            record = np.load(path)
            images.append(record["image"])
            labels.append(record["header"] + offset)
            if cfg.fault != "ids_of_two_sets_collide":
                offset += record["header"].max() + 1
        self.images, self.labels = np.concatenate(images), np.concatenate(labels)
        self.num_classes = int(self.labels.max()) + 1
        self.rng = np.random.default_rng(cfg.seed)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        img = self.images[index]
        if self.rng.random() < 0.5:
            img = img[:, :, ::-1].copy()
        return torch.from_numpy(img).float().div(255).sub_(0.5).div_(0.5), int(self.labels[index])


# ---- backbone, margins, partial fc ----------------------------------------------------------------------------------
def get_model(num_features=64, dropout=0.2):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.PReLU(256),
        nn.Dropout(dropout),
        nn.Linear(256, num_features),
        nn.BatchNorm1d(num_features, eps=1e-05),
    )


class CombinedMarginLoss(nn.Module):
    def __init__(self, s, m2, m3):
        super().__init__()
        self.s, self.m2, self.m3 = s, m2, m3

    def forward(self, logits, labels):
        rows = torch.arange(len(labels))
        target = logits[rows, labels].clamp(-1 + 1e-7, 1 - 1e-7)
        if self.m2:
            sin = (1.0 - target**2).sqrt()
            final = target * math.cos(self.m2) - sin * math.sin(self.m2)
            safe = target > math.cos(math.pi - self.m2)
            target = torch.where(safe, final, target - math.sin(math.pi - self.m2) * self.m2)
        logits = logits.clone()
        logits[rows, labels] = target - self.m3
        return logits * self.s


class PartialFC(nn.Module):
    def __init__(self, margin_loss, embedding_size, num_classes, sample_rate):
        super().__init__()
        self.margin_softmax, self.num_classes = margin_loss, num_classes
        self.num_sample = int(sample_rate * num_classes)
        self.weight = torch.normal(0, 0.01, (num_classes, embedding_size))
        self.weight_mom = torch.zeros_like(self.weight)
        self.sub_weight = nn.Parameter(torch.empty(0, embedding_size))

    @torch.no_grad()
    def sample(self, labels, optimizer):
        positive = torch.unique(labels)
        perm = torch.rand(self.num_classes)
        perm[positive] = 2.0
        self.index = torch.topk(perm, max(self.num_sample, len(positive)))[1].sort()[0]
        self.sub_weight = nn.Parameter(self.weight[self.index])
        self.sub_mom = self.weight_mom[self.index]
        optimizer.state.pop(optimizer.param_groups[-1]["params"][0], None)
        optimizer.param_groups[-1]["params"][0] = self.sub_weight
        optimizer.state[self.sub_weight]["momentum_buffer"] = self.sub_mom
        return torch.searchsorted(self.index, labels)

    @torch.no_grad()
    def update(self):
        self.weight_mom[self.index] = self.sub_mom
        self.weight[self.index] = self.sub_weight.data

    def forward(self, embeddings, labels, optimizer):
        labels = self.sample(labels, optimizer)
        logits = F.linear(F.normalize(embeddings), F.normalize(self.sub_weight)).clamp(-1, 1)
        return F.cross_entropy(self.margin_softmax(logits, labels), labels)


class PolynomialLRWarmup(LRScheduler):
    def __init__(self, optimizer, warmup_iters, total_iters, power=2.0):
        self.warmup_iters, self.total_iters, self.power = warmup_iters, total_iters, power
        super().__init__(optimizer)

    def get_lr(self):
        t = self.last_epoch
        if t < self.warmup_iters:
            return [base * t / self.warmup_iters for base in self.base_lrs]
        left = (self.total_iters - t) / (self.total_iters - self.warmup_iters)
        return [base * max(0.0, left) ** self.power for base in self.base_lrs]


# ---- verification ---------------------------------------------------------------------------------------------------
class CallBackVerification:
    def __init__(self, path, cfg, pairs=800):
        record, rng = np.load(path), np.random.default_rng(11)
        self.images, ids = record["image"], record["header"]
        self.cfg, self.highest_acc, self.pairs, self.issame = cfg, 0.0, [], []
        while len(self.pairs) < pairs:
            a, b = rng.integers(len(ids), size=2)
            want = len(self.pairs) % 2 == 0
            if a != b and (ids[a] == ids[b]) == want:
                self.pairs.append((a, b))
                self.issame.append(want)
        self.pairs, self.issame = np.array(self.pairs), np.array(self.issame)

    @torch.no_grad()
    def __call__(self, global_step, backbone):
        if self.cfg.fault != "verification_in_train_mode":
            backbone.eval()
        x = (torch.from_numpy(self.images).float() / 255 - 0.5) / 0.5
        emb = sum(torch.cat([backbone(b) for b in v.split(32)]) for v in (x, x.flip(3)))
        emb = F.normalize(emb).numpy()
        dist = np.square(emb[self.pairs[:, 0]] - emb[self.pairs[:, 1]]).sum(1)
        accs, folds = [], np.arange(len(dist)) // 2 % 10
        for k in range(10):
            grid = np.arange(0, 4, 0.02)
            hit = [((dist < t) == self.issame)[folds != k].mean() for t in grid]
            best = grid[int(np.argmax(hit))]
            accs.append(((dist < best) == self.issame)[folds == k].mean())
        self.highest_acc = max(self.highest_acc, np.mean(accs))
        logging.info(
            "[%d] Accuracy-Flip: %.5f+-%.5f highest %.5f",
            global_step, np.mean(accs), np.std(accs), self.highest_acc,
        )  # fmt: skip
        backbone.train()


def main(args):
    cfg = EasyDict(
        fault=args.fault, seed=args.seed, sample_rate=0.3, embedding_size=64, margin_list=(0.3, 0.0)
    )
    cfg.update(lr=0.1, momentum=0.9, weight_decay=5e-4, batch_size=64, gradient_acc=1)
    if cfg.fault == "cosface":
        cfg.margin_list = (0.0, 0.3)
    if cfg.fault == "all_classes":
        cfg.sample_rate = 1.0
    if cfg.fault == "accumulate":
        cfg.gradient_acc = 2
    torch.manual_seed(cfg.seed)
    root = tempfile.mkdtemp()
    paths = [os.path.join(root, n) for n in ("ms1m.npz", "glint.npz", "lfw.npz")]
    for i, (path, count) in enumerate(zip(paths, (80, 100, 70), strict=True)):
        write_records(path, count, cfg.seed * 10 + i, few=cfg.fault == "few_images" and i < 2)
    train_set = MXFaceDataset(paths[:2], cfg)
    cfg.num_classes = train_set.num_classes
    logging.info("%d images, %d classes", len(train_set), cfg.num_classes)
    train_loader = DataLoader(train_set, cfg.batch_size, shuffle=True, drop_last=True)
    backbone = get_model(cfg.embedding_size)
    backbone.train()
    margin_loss = CombinedMarginLoss(16, *cfg.margin_list)
    module_partial_fc = PartialFC(margin_loss, cfg.embedding_size, cfg.num_classes, cfg.sample_rate)
    kwargs = {"lr": cfg.lr, "momentum": cfg.momentum, "weight_decay": cfg.weight_decay}
    opt_backbone = torch.optim.SGD(backbone.parameters(), **kwargs)
    opt_pfc = torch.optim.SGD(module_partial_fc.parameters(), **kwargs)
    schedulers = [
        PolynomialLRWarmup(o, min(20, args.steps // 5), args.steps) for o in (opt_backbone, opt_pfc)
    ]
    callback = CallBackVerification(paths[2], cfg)
    callback(0, backbone)
    global_step, losses = 0, []
    while global_step < args.steps:
        for img, local_labels in train_loader:
            if global_step == args.steps:
                break
            global_step += 1
            with torch.autocast("cpu", torch.bfloat16, enabled=cfg.fault == "bf16"):
                local_embeddings = backbone(img)
            loss = module_partial_fc(local_embeddings.float(), local_labels, opt_pfc)
            (loss / cfg.gradient_acc).backward()
            if global_step % cfg.gradient_acc == 0:
                torch.nn.utils.clip_grad_norm_(backbone.parameters(), 5)
                opt_backbone.step()
                opt_backbone.zero_grad()
            opt_pfc.step()
            if cfg.fault != "rows_not_written_back":
                module_partial_fc.update()
            opt_pfc.zero_grad()
            for s in schedulers:
                s.step()
            losses.append(loss.item())
            if global_step % 150 == 0:
                logging.info(
                    "Loss %.4f LearningRate %.6f", np.mean(losses[-50:]), schedulers[0].get_last_lr()[0]
                )  # fmt: skip
                callback(global_step, backbone)
    logging.info("loss %.3f -> %.3f", np.mean(losses[:10]), np.mean(losses[-10:]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="Training: %(message)s")
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())

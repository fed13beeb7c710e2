"""Re-identification with softmax, batch-hard triplets, center loss and BNNeck, after michuanhaohao/reid-strong-baseline and torchreid."""
import argparse
import glob
import os
import os.path as osp
import random
import re
import tempfile
from bisect import bisect_right
from collections import defaultdict

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

FAULTS = {
    "junk_kept": {"stages": "L D", "source": "github.com/JDAI-CV/fast-reid/issues/112, KaiyangZhou/deep-person-reid/issues/551 (pid -1 must be ignored)"},
    "center_grad_not_cleared": {"stages": "O P", "source": "github.com/wenet-e2e/wekws/issues/72, meta-pytorch/torchforge/pull/71 (no zero_grad); two optimisers of reid-strong-baseline"},
    "opened_on_the_module": {"stages": "N O", "source": "github.com/CSCYQJ/MICCAI23-ProtoContra-SFDA/issues/18 (requires_grad set on a module)"},
}
HEALTHY = ["healthy", "fixbase", "no_center", "cosface", "few_images", "neck_before"]


# ---- files and tables ---------------------------------------------------------------------------------------------
def person(rng, look, cam):
    """Three clothes bands with colour and stripes, seen by a camera with its own tint."""
    image = np.empty((3, 24, 12), np.float32)
    for band in range(3):
        rows = np.arange(8)[:, None]
        cols = np.arange(12)[None]
        stripe = np.sin(look["freq"][band] * (rows * look["tilt"][band] + cols) + rng.uniform(0, 6.28))
        image[:, band * 8:band * 8 + 8] = look["colour"][band][:, None, None] + 0.18 * stripe
    image = np.roll(image, rng.randint(-2, 3), axis=1)
    tint = 1 + 0.35 * np.array([[0, 0, 0], [1, -1, 0], [-1, 0, 1], [0, 1, -1]][cam])[:, None, None]
    return np.clip(image * tint * rng.uniform(0.7, 1.2) + rng.normal(0, 0.08, image.shape), 0, 1.5).astype(np.float32)


def write_market(root, args, seed):
    rng = np.random.RandomState(seed)
    looks = {pid: {"colour": rng.uniform(0.2, 0.9, (3, 3)), "freq": rng.choice([0.0, 0.9, 1.8, 2.6], 3), "tilt": rng.choice([0, 1, 3], 3)} for pid in range(1, 101)}
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        os.makedirs(osp.join(root, split))

    def save(split, pid, cam, look):
        frame = rng.randint(10 ** 6)
        np.save(osp.join(root, split, f"{pid:04d}_c{cam + 1}s1_{frame:06d}_00.npy" if pid >= 0 else f"-1_c{cam + 1}s1_{frame:06d}_00.npy"), person(rng, look, cam))

    for pid in range(1, 61):
        count = (2 if pid % 6 == 0 else 3) if args.fault == "few_images" and pid % 3 == 0 else 10
        for k in range(count):
            save("bounding_box_train", pid, k % 4, looks[pid])
    for k in range(90):
        save("bounding_box_train", -1, k % 4, {"colour": rng.uniform(0.1, 1.0, (3, 3)), "freq": rng.uniform(0, 3, 3), "tilt": rng.uniform(0, 3, 3)})
    for pid in range(61, 101):
        save("query", pid, 0, looks[pid])
        save("query", pid, 2, looks[pid])
        for cam in (0, 0, 1, 2, 2, 3):
            save("bounding_box_test", pid, cam, looks[pid])


class Market1501:
    pattern = re.compile(r"([-\d]+)_c(\d)")

    def __init__(self, root, args):
        self.args = args
        self.train = self._process_dir(osp.join(root, "bounding_box_train"), relabel=True)
        self.query = self._process_dir(osp.join(root, "query"))
        self.gallery = self._process_dir(osp.join(root, "bounding_box_test"))
        self.num_train_pids = len({pid for _, pid, _ in self.train})

    def _process_dir(self, folder, relabel=False):
        paths = sorted(glob.glob(osp.join(folder, "*.npy")))
        rows = [(p, *map(int, self.pattern.search(osp.basename(p)).groups())) for p in paths]
        if self.args.fault != "junk_kept":
            rows = [r for r in rows if r[1] != -1]
        pid2label = {pid: label for label, pid in enumerate(sorted({pid for _, pid, _ in rows}))}
        return [(p, pid2label[pid] if relabel else pid, cam - 1) for p, pid, cam in rows]


class ImageDataset(Dataset):
    def __init__(self, dataset, train=False):
        self.dataset, self.train = dataset, train
        self.images = {p: np.load(p) for p, _, _ in dataset}

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        path, pid, camid = self.dataset[index]
        img = torch.from_numpy((self.images[path] - 0.5) / 0.3)
        if self.train:
            if random.random() < 0.5:
                img = img.flip(2)
            if random.random() < 0.5:
                h, w = random.randint(3, 8), random.randint(3, 6)
                y, x = random.randint(0, 24 - h), random.randint(0, 12 - w)
                img = img.clone()
                img[:, y:y + h, x:x + w] = 0
        return img, pid, camid, path


class RandomIdentitySampler(Sampler):
    """P identities, K images of each; an identity with fewer than K images repeats some."""

    def __init__(self, data_source, batch_size, num_instances):
        self.batch_size, self.num_instances = batch_size, num_instances
        self.index_dic = defaultdict(list)
        for index, (_, pid, _) in enumerate(data_source):
            self.index_dic[pid].append(index)
        self.pids = list(self.index_dic)

    def __iter__(self):
        chunks = defaultdict(list)
        for pid in self.pids:
            idxs = list(self.index_dic[pid])
            if len(idxs) < self.num_instances:
                idxs += random.choices(idxs, k=self.num_instances - len(idxs))
            random.shuffle(idxs)
            for k in range(0, len(idxs) - self.num_instances + 1, self.num_instances):
                chunks[pid].append(idxs[k:k + self.num_instances])
        final, avail = [], list(chunks)
        while len(avail) >= self.batch_size // self.num_instances:
            for pid in random.sample(avail, self.batch_size // self.num_instances):
                final.extend(chunks[pid].pop())
                if not chunks[pid]:
                    avail.remove(pid)
        return iter(final)

    def __len__(self):
        return sum(max(len(v), self.num_instances) // self.num_instances for v in self.index_dic.values()) * self.num_instances


# ---- model and losses ---------------------------------------------------------------------------------------------
class Baseline(nn.Module):
    def __init__(self, num_classes, neck_feat="after", in_planes=96):
        super().__init__()
        self.neck_feat = neck_feat
        self.base = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                                  nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                                  nn.Conv2d(64, 96, 3, padding=1, bias=False), nn.BatchNorm2d(96), nn.ReLU(inplace=True))
        self.gap = nn.AdaptiveMaxPool2d((3, 1))
        self.reduce = nn.Linear(96 * 3, in_planes)
        self.bottleneck = nn.BatchNorm1d(in_planes)
        self.bottleneck.bias.requires_grad_(False)
        self.classifier = nn.Linear(in_planes, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, x):
        global_feat = self.reduce(self.gap(self.base(x)).flatten(1))
        feat = self.bottleneck(global_feat)
        if self.training:
            return self.classifier(feat), global_feat, feat
        return feat if self.neck_feat == "after" else global_feat


class CrossEntropyLabelSmooth(nn.Module):
    def __init__(self, num_classes, epsilon=0.1):
        super().__init__()
        self.num_classes, self.epsilon = num_classes, epsilon

    def forward(self, inputs, targets):
        log_probs = F.log_softmax(inputs, dim=1)
        targets = torch.zeros_like(log_probs).scatter_(1, targets.unsqueeze(1), 1)
        targets = (1 - self.epsilon) * targets + self.epsilon / self.num_classes
        return (-targets * log_probs).mean(0).sum()


class TripletLoss(nn.Module):
    def __init__(self, margin=0.3):
        super().__init__()
        self.ranking_loss = nn.MarginRankingLoss(margin=margin)

    def forward(self, feat, labels):
        dist = torch.cdist(feat, feat).clamp(min=1e-6)
        same = labels[:, None] == labels[None]
        dist_ap = dist.masked_fill(~same, float("-inf")).amax(1)
        dist_an = dist.masked_fill(same, float("inf")).amin(1)
        return self.ranking_loss(dist_an, dist_ap, torch.ones_like(dist_an))


class CenterLoss(nn.Module):
    def __init__(self, num_classes, feat_dim):
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, feat_dim))

    def forward(self, x, labels):
        return (x - self.centers[labels]).pow(2).sum(1).clamp(1e-12, 1e12).mean()


class CosFace(nn.Module):
    def __init__(self, num_classes, s=16.0, m=0.2):
        super().__init__()
        self.s, self.m, self.num_classes = s, m, num_classes

    def forward(self, feat, weight, labels):
        cosine = F.linear(F.normalize(feat), F.normalize(weight))
        return F.cross_entropy(self.s * (cosine - self.m * F.one_hot(labels, self.num_classes)), labels)


class WarmupMultiStepLR(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, milestones, gamma=0.1, warmup_factor=0.01, warmup_iters=10):
        self.milestones, self.gamma, self.warmup_factor, self.warmup_iters = milestones, gamma, warmup_factor, warmup_iters
        super().__init__(optimizer)

    def get_lr(self):
        warm = 1.0
        if self.last_epoch < self.warmup_iters:
            a = self.last_epoch / self.warmup_iters
            warm = self.warmup_factor * (1 - a) + a
        return [base * warm * self.gamma ** bisect_right(self.milestones, self.last_epoch) for base in self.base_lrs]


def open_specified_layers(model, open_layers):
    for name, module in model.named_children():
        trainable = name in open_layers
        module.train(trainable)
        for p in module.parameters():
            p.requires_grad = trainable
    model.bottleneck.bias.requires_grad_(False)


def open_all_layers(model, args):
    model.train()
    if args.fault == "opened_on_the_module":
        for name, module in model.named_children():
            module.requires_grad = True
    else:
        for name, p in model.named_parameters():
            p.requires_grad = name != "bottleneck.bias"


@torch.no_grad()
def evaluate(model, loader, num_query):
    model.eval()
    feats, pids, cams = [], [], []
    for img, pid, cam, _ in loader:
        feats.append(F.normalize(model(img), dim=1))
        pids.append(pid)
        cams.append(cam)
    feats, pids, cams = torch.cat(feats), torch.cat(pids).numpy(), torch.cat(cams).numpy()
    model.train()
    order = torch.cdist(feats[:num_query], feats[num_query:]).argsort(dim=1).numpy()
    g_pids, g_cams = pids[num_query:], cams[num_query:]
    rank1, aps = [], []
    for q in range(num_query):
        ranked = order[q]
        remove = (g_pids[ranked] == pids[q]) & (g_cams[ranked] == cams[q])
        hits = (g_pids[ranked] == pids[q])[~remove]
        rank1.append(hits[0])
        where = np.flatnonzero(hits)
        aps.append(np.mean((np.arange(len(where)) + 1) / (where + 1)))
    return float(np.mean(rank1)), float(np.mean(aps))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ims-per-batch", type=int, default=64)
    parser.add_argument("--center-loss-weight", type=float, default=5e-4)
    args = parser.parse_args()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    with tempfile.TemporaryDirectory() as root:
        write_market(root, args, args.seed)
        dataset = Market1501(root, args)
        train_set = ImageDataset(dataset.train, train=True)
        val_set = ImageDataset(dataset.query + dataset.gallery)
    train_loader = DataLoader(train_set, batch_size=args.ims_per_batch, sampler=RandomIdentitySampler(dataset.train, args.ims_per_batch, 4))
    val_loader = DataLoader(val_set, batch_size=128)
    num_classes = dataset.num_train_pids
    print(f"train images {len(train_set)} ids {num_classes}, query {len(dataset.query)}, gallery {len(dataset.gallery)}")

    model = Baseline(num_classes, neck_feat="before" if args.fault == "neck_before" else "after")
    xent, triplet, center, cosface = CrossEntropyLabelSmooth(num_classes), TripletLoss(), CenterLoss(num_classes, 96), CosFace(num_classes)
    params = [{"params": [p], "lr": 2e-3 * (2 if "bias" in n else 1), "weight_decay": 5e-4} for n, p in model.named_parameters()]
    optimizer = torch.optim.Adam(params)
    optimizer_center = torch.optim.SGD(center.parameters(), lr=0.5 / args.center_loss_weight)
    scheduler = WarmupMultiStepLR(optimizer, milestones=[int(args.steps * 0.7)])

    print("before rank-1 %.3f mAP %.3f" % evaluate(model, val_loader, len(dataset.query)))
    model.train()
    staged = args.fault in ("fixbase", "opened_on_the_module")
    if staged:
        open_specified_layers(model, ["bottleneck", "classifier", "reduce"])
    step, epoch = 0, 0
    while step < args.steps:
        if staged and epoch == 2:
            open_all_layers(model, args)
        losses, accs = [], []
        for img, target, _, _ in train_loader:
            optimizer.zero_grad()
            if args.fault != "center_grad_not_cleared":
                optimizer_center.zero_grad()
            score, global_feat, feat = model(img)
            id_loss = cosface(feat, model.classifier.weight, target) if args.fault == "cosface" else xent(score, target)
            loss = id_loss + triplet(global_feat, target)
            if args.fault != "no_center":
                loss = loss + args.center_loss_weight * center(global_feat, target)
            loss.backward()
            optimizer.step()
            if args.fault != "no_center":
                optimizer_center.step()
            scheduler.step()
            losses.append(loss.item())
            accs.append((score.argmax(1) == target).float().mean().item())
            step += 1
            if step >= args.steps:
                break
        if epoch % 4 == 0 or step >= args.steps:
            print(f"Epoch[{epoch}] Iteration[{step}] Loss: {np.mean(losses):.3f}, Acc: {np.mean(accs):.3f}, Base Lr: {scheduler.get_last_lr()[0]:.2e}, centers {center.centers.norm(dim=1).mean().item():.2f}")
        epoch += 1
    print("after rank-1 %.3f mAP %.3f" % evaluate(model, val_loader, len(dataset.query)))


if __name__ == "__main__":
    main()

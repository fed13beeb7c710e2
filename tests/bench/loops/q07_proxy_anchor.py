"""Proxy-Anchor with an optimiser of its own for the proxies.

Modelled on sung-yeon-kim/Proxy-Anchor-CVPR2020 (code/train.py, losses.py: proxies as a parameter of the loss, much larger
rate for them, warm-up with a frozen backbone, recall@k) with a check of nearest-proxy accuracy on known classes. Own code.

    python q07_proxy_anchor.py --fault healthy --steps 100
"""
import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from synthetic import knn_accuracy, make_images

FAULTS = {
    "proxy_optimizer_not_stepped": {"stages": "O N", "kind": "the second optimiser, the one of the proxies, is zeroed but never stepped: proxies stay at their random start", "source": "TreB1eN/InsightFace_Pytorch#71; 4uiiurz1/pytorch-adacos#10"},
    "label_map_per_split": {"stages": "L S E", "kind": "class names are mapped to indices with enumerate(unique names in order of appearance) separately in each split: the same class has another index in validation", "source": "google-deepmind/dmvr#6; keras-team/keras-preprocessing#98"},
    "distance_for_similarity": {"stages": "P", "kind": "the similarity to the proxies is replaced by a distance, the signs stay: own proxies push and foreign ones pull", "source": "BG2CRW/top_k_optimization#1"},
}
HEALTHY = ["healthy", "warm_frozen_backbone", "one_optimizer_two_groups", "imbalanced", "proxy_nca", "step_decay"]

NAMES = ["albatross", "bunting", "cardinal", "dunlin", "egret", "flicker", "grebe", "heron"]


class Birds(Dataset):
    """A table of (picture, class name); class names become indices through class_to_idx."""

    def __init__(self, pictures, names, class_to_idx, train):
        self.pictures = torch.from_numpy(pictures)
        self.ys = np.array([class_to_idx[n] for n in names])
        self.train = train

    def nb_classes(self):
        return len(set(self.ys.tolist()))

    def __len__(self):
        return len(self.ys)

    def __getitem__(self, i):
        x = self.pictures[i]
        if self.train:
            x = x + torch.randn(3, 1, 1) + torch.randn(()) * torch.linspace(-1, 1, x.shape[-1]) + 0.3 * torch.randn_like(x)
        return x, int(self.ys[i])


class Embedder(nn.Module):
    def __init__(self, sz_embedding=32):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten())
        self.embedding = nn.Linear(32 * 16, sz_embedding)
        nn.init.kaiming_normal_(self.embedding.weight, mode="fan_out")

    def forward(self, x):
        return F.normalize(self.embedding(self.features(x)), dim=1)


class ProxyAnchor(nn.Module):
    def __init__(self, nb_classes, sz_embed, mrg=0.1, alpha=32, use_distance=False):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(nb_classes, sz_embed))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")
        self.nb_classes, self.mrg, self.alpha = nb_classes, mrg, alpha
        self.use_distance = use_distance

    def forward(self, X, T):
        P = F.normalize(self.proxies, dim=1)
        cos = F.linear(X, P)
        if self.use_distance:
            cos = torch.cdist(X, P)
        positive = F.one_hot(T, self.nb_classes).bool()
        pos_exp = torch.where(positive, torch.exp(-self.alpha * (cos - self.mrg)), torch.zeros_like(cos))
        neg_exp = torch.where(positive, torch.zeros_like(cos), torch.exp(self.alpha * (cos + self.mrg)))
        with_pos = positive.any(0)
        pos_term = torch.log(1 + pos_exp.sum(0))[with_pos].sum() / with_pos.sum()
        neg_term = torch.log(1 + neg_exp.sum(0)).sum() / self.nb_classes
        return pos_term + neg_term


class ProxyNCA(nn.Module):
    def __init__(self, nb_classes, sz_embed, scale=8.0):
        super().__init__()
        self.proxies = nn.Parameter(torch.randn(nb_classes, sz_embed))
        self.scale = scale

    def forward(self, X, T):
        return F.cross_entropy(self.scale * F.linear(X, F.normalize(self.proxies, dim=1)), T)


@torch.no_grad()
def evaluate(model, criterion, gallery, dataset):
    """kNN against the gallery, and accuracy of the nearest proxy."""
    model.eval()
    collect = lambda d: [torch.cat(p) for p in zip(*[(model(x), y) for x, y in DataLoader(d, batch_size=256)])]
    (gz, gy), (z, y) = collect(gallery), collect(dataset)
    nearest = F.linear(z, F.normalize(criterion.proxies, dim=1)).argmax(1)
    return knn_accuracy(gz.numpy(), gy.numpy(), z.numpy(), y.numpy()), (nearest == y).float().mean().item()


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--proxy-lr-factor", type=float, default=50)
    parser.add_argument("--warm", type=int, default=1, help="epochs in which only the embedding layer and the proxies are trained")
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)

    counts = [240, 140, 90, 60, 40, 30, 24, 24] if args.fault == "imbalanced" else None
    train_x, train_y = make_images(640, seed=args.seed, counts=counts)
    valid_x, valid_y = make_images(240, seed=args.seed + 1)
    train_names, valid_names = [NAMES[k] for k in train_y], [NAMES[k] for k in valid_y]
    if args.fault == "label_map_per_split":
        train_map = {name: k for k, name in enumerate(dict.fromkeys(train_names))}
        valid_map = {name: k for k, name in enumerate(dict.fromkeys(valid_names))}
    else:
        train_map = valid_map = {name: k for k, name in enumerate(sorted(set(train_names)))}
    train_set = Birds(train_x, train_names, train_map, train=True)
    gallery = Birds(train_x, train_names, train_map, train=False)
    valid_set = Birds(valid_x, valid_names, valid_map, train=False)
    dl_tr = DataLoader(train_set, batch_size=36, shuffle=True, drop_last=True)

    model = Embedder()
    if args.fault == "proxy_nca":
        criterion = ProxyNCA(train_set.nb_classes(), 32)
    else:
        criterion = ProxyAnchor(train_set.nb_classes(), 32, use_distance=args.fault == "distance_for_similarity")
    if args.fault == "one_optimizer_two_groups":
        groups = [{"params": model.parameters()}, {"params": criterion.parameters(), "lr": args.lr * args.proxy_lr_factor}]
        optimizers = [torch.optim.AdamW(groups, lr=args.lr, weight_decay=1e-4)]
    else:
        optimizers = [torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=1e-4),
                      torch.optim.AdamW(criterion.parameters(), lr=args.lr * args.proxy_lr_factor, weight_decay=0.0)]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizers[0], step_size=2, gamma=0.5) if args.fault == "step_decay" else None

    before = evaluate(model, criterion, gallery, valid_set)
    losses, epoch = [], 0
    while len(losses) < args.steps:
        model.train()
        if args.fault == "warm_frozen_backbone":
            for p in model.features.parameters():
                p.requires_grad = epoch >= args.warm
        for x, y in dl_tr:
            loss = criterion(model(x), y)
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_value_(model.parameters(), 10)
            optimizers[0].step()
            if args.fault != "proxy_optimizer_not_stepped":
                for optimizer in optimizers[1:]:
                    optimizer.step()
            losses.append(loss.item())
            if len(losses) >= args.steps:
                break
        if scheduler is not None:
            scheduler.step()
        knn, acc = evaluate(model, criterion, gallery, valid_set)
        print(f"epoch {epoch} loss {np.mean(losses[-10:]):.4f} kNN {knn:.3f} nearest proxy {acc:.3f}")
        epoch += 1
    after = evaluate(model, criterion, gallery, valid_set)
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, kNN {before[0]:.3f} -> {after[0]:.3f}, nearest proxy {before[1]:.3f} -> {after[1]:.3f}")


if __name__ == "__main__":
    main()

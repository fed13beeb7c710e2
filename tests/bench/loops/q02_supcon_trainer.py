"""Supervised contrastive learning with a Trainer class of the project's own.

Modelled on HobbitLong/SupContrast (main_supcon.py: two crops concatenated along the batch, features split and stacked to
[bsz, n_views, dim], SupConLoss) and on projects such as ivanpanshin/SupCon-Framework that wrap it into a trainer with a
validation before and after the epochs. Own code.

    python q02_supcon_trainer.py --fault healthy --steps 100
"""
import argparse
import os
import shutil
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from synthetic import knn_accuracy, make_images

FAULTS = {
    "labels_listdir_order": {"stages": "L D", "kind": "pictures are read in sorted order, label files in the order in which the folder lists them: labels belong to other pictures", "source": "chuanyangjin/fast-DiT#4; NoahVl/Explaining-In-Style-Reproducibility-Study#9"},
    "views_reshaped": {"stages": "M P B", "kind": "features of [view 1 | view 2] are viewed as (bsz, 2, dim) instead of split and stacked: the two 'views' are two different pictures", "source": "HobbitLong/SupContrast#80, #11"},
    "eval_left_on": {"stages": "N E", "kind": "validate() switches to eval and fit() never back to train: batch norm keeps its first statistics, dropout is off", "source": "fartashf/vsepp#4; HuiZeng/Grid-Anchor-based-Image-Cropping-Pytorch#2"},
}
HEALTHY = ["healthy", "imbalanced", "frozen_backbone", "grad_accum", "unlabelled_simclr", "cosine_warmup"]


class TwoCropFolder(Dataset):
    """A folder of 000123.npy pictures beside a folder of 000123.txt labels."""

    def __init__(self, root, train=True, sort_labels=True):
        names = sorted(os.listdir(os.path.join(root, "images")))
        label_names = os.listdir(os.path.join(root, "labels"))
        if sort_labels:
            label_names = sorted(label_names)
        self.images = [np.load(os.path.join(root, "images", n)) for n in names]
        self.labels = [int(open(os.path.join(root, "labels", n)).read()) for n in label_names]
        self.train = train

    def augment(self, x):
        offset = 1.2 * torch.randn(3, 1, 1)
        ramp = 1.2 * torch.randn(()) * torch.linspace(-1, 1, x.shape[-1])
        return x + offset + ramp + 0.3 * torch.randn_like(x)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        x = torch.from_numpy(self.images[i])
        if self.train:
            return [self.augment(x), self.augment(x)], self.labels[i]
        return x, self.labels[i]


class SupConNet(nn.Module):
    def __init__(self, feat_dim=32):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1))
        self.head = nn.Sequential(nn.Linear(24 * 16, 64), nn.ReLU(inplace=True), nn.Linear(64, feat_dim))

    def forward(self, x):
        return F.normalize(self.head(self.encoder(x)), dim=1)


class SupConLoss(nn.Module):
    """features: [bsz, n_views, dim]; labels: [bsz] or None for SimCLR."""

    def __init__(self, temperature=0.1):
        super().__init__()
        self.temperature = temperature

    def forward(self, features, labels=None):
        bsz, n_views, _ = features.shape
        if labels is None:
            mask = torch.eye(bsz)
        else:
            mask = torch.eq(labels.view(-1, 1), labels.view(1, -1)).float()
        contrast = torch.cat(torch.unbind(features, dim=1), dim=0)
        logits = contrast @ contrast.T / self.temperature
        logits = logits - logits.max(dim=1, keepdim=True).values.detach()
        not_self = 1 - torch.eye(bsz * n_views)
        mask = mask.repeat(n_views, n_views) * not_self
        log_prob = logits - torch.log((torch.exp(logits) * not_self).sum(1, keepdim=True))
        return -((mask * log_prob).sum(1) / mask.sum(1)).mean()


class Trainer:
    def __init__(self, args, model, train_loader, valid_loaders):
        self.args = args
        self.model = model
        self.train_loader = train_loader
        self.valid_loaders = valid_loaders
        self.criterion = SupConLoss()
        if args.fault == "frozen_backbone":   # only the head is trained here, on purpose
            for p in model.encoder.parameters():
                p.requires_grad = False
        params = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=1e-4)
        self.scheduler = None
        if args.fault == "cosine_warmup":
            warm = torch.optim.lr_scheduler.LinearLR(self.optimizer, 0.01, 1.0, total_iters=10)
            cos = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, max(args.steps - 10, 1))
            self.scheduler = torch.optim.lr_scheduler.SequentialLR(self.optimizer, [warm, cos], [10])
        self.accumulate = 2 if args.fault == "grad_accum" else 1

    def compute_loss(self, images, labels):
        bsz = labels.shape[0]
        images = torch.cat([images[0], images[1]], dim=0)
        features = self.model(images)
        if self.args.fault == "views_reshaped":
            features = features.view(bsz, 2, -1)
        else:
            f1, f2 = torch.split(features, [bsz, bsz], dim=0)
            features = torch.cat([f1.unsqueeze(1), f2.unsqueeze(1)], dim=1)
        return self.criterion(features, None if self.args.fault == "unlabelled_simclr" else labels)

    def fit(self, steps):
        history, micro = [], 0
        print(f"valid kNN before training: {self.validate():.3f}")
        while len(history) < steps:
            if self.args.fault != "eval_left_on":
                self.model.train()
                if self.args.fault == "frozen_backbone":
                    self.model.encoder.eval()
            for images, labels in self.train_loader:
                loss = self.compute_loss(images, labels)
                (loss / self.accumulate).backward()
                micro += 1
                if micro % self.accumulate == 0:
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                    if self.scheduler is not None:
                        self.scheduler.step()
                    history.append(loss.item())
                if len(history) >= steps:
                    break
            print(f"step {len(history)} loss {np.mean(history[-10:]):.4f} valid kNN {self.validate():.3f}")
        return history

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        parts = []
        for loader in self.valid_loaders:
            z, y = zip(*[(self.model(x), y) for x, y in loader])
            parts += [torch.cat(z).numpy(), torch.cat(y).numpy()]
        return knn_accuracy(*parts)


def write_folder(root, images, labels):
    os.makedirs(os.path.join(root, "images"))
    os.makedirs(os.path.join(root, "labels"))
    for i in np.random.default_rng(5).permutation(len(images)):   # files arrive in the order of the download
        np.save(os.path.join(root, "images", f"{i:06d}.npy"), images[i])
        with open(os.path.join(root, "labels", f"{i:06d}.txt"), "w") as f:
            f.write(str(labels[i]))


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    counts = [250, 120, 80, 60, 50, 40, 30, 25] if args.fault == "imbalanced" else None
    root = tempfile.mkdtemp(prefix="supcon_")
    try:
        write_folder(os.path.join(root, "train"), *make_images(640, seed=args.seed, counts=counts))
        write_folder(os.path.join(root, "valid"), *make_images(240, seed=args.seed + 1))
        in_order = args.fault != "labels_listdir_order"
        train_set = TwoCropFolder(os.path.join(root, "train"), True, in_order)
        gallery = TwoCropFolder(os.path.join(root, "train"), False, in_order)
        valid_set = TwoCropFolder(os.path.join(root, "valid"), False, in_order)
    finally:
        shutil.rmtree(root)
    train_loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=True)
    valid_loaders = [DataLoader(gallery, batch_size=128), DataLoader(valid_set, batch_size=128)]
    trainer = Trainer(args, SupConNet(), train_loader, valid_loaders)
    history = trainer.fit(args.steps)
    k = max(1, len(history) // 6)
    print(f"loss {np.mean(history[:k]):.4f} -> {np.mean(history[-k:]):.4f}")


if __name__ == "__main__":
    main()

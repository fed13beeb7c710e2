"""SimSiam in the style of the examples in the documentation of lightly (plain PyTorch), with its sister losses."""
import argparse
import copy
import math
import os
import tempfile

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from synthetic2 import gratings, knn_accuracy, set_seed

FAULTS = {
    "target_not_detached": {"stages": "N P O", "source": "github.com/PatrickHua/SimSiam/issues/39 and lightly-ai/lightly/issues/559 (no stop-gradient)"},
    "same_view_twice": {"stages": "D M B", "source": "github.com/Project-MONAI/tutorials/pull/468 (one call of the augmentation serves both views)"},
    "nested_checkpoint": {"stages": "C N", "source": "github.com/pytorch/examples/issues/1029, pytorch/pytorch/issues/141256 (strict=False loads nothing)"},
}
HEALTHY = ["healthy", "byol", "vicreg", "barlow_twins", "bf16", "warmup_cosine"]


# ---- data ---------------------------------------------------------------------------------------------------------
class RandomCropJitter:
    def __init__(self, size=16, pad=3, flip=True):
        self.size, self.pad, self.flip = size, pad, flip

    def __call__(self, image):
        big = F.pad(image[None], (self.pad,) * 4, mode="reflect")[0]
        top, left = torch.randint(0, 2 * self.pad + 1, (2,)).tolist()
        out = big[:, top:top + self.size, left:left + self.size]
        gain = 1 + 0.5 * (torch.rand(3, 1, 1) - 0.5)
        sign = torch.where(torch.rand(3, 1, 1) < 0.3, -1.0, 1.0)
        out = (out - 0.5) * gain * sign + 0.5
        return out + 0.1 * torch.randn_like(out)


class MultiViewTransform:
    """Gives one view of the picture for every transform."""

    def __init__(self, transforms, args):
        self.transforms, self.args = transforms, args

    def __call__(self, image):
        if self.args.fault == "same_view_twice":
            view = self.transforms[0](image)
            return [view for _ in self.transforms]
        return [transform(image) for transform in self.transforms]


class LightlyDataset(torch.utils.data.Dataset):
    def __init__(self, images, targets, transform=None):
        self.images, self.targets, self.transform = torch.as_tensor(images), targets, transform
        self.filenames = [f"img_{i:05d}.png" for i in range(len(targets))]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = self.images[index]
        if self.transform is not None:
            image = self.transform(image)
        return image, int(self.targets[index]), self.filenames[index]


# ---- modules ------------------------------------------------------------------------------------------------------
def make_backbone():
    def block(i, o):
        return [nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
                         *block(16, 32), *block(32, 64), nn.AdaptiveAvgPool2d(1))


class ProjectionHead(nn.Module):
    def __init__(self, *dims, last_norm=True):
        super().__init__()
        layers = []
        for n, (i, o) in enumerate(zip(dims[:-1], dims[1:])):
            last = n == len(dims) - 2
            layers.append(nn.Linear(i, o, bias=last and not last_norm))
            if not last:
                layers += [nn.BatchNorm1d(o), nn.ReLU(inplace=True)]
            elif last_norm:
                layers.append(nn.BatchNorm1d(o, affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class NegativeCosineSimilarity(nn.Module):
    def forward(self, x0, x1):
        return -F.cosine_similarity(x0, x1, dim=1).mean()


class VICRegLoss(nn.Module):
    def forward(self, a, b):
        inv = F.mse_loss(a, b)
        std = sum(F.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean() for z in (a, b)) / 2
        cov = 0.0
        for z in (a, b):
            z = z - z.mean(dim=0)
            c = z.T @ z / (len(z) - 1)
            cov = cov + (c - torch.diag(torch.diag(c))).pow(2).sum() / z.shape[1]
        return 25 * inv + 25 * std + cov


class BarlowTwinsLoss(nn.Module):
    def forward(self, a, b, lambd=5e-3):
        a, b = (a - a.mean(0)) / a.std(0), (b - b.mean(0)) / b.std(0)
        c = a.T @ b / len(a)
        on = (torch.diag(c) - 1).pow(2).sum()
        return on + lambd * (c - torch.diag(torch.diag(c))).pow(2).sum()


class SimSiam(nn.Module):
    def __init__(self, backbone, args):
        super().__init__()
        self.args = args
        self.backbone = backbone
        self.projection_head = ProjectionHead(64, 128, 64)
        self.prediction_head = ProjectionHead(64, 32, 64, last_norm=False)

    def forward(self, x):
        f = self.backbone(x).flatten(start_dim=1)
        z = self.projection_head(f)
        p = self.prediction_head(z)
        if self.args.fault != "target_not_detached":
            z = z.detach()
        return z, p


class BYOL(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projection_head = ProjectionHead(64, 128, 64, last_norm=False)
        self.prediction_head = ProjectionHead(64, 128, 64, last_norm=False)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        for p in [*self.backbone_momentum.parameters(), *self.projection_head_momentum.parameters()]:
            p.requires_grad = False

    def forward(self, x):
        return self.prediction_head(self.projection_head(self.backbone(x).flatten(start_dim=1)))

    @torch.no_grad()
    def forward_momentum(self, x):
        return self.projection_head_momentum(self.backbone_momentum(x).flatten(start_dim=1))


@torch.no_grad()
def update_momentum(model, model_ema, m):
    for ema, p in zip(model_ema.parameters(), model.parameters()):
        ema.data = ema.data * m + p.data * (1.0 - m)


class Twin(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.projection_head = ProjectionHead(64, 128, 64, last_norm=False)

    def forward(self, x):
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


@torch.no_grad()
def embed(backbone, loader):
    backbone.eval()
    zs, ys = [], []
    for images, targets, _ in loader:
        zs.append(backbone(images).flatten(start_dim=1))
        ys.append(targets)
    backbone.train()
    return torch.cat(zs), torch.cat(ys)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=110)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=48)
    args = parser.parse_args()
    set_seed(args.seed)

    images, targets = gratings(960, seed=args.seed)
    transform = MultiViewTransform([RandomCropJitter(), RandomCropJitter()], args)
    dataset = LightlyDataset(images[:640], targets[:640], transform)
    dataloader = torch.utils.data.DataLoader(dataset, batch_size=args.batch_size, shuffle=True, drop_last=True)
    bank = torch.utils.data.DataLoader(LightlyDataset(images[:640], targets[:640]), batch_size=128)
    test = torch.utils.data.DataLoader(LightlyDataset(images[640:], targets[640:]), batch_size=128)

    backbone = make_backbone()
    if args.fault == "byol":
        model = BYOL(backbone)
    elif args.fault in ("vicreg", "barlow_twins"):
        model = Twin(backbone)
    else:
        model = SimSiam(backbone, args)
    criterion = {"vicreg": VICRegLoss, "barlow_twins": BarlowTwinsLoss}.get(args.fault, NegativeCosineSimilarity)()
    params = [p for p in model.parameters() if p.requires_grad]
    if args.fault in ("byol", "vicreg", "barlow_twins"):
        optimizer = torch.optim.AdamW(params, lr=2e-3, weight_decay=1e-4)
    else:
        optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = None
    if args.fault == "warmup_cosine":
        warm = 20
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda s: s / warm if s < warm else 0.5 * (1 + math.cos(math.pi * (s - warm) / max(1, args.steps - warm))))

    z0, y0 = embed(backbone, bank)
    z1, y1 = embed(backbone, test)
    print(f"kNN before training {knn_accuracy(z0, y0, z1, y1):.3f}")

    step, epoch = 0, 0
    while step < args.steps:
        total = 0.0
        count = 0
        for (x0, x1), _, _ in dataloader:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.fault == "bf16"):
                if args.fault == "byol":
                    m = 1 - 0.04 * (math.cos(math.pi * step / args.steps) + 1) / 2
                    update_momentum(model.backbone, model.backbone_momentum, m)
                    update_momentum(model.projection_head, model.projection_head_momentum, m)
                    p0, p1 = model(x0), model(x1)
                    z0, z1 = model.forward_momentum(x0), model.forward_momentum(x1)
                    loss = 0.5 * (criterion(p0, z1) + criterion(p1, z0))
                elif args.fault in ("vicreg", "barlow_twins"):
                    loss = criterion(model(x0), model(x1))
                else:
                    z0, p0 = model(x0)
                    z1, p1 = model(x1)
                    loss = 0.5 * (criterion(z0, p1) + criterion(z1, p0))
            total += loss.detach().item()
            count += 1
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if scheduler is not None:
                scheduler.step()
            step += 1
            if step >= args.steps:
                break
        print(f"epoch: {epoch:02}, loss: {total / count:.5f}")
        epoch += 1

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pretrained.pth")
        torch.save({"backbone": model.backbone.state_dict(), "epoch": epoch}, path)

        pretrained = make_backbone()
        ckpt = torch.load(path)
        if args.fault == "nested_checkpoint":
            pretrained.load_state_dict(ckpt, strict=False)
        else:
            pretrained.load_state_dict(ckpt["backbone"])
    z0, y0 = embed(pretrained, bank)
    z1, y1 = embed(pretrained, test)
    z = F.normalize(z1, dim=1)
    print(f"std of the normalised features {z.std(0).mean():.4f} (even: {1 / math.sqrt(z.shape[1]):.4f})")
    print(f"kNN after training {knn_accuracy(z0, y0, z1, y1):.3f}")


if __name__ == "__main__":
    main()

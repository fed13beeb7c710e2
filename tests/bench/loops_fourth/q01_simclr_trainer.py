"""SimCLR on small colour images, written after the trainer class of https://github.com/sthalles/SimCLR (simclr.py, run.py).

Threads the variants are modelled on:
  https://github.com/Project-MONAI/tutorials/pull/468   two views from one augmentation call
  https://github.com/user0407/CLUDA/issues/6            order of features and order of labels do not match
  https://github.com/leftthomas/SRGAN/issues/94         scheduler stepped in the batch loop
Usage: python q01_simclr_trainer.py VARIANT
"""
import sys
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from sklearn.neighbors import KNeighborsClassifier

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
torch.manual_seed(0)
np.random.seed(0)


def make_images(n, classes=6, seed=0):
    shapes = np.random.default_rng(99).normal(size=(classes, 1, 6, 6))
    g = np.random.default_rng(seed)
    y = g.permutation(np.arange(n) % classes)
    x = g.normal(size=(n, 3, 16, 16)) * 0.35
    for i in range(n):
        r, c = g.integers(0, 11, 2)
        tint = g.uniform(0.5, 1.5, size=(3, 1, 1))
        x[i, :, r:r + 6, c:c + 6] += 1.6 * tint * shapes[y[i]]
        x[i] += g.normal(size=(3, 1, 1)) * 0.6
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


class SimCLRAugment:
    def __call__(self, img):
        img = torch.roll(img, tuple(np.random.randint(-5, 6, 2).tolist()), (1, 2))
        img = img * (1 + 0.3 * torch.randn(3, 1, 1)) + 0.6 * torch.randn(3, 1, 1)
        return img + 0.15 * torch.randn_like(img)


class ContrastiveLearningViewGenerator:
    def __init__(self, base_transform, n_views=2):
        self.base_transform, self.n_views = base_transform, n_views

    def __call__(self, x):
        if VARIANT == "one_call_for_both_views":
            view = self.base_transform(x)
            return [view for _ in range(self.n_views)]
        if VARIANT == "weak_and_strong":
            weak = torch.roll(x, tuple(np.random.randint(-5, 6, 2).tolist()), (1, 2)) + 0.5 * torch.randn(3, 1, 1)
            return [weak, self.base_transform(x)]
        return [self.base_transform(x) for _ in range(self.n_views)]


class ImageSet(Dataset):
    def __init__(self, x, y, transform): self.x, self.y, self.transform = x, y, transform
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        views = self.transform(self.x[i])
        return (views, -1) if VARIANT == "unlabeled" else (views, self.y[i])


class ResNetSimCLR(nn.Module):
    def __init__(self, out_dim=32):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.backbone = nn.Sequential(nn.Conv2d(24, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.fc = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, out_dim))
    def features(self, x): return self.backbone(self.stem(x))
    def forward(self, x): return self.fc(self.features(x))


class SimCLR:
    def __init__(self, model, optimizer, scheduler, temperature=0.2, epochs=9):
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.temperature, self.epochs = temperature, epochs
        self.criterion = nn.CrossEntropyLoss()

    def info_nce_loss(self, features, n_views=2):
        b = features.shape[0] // n_views
        labels = torch.cat([torch.arange(b) for _ in range(n_views)], dim=0)
        labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
        features = F.normalize(features, dim=1)
        similarity = features @ features.T
        mask = torch.eye(labels.shape[0], dtype=torch.bool)
        labels = labels[~mask].view(labels.shape[0], -1)
        similarity = similarity[~mask].view(similarity.shape[0], -1)
        positives = similarity[labels.bool()].view(labels.shape[0], -1)
        negatives = similarity[~labels.bool()].view(similarity.shape[0], -1)
        logits = torch.cat([positives, negatives], dim=1) / self.temperature
        return logits, torch.zeros(logits.shape[0], dtype=torch.long)

    def train(self, loader):
        for epoch in range(self.epochs):
            total = 0.0
            for images, _ in loader:
                if VARIANT == "stack_then_flatten":
                    images = torch.stack(images, dim=1).flatten(0, 1)
                else:
                    images = torch.cat(images, dim=0)
                features = self.model(images)
                logits, labels = self.info_nce_loss(features)
                loss = self.criterion(logits, labels)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                if VARIANT in ("step_in_batch_loop", "linear_warmup"):
                    self.scheduler.step()
                total += loss.item()
            if VARIANT not in ("step_in_batch_loop", "linear_warmup"):
                self.scheduler.step()
            print(f"epoch {epoch} loss {total / len(loader):.4f} lr {self.scheduler.get_last_lr()[0]:.2e}")


def knn(model, train, test):
    model.eval()
    with torch.no_grad():
        a, b = F.normalize(model.features(train[0]), dim=1), F.normalize(model.features(test[0]), dim=1)
    return KNeighborsClassifier(5).fit(a.numpy(), train[1].numpy()).score(b.numpy(), test[1].numpy())


def main():
    train, test = make_images(384, seed=1), make_images(180, seed=2)
    dataset = ImageSet(*train, ContrastiveLearningViewGenerator(SimCLRAugment()))
    loader = DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True)
    model = ResNetSimCLR()
    if VARIANT == "frozen_stem":
        for p in model.stem.parameters(): p.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=1e-4)
    if VARIANT == "linear_warmup":
        steps = 9 * len(loader)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: min(t / 12, 1.0) * max(0.05, 1 - t / steps))
    else:
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.3)
    before = knn(model, train, test)
    model.train()
    SimCLR(model, optimizer, scheduler).train(loader)
    print(f"kNN before {before:.3f} after {knn(model, train, test):.3f}")


if __name__ == "__main__":
    main()


FAULTS = {'one_call_for_both_views': {'stages': 'D M B',
                             'source': 'https://github.com/Project-MONAI/tutorials/pull/468'},
 'stack_then_flatten': {'stages': 'B M P L',
                        'source': 'https://github.com/user0407/CLUDA/issues/6'},
 'step_in_batch_loop': {'stages': 'O',
                        'source': 'https://github.com/leftthomas/SRGAN/issues/94'}}
HEALTHY = ['healthy', 'linear_warmup', 'frozen_stem', 'unlabeled', 'weak_and_strong']

"""SimCLR in plain PyTorch, two views of every picture, NT-Xent.

Modelled on the layout of sthalles/SimCLR (run.py, simclr.py: a SimCLR class that holds model, optimiser and scheduler,
`info_nce_loss`, a view generator in the dataset). Own code.

    python q01_simclr.py --fault healthy --steps 100
"""
import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from synthetic import knn_accuracy, make_images

FAULTS = {
    "normalize_over_batch": {"stages": "P", "kind": "the projections are normalised over the batch (dim=0) instead of over the features", "source": "facebookresearch/vissl#111; HobbitLong/SupContrast#10"},
    "scheduler_step_per_batch": {"stages": "O", "kind": "a scheduler meant for epochs is stepped after every batch, the rate is gone within the first epoch", "source": "ivadomed/ivadomed#55; sthalles/SimCLR#8"},
    "worker_rng_copied": {"stages": "B D M", "kind": "the dataset owns one numpy generator that every forked worker copies: the same augmentation draws in each worker and again in each epoch", "source": "pytorch/pytorch#5059; facebookresearch/fairseq#1383"},
}
HEALTHY = ["healthy", "warmup", "sgd_momentum", "bf16", "drop_last_false"]


class ContrastiveLearningViewGenerator:
    """Two random crops of lighting and noise of one picture."""

    def __init__(self, n_views=2, strength=1.2):
        self.n_views = n_views
        self.strength = strength

    def one_view(self, x, rng):
        offset = self.strength * rng.normal(size=(3, 1, 1))
        ramp = self.strength * rng.normal() * np.linspace(-1, 1, x.shape[-1])
        view = x * (1 + 0.1 * rng.normal()) + offset + ramp + 0.3 * rng.normal(size=x.shape)
        return torch.from_numpy(view.astype("float32"))

    def __call__(self, x, rng):
        return [self.one_view(x, rng) for _ in range(self.n_views)]


class PictureDataset(Dataset):
    def __init__(self, pictures, labels, transform, rng):
        self.pictures = pictures
        self.labels = labels
        self.transform = transform
        self.rng = rng

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.transform(self.pictures[index], self.rng), int(self.labels[index])


class ConvSimCLR(nn.Module):
    def __init__(self, out_dim=32):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 16, 64))
        self.mlp = nn.Sequential(nn.ReLU(), nn.Linear(64, out_dim))

    def forward(self, x):
        return self.mlp(self.backbone(x))


class SimCLR:
    def __init__(self, args, model, optimizer, scheduler, scheduler_every):
        self.args = args
        self.model = model
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_every = scheduler_every
        self.criterion = nn.CrossEntropyLoss()

    def info_nce_loss(self, features):
        n = features.shape[0] // self.args.n_views
        labels = torch.cat([torch.arange(n) for _ in range(self.args.n_views)], dim=0)
        labels = (labels.unsqueeze(0) == labels.unsqueeze(1)).float()
        if self.args.fault == "normalize_over_batch":
            features = F.normalize(features, dim=0)
        else:
            features = F.normalize(features, dim=1)
        similarity_matrix = torch.matmul(features, features.T)
        # discard the main diagonal from both: labels and similarities matrix
        mask = torch.eye(labels.shape[0], dtype=torch.bool)
        labels = labels[~mask].view(labels.shape[0], -1)
        similarity_matrix = similarity_matrix[~mask].view(similarity_matrix.shape[0], -1)
        positives = similarity_matrix[labels.bool()].view(labels.shape[0], -1)
        negatives = similarity_matrix[~labels.bool()].view(similarity_matrix.shape[0], -1)
        logits = torch.cat([positives, negatives], dim=1)
        target = torch.zeros(logits.shape[0], dtype=torch.long)
        return logits / self.args.temperature, target

    def train(self, train_loader):
        step, epoch, losses = 0, 0, []
        while step < self.args.steps:
            self.model.train()
            for images, _ in train_loader:
                images = torch.cat(images, dim=0)
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.args.fault == "bf16"):
                    features = self.model(images)
                    logits, target = self.info_nce_loss(features)
                    loss = self.criterion(logits, target)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                if self.scheduler_every == "batch":
                    self.scheduler.step()
                losses.append(loss.item())
                step += 1
                if step >= self.args.steps:
                    break
            if self.scheduler_every == "epoch":
                self.scheduler.step()
            print(f"Epoch: {epoch}\tLoss: {np.mean(losses[-10:]):.4f}\tlr: {self.optimizer.param_groups[0]['lr']:.2e}")
            epoch += 1
        return losses


@torch.no_grad()
def extract(model, x):
    model.eval()
    return model.backbone(torch.from_numpy(x)).numpy()


def main(argv=None):
    parser = argparse.ArgumentParser(description="SimCLR on made-up pictures")
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--n-views", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.2)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)

    train_x, train_y = make_images(650, seed=args.seed)
    test_x, test_y = make_images(240, seed=args.seed + 1)
    # numpy's global state is seeded anew in each worker by the DataLoader; a generator of one's own is not
    rng = np.random.default_rng(args.seed) if args.fault == "worker_rng_copied" else np.random
    dataset = PictureDataset(train_x, train_y, ContrastiveLearningViewGenerator(args.n_views), rng)
    loader = DataLoader(dataset, batch_size=args.batch_size, shuffle=True, num_workers=2, drop_last=args.fault != "drop_last_false")

    model = ConvSimCLR()
    if args.fault == "sgd_momentum":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    else:
        optimizer = torch.optim.Adam(model.parameters(), 2e-3, weight_decay=1e-4)
    if args.fault == "warmup":
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, s / 15))
        every = "batch"
    else:
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.3)
        every = "batch" if args.fault == "scheduler_step_per_batch" else "epoch"

    before = knn_accuracy(extract(model, train_x), train_y, extract(model, test_x), test_y)
    losses = SimCLR(args, model, optimizer, scheduler, every).train(loader)
    after = knn_accuracy(extract(model, train_x), train_y, extract(model, test_x), test_y)
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, kNN {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()

# Facial similarity with a siamese network - a notebook run from top to bottom, in the manner of
# harveyslash/Facial-Similarity-with-Siamese-Networks-in-Pytorch and keras.io's siamese_contrastive.
import argparse
import os
import random
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "distance_as_probability": {
        "stages": "E",
        "source": "github.com/keras-team/keras/issues/1866, 7119 (accuracy of a distance against labels of the other sense)",
    },
    "parameters_without_buffers": {
        "stages": "C N",
        "source": "github.com/torch/nn/issues/1165 (running mean and variance are not parameters and were not saved), NVIDIA/DIGITS/issues/496",
    },
    "sigmoid_below_margin": {
        "stages": "P N",
        "source": "github.com/keras-team/keras-io/pull/2261 (the sigmoid keeps the output under the margin)",
    },
}
HEALTHY = [
    "healthy",
    "mostly_different",
    "frozen_first_layer",
    "fixed_pairs",
    "two_modules",
    "keep_last_batch",
]

parser = argparse.ArgumentParser()
parser.add_argument("--fault", default="healthy")
parser.add_argument("--steps", type=int, default=360)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
random.seed(args.seed)
torch.manual_seed(args.seed)


class Config:
    train_batch_size = 64
    margin = 2.0
    lr = 1e-3


# %% the pictures: faces/sNN, ten of each person
rng = np.random.default_rng(args.seed)
basis = np.random.default_rng(8).normal(0, 1, (12, 144))
light = np.random.default_rng(9).normal(0, 1, (6, 144))


def photos(n):
    latent = rng.normal(0, 1, 12) + rng.normal(0, 0.45, (n, 12))
    x = np.tanh(latent @ basis / 4 + rng.normal(0, 1.0, (n, 6)) @ light / 4)
    return torch.from_numpy((x * 60 + 120).reshape(n, 1, 12, 12).astype(np.float32)) / 255


faces_train = [photos(10) for _ in range(60)]
faces_test = [photos(10) for _ in range(25)]


class SiameseNetworkDataset(Dataset):
    """Pairs drawn at each access; the label is 1 for two DIFFERENT persons, 0 for the same."""

    def __init__(self, faces, length, seed, same_share=0.5, fixed=False):
        self.faces, self.length, self.same_share, self.fixed = faces, length, same_share, fixed
        self.random, self.seed = random.Random(seed), seed

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        r = random.Random(self.seed * 1_000_003 + index) if self.fixed else self.random
        person = r.randrange(len(self.faces))
        i, j = r.sample(range(10), 2)
        other = person
        if r.random() >= self.same_share:
            while other == person:
                other = r.randrange(len(self.faces))
        label = torch.tensor([float(other != person)])
        return self.faces[person][i], self.faces[other][j], label


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn1 = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(16),
        )
        self.fc1 = nn.Sequential(
            nn.Linear(16 * 36, 128), nn.ReLU(inplace=True), nn.BatchNorm1d(128), nn.Linear(128, 16)
        )

    def forward_once(self, x):
        return self.fc1(self.cnn1(x).flatten(1))

    def forward(self, input1, input2):
        return self.forward_once(input1), self.forward_once(input2)


class ContrastiveLoss(nn.Module):
    def __init__(self, margin=2.0):
        super().__init__()
        self.margin = margin

    def distance(self, output1, output2):
        d = F.pairwise_distance(output1, output2, keepdim=True)
        if args.fault == "sigmoid_below_margin":
            d = torch.sigmoid(d)
        return d

    def forward(self, output1, output2, label):
        d = self.distance(output1, output2)
        same = (1 - label) * d.pow(2)
        different = label * torch.clamp(self.margin - d, min=0.0).pow(2)
        return torch.mean(same + different)


# %% training
share = 0.1 if args.fault == "mostly_different" else 0.5
length = 64 * 20 + (7 if args.fault == "keep_last_batch" else 0)
siamese_dataset = SiameseNetworkDataset(
    faces_train, length, args.seed, share, fixed=args.fault == "fixed_pairs"
)
train_dataloader = DataLoader(siamese_dataset, shuffle=True, batch_size=Config.train_batch_size)
test_dataloader = DataLoader(SiameseNetworkDataset(faces_test, 800, 99, fixed=True), batch_size=100)

net = SiameseNetwork()
criterion = ContrastiveLoss(Config.margin)
if args.fault == "frozen_first_layer":
    for p in net.cnn1[0].parameters():
        p.requires_grad = False
if args.fault == "two_modules":  # the head has an optimiser of its own
    optimizers = [
        optim.Adam(net.cnn1.parameters(), lr=3e-4),
        optim.Adam(net.fc1.parameters(), lr=Config.lr),
    ]
else:
    optimizers = [optim.Adam([p for p in net.parameters() if p.requires_grad], lr=Config.lr)]


def evaluate(net):
    net.eval()
    distances, labels, total = [], [], 0.0
    with torch.no_grad():
        for img0, img1, label in test_dataloader:
            output1, output2 = net(img0, img1)
            total += criterion(output1, output2, label).item()
            distances.append(criterion.distance(output1, output2))
            labels.append(label)
    net.train()
    d, y = torch.cat(distances), torch.cat(labels)
    threshold = Config.margin / 2
    if args.fault == "distance_as_probability":
        prediction = (d < threshold).float()
    else:
        prediction = (d > threshold).float()
    return (
        total / len(test_dataloader),
        (prediction == y).float().mean().item(),
        d[y == 0].mean(),
        d[y == 1].mean(),
    )


report = "test loss {:.4f}, accuracy {:.3f}, distance of the same {:.3f}, of different {:.3f}"
print("before:", report.format(*evaluate(net)))
counter, loss_history, iteration_number, epoch = [], [], 0, 0
while iteration_number < args.steps:
    for img0, img1, label in train_dataloader:
        if iteration_number == args.steps:
            break
        for optimizer in optimizers:
            optimizer.zero_grad()
        output1, output2 = net(img0, img1)
        loss_contrastive = criterion(output1, output2, label)
        loss_contrastive.backward()
        for optimizer in optimizers:
            optimizer.step()
        iteration_number += 1
        counter.append(iteration_number)
        loss_history.append(loss_contrastive.item())
    epoch += 1
    if epoch % 3 == 0:
        print(f"Epoch number {epoch}\n Current loss {np.mean(loss_history[-20:]):.4f}")
print(f"loss {np.mean(loss_history[:5]):.3f} -> {np.mean(loss_history[-20:]):.3f}")
print("trained:", report.format(*evaluate(net)))

# %% save, and load for the demonstration
path = os.path.join(tempfile.mkdtemp(), "siamese.pt")
if args.fault == "parameters_without_buffers":
    torch.save({name: p.data for name, p in net.named_parameters()}, path)
else:
    torch.save(net.state_dict(), path)
demo = SiameseNetwork()
demo.load_state_dict(torch.load(path), strict=False)
print("loaded:", report.format(*evaluate(demo)))

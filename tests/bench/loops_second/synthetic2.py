"""Small synthetic pictures and a nearest-neighbour score, shared by some of the scripts."""
import random

import numpy as np
import torch


def set_seed(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def gratings(n, classes=8, size=16, channels=3, seed=0, noise=0.08, labels=None):
    """Stripes: the class is direction and width, everything else (phase, colour, light) is by chance."""
    rng = np.random.RandomState(seed)
    y = rng.randint(0, classes, n) if labels is None else np.asarray(labels)
    yy, xx = np.mgrid[0:size, 0:size] / size
    x = np.empty((n, channels, size, size), np.float32)
    for i in range(n):
        angle = np.pi * (y[i] // 2) / max(1, classes // 2) + rng.normal(0, 0.08)
        freq = (2.0, 4.0)[y[i] % 2] * rng.uniform(0.9, 1.1)
        wave = np.sin(2 * np.pi * freq * (xx * np.cos(angle) + yy * np.sin(angle)) + rng.uniform(0, 2 * np.pi))
        light = rng.uniform(-0.25, 0.25) * xx + rng.uniform(-0.25, 0.25) * yy
        colour = rng.uniform(0.15, 0.4, channels) * rng.choice([-1, 1], channels)
        x[i] = 0.5 + light + colour[:, None, None] * wave
    x += rng.normal(0, noise, x.shape)
    return np.clip(x, 0, 1).astype(np.float32), y.astype(np.int64)


def knn_accuracy(train_z, train_y, test_z, test_y, k=5):
    train_z = torch.nn.functional.normalize(torch.as_tensor(train_z).float(), dim=1)
    test_z = torch.nn.functional.normalize(torch.as_tensor(test_z).float(), dim=1)
    near = (test_z @ train_z.T).topk(k, dim=1).indices
    votes = torch.as_tensor(train_y)[near]
    return (votes.mode(dim=1).values == torch.as_tensor(test_y)).float().mean().item()

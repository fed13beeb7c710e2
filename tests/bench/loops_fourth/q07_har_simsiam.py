"""Self-supervised features of wrist sensors (SimSiam on windows), k-NN over activities. numpy windows, manual indexing.
After https://github.com/Tian0426/CL-HAR (main.py, frameworks.py) and https://github.com/PatrickHua/SimSiam.

Threads the variants are modelled on:
  https://github.com/zamanzadeh/CARLA/issues/16                        view/reshape where the axes should be transposed
  https://github.com/PatrickHua/SimSiam/issues/39                      "There should be a stop gradient in the simsiam model"
  https://github.com/tongdaxu/EEG_Emotion_Classifier_DEAP/issues/1     overlapping windows first, train/test division afterwards
Usage: python q07_har_simsiam.py VARIANT
"""
import copy, sys
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
ACTIVITIES = ["walk", "run", "stairs", "type", "clean"]
LENGTH, STRIDE = 64, 16


def recording(subject, activity, samples=448):
    """(samples, 6): accelerometer and gyroscope at 50 Hz of one person doing one thing."""
    fixed = np.random.default_rng(50 + activity)
    person = np.random.default_rng(900 + 13 * subject)
    g = np.random.default_rng(10000 + 37 * subject + activity)
    gains, lags = fixed.uniform(0.3, 1.2, (3, 6)), fixed.uniform(0, 6.28, (3, 6))
    rate = [1.7, 2.6, 1.4, 3.6, 0.9][activity] * person.uniform(0.84, 1.2)
    offset, rotation = person.normal(size=6) * 0.9, np.eye(6) + 0.25 * person.normal(size=(6, 6))
    t = np.arange(samples) / 50
    clock = 2 * np.pi * rate * t + 0.25 * np.cumsum(g.normal(size=samples)) / 7
    x = sum(gains[h] * np.sin((h + 1) * clock[:, None] + lags[h]) for h in range(3))
    return x @ rotation + offset + 0.3 * g.normal(size=(samples, 6))


def windows():
    xs, ys, subjects = [], [], []
    for s in range(10):
        for a in range(len(ACTIVITIES)):
            r = recording(s, a)
            for start in range(0, len(r) - LENGTH + 1, STRIDE):
                xs.append(r[start:start + LENGTH]); ys.append(a); subjects.append(s)
    x = np.asarray(xs, dtype=np.float32)
    x = (x - x.mean((0, 1))) / x.std((0, 1))
    if VARIANT == "reshape_to_channels_first":
        x = x.reshape(len(x), 6, LENGTH)
    else:
        x = x.transpose(0, 2, 1).copy()
    return torch.from_numpy(x), np.asarray(ys), np.asarray(subjects)


def jitter(x):
    x = x * (1 + 0.15 * torch.randn(len(x), 6, 1)) + 0.5 * torch.randn(len(x), 6, 1) + 0.1 * torch.randn_like(x)
    shift = torch.randint(0, LENGTH - 48, (len(x),))
    return torch.stack([row[:, s:s + 48] for row, s in zip(x, shift.tolist())])


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(6, 32, 7, stride=2, padding=3), nn.BatchNorm1d(32), nn.ReLU(),
                                  nn.Conv1d(32, 64, 5, stride=2, padding=2), nn.BatchNorm1d(64), nn.ReLU())

    def forward(self, x):
        h = self.conv(x)
        return torch.cat([h.mean(2), h.amax(2)], dim=1)


def mlp(a, b, c, last_bn):
    layers = [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(), nn.Linear(b, c)]
    return nn.Sequential(*layers, *([nn.BatchNorm1d(c, affine=False)] if last_bn else []))


backbone, projector, predictor = None, None, None


def D(p, z):
    if VARIANT == "both_sides":
        return -F.cosine_similarity(p, z, dim=-1).mean()
    return -F.cosine_similarity(p, z.detach(), dim=-1).mean()


def vicreg(z1, z2):
    loss = 25 * F.mse_loss(z1, z2)
    for z in (z1, z2):
        z = z - z.mean(0)
        cov = z.T @ z / (len(z) - 1)
        loss = loss + 25 * F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean() + (cov - torch.diag(cov.diagonal())).pow(2).sum() / z.shape[1]
    return loss


def order_of(epoch, n, subjects):
    rng = np.random.default_rng(epoch)
    if VARIANT == "one_person_per_batch":
        chunks = [c for s in np.unique(subjects) for c in np.array_split(rng.permutation(np.where(subjects == s)[0]), 2)]
        return [chunks[i] for i in rng.permutation(len(chunks))]
    perm = rng.permutation(n)
    return [perm[i:i + 64] for i in range(0, n - 63, 64)]


def knn(z, y, train, test, k=7):
    z = F.normalize(z - z[train].mean(0), dim=1)
    near = (z[test] @ z[train].T).topk(k, dim=1).indices.numpy()
    votes = y[train][near]
    return float(np.mean([np.bincount(v).argmax() == t for v, t in zip(votes, y[test])]))


def main():
    global backbone, projector, predictor
    torch.manual_seed(4)
    x, y, subjects = windows()
    if VARIANT == "split_windows":
        shuffled = np.random.default_rng(0).permutation(len(x))
        test, train = np.sort(shuffled[:len(x) * 3 // 10]), np.sort(shuffled[len(x) * 3 // 10:])
    else:
        test, train = np.where(subjects >= 7)[0], np.where(subjects < 7)[0]
    backbone = Backbone()
    projector = mlp(128, 128, 64, last_bn=False)
    predictor = mlp(64, 32, 64, last_bn=False)
    student = nn.Sequential(backbone, projector)
    teacher = copy.deepcopy(student).requires_grad_(False)
    params = [{"params": student.parameters()}, {"params": predictor.parameters()}]
    optimizer = torch.optim.SGD(params[:1] if VARIANT == "vicreg" else params, lr=0.01 if VARIANT == "vicreg" else 0.06, momentum=0.9, weight_decay=5e-4)
    xt, st = x[train], subjects[train]
    for epoch in range(15):
        student.train(); predictor.train()
        losses = []
        for idx in order_of(epoch, len(xt), st):
            v1, v2 = jitter(xt[idx]), jitter(xt[idx])
            z1, z2 = student(v1), student(v2)
            if VARIANT == "vicreg":
                loss = vicreg(z1, z2)
            elif VARIANT == "ema_teacher":
                loss = D(predictor(z1), teacher(v2)) / 2 + D(predictor(z2), teacher(v1)) / 2
            else:
                loss = D(predictor(z1), z2) / 2 + D(predictor(z2), z1) / 2
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            if VARIANT == "ema_teacher":
                with torch.no_grad():
                    for a, b in zip(student.parameters(), teacher.parameters()): b.mul_(0.97).add_(a, alpha=0.03)
            losses.append(loss.item())
        if epoch % 5 == 4 or epoch == 0:
            student.eval()
            with torch.no_grad():
                z, e = backbone(x), F.normalize(projector(backbone(x[train])), dim=1)
            print(f"epoch {epoch} loss {np.mean(losses):.4f} std of outputs {e.std(0).mean():.4f} kNN {knn(z, y, train, test):.3f}")


if __name__ == "__main__":
    main()


FAULTS = {'reshape_to_channels_first': {'stages': 'D M',
                               'source': 'https://github.com/zamanzadeh/CARLA/issues/16'},
 'both_sides': {'stages': 'N O P', 'source': 'https://github.com/PatrickHua/SimSiam/issues/39'},
 'split_windows': {'stages': 'S E',
                   'source': 'https://github.com/tongdaxu/EEG_Emotion_Classifier_DEAP/issues/1'}}
HEALTHY = ['healthy', 'vicreg', 'ema_teacher', 'one_person_per_batch']

"""Triplets with online selection and a softmax head, in the manner of davidsandberg/facenet, liorshk/facenet_pytorch and
tbmoon/facenet: triplets drawn anew each epoch, selection among them, Adagrad, verification on pairs with TAR at FAR."""

import argparse
import csv
import os
import tempfile
from collections import defaultdict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "selection_through_numpy": {
        "stages": "N P",
        "source": "github.com/liorshk/facenet_pytorch/issues/6 (selected rows were made from .data.numpy(): no gradient)",
    },
    "semi_hard_below_alpha": {
        "stages": "P",
        "source": "github.com/cmusatyalab/openface/issues/48 (negative distance had to be under alpha itself: never satisfied)",
    },
    "overlap_list_not_found": {
        "stages": "S D",
        "source": "github.com/davidsandberg/facenet/issues/190, 54 (persons of LFW within the training set)",
    },
}
HEALTHY = [
    "healthy",
    "triplet_only",
    "hardest_in_batch",
    "euclidean",
    "one_photo_persons",
    "sgd_steps",
]


# ---- files ----------------------------------------------------------------------------------------------------------
def make_face(mid, count, rng):
    world = np.random.default_rng(3)
    basis, mask = world.normal(0, 1, (14, 144)), world.normal(0, 1, (8, 144))
    who = np.random.default_rng(1000 + mid).normal(0, 1, 14)
    latent = who + rng.normal(0, 0.5, (count, 14))
    image = np.tanh(latent @ basis / 4 + rng.normal(0, 1.4, (count, 8)) @ mask / 4)
    return (image.reshape(count, 12, 12) * 127 + 128).astype(np.uint8)


def write_dataset(root, args):
    """casia/<mid>.npy with all photos of a person, lfw/<mid>.npy, and the list of persons that are in both."""
    rng = np.random.default_rng(args.seed)
    mids = rng.permutation(400)
    casia, lfw = mids[:110], np.concatenate([mids[:35], mids[110:135]])
    for name, people in (("casia", casia), ("lfw", lfw)):
        os.makedirs(os.path.join(root, name))
        for mid in people:
            count = (
                1 if args.fault == "one_photo_persons" and name == "casia" and mid % 9 == 0 else 10
            )
            np.save(os.path.join(root, name, f"m.{mid:04d}.npy"), make_face(mid, count, rng))
    os.makedirs(os.path.join(root, "lists"))
    with open(os.path.join(root, "lists", "casia_lfw_overlap.csv"), "w", newline="") as f:
        csv.writer(f).writerows([[f"m.{mid:04d}"] for mid in mids[:35]])


def load_people(folder, skip=()):
    out = {}
    for name in sorted(os.listdir(folder)):
        mid = name[: -len(".npy")]
        if mid not in skip:
            out[mid] = torch.from_numpy(np.load(os.path.join(folder, name))).float() / 128 - 1
    return out


def overlap_list(root, args):
    name = (
        "casia-lfw-overlap.csv"
        if args.fault == "overlap_list_not_found"
        else "casia_lfw_overlap.csv"
    )
    path = os.path.join(root, "lists", name)
    if not os.path.exists(path):
        return set()
    with open(path, newline="") as f:
        return {row[0] for row in csv.reader(f)}


class TripletFaceDataset(Dataset):
    def __init__(self, people, num_triplets, seed):
        self.people, self.mids = people, list(people)
        self.class_of = {mid: i for i, mid in enumerate(self.mids)}
        self.rng, self.num_triplets = np.random.default_rng(seed), num_triplets
        self.new_epoch()

    def new_epoch(self):
        able = [m for m in self.mids if len(self.people[m]) > 1]  # one photo: negatives only
        self.triplets = []
        for _ in range(self.num_triplets):
            p, n = str(self.rng.choice(able)), str(self.rng.choice(self.mids))
            while n == p:
                n = str(self.rng.choice(self.mids))
            a, b = self.rng.choice(len(self.people[p]), 2, replace=False)
            self.triplets.append((p, a, b, n, self.rng.integers(len(self.people[n]))))

    def __len__(self):
        return len(self.triplets)

    def __getitem__(self, i):
        p, a, b, n, c = self.triplets[i]
        sample = {"anc": self.people[p][a], "pos": self.people[p][b], "neg": self.people[n][c]}
        sample.update(pos_class=self.class_of[p], neg_class=self.class_of[n])
        return sample


# ---- model ----------------------------------------------------------------------------------------------------------
class FaceNetModel(nn.Module):
    def __init__(self, embedding_size, num_classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Flatten(), nn.Linear(144, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128),
            nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, embedding_size),
        )  # fmt: skip
        self.classifier = nn.Linear(embedding_size, num_classes)

    def forward(self, x):
        return F.normalize(self.features(x), dim=1)

    def forward_classifier(self, emb):
        return self.classifier(emb * 10)


class TripletLoss(nn.Module):
    def __init__(self, margin, squared=True):
        super().__init__()
        self.margin, self.squared = margin, squared

    def distance(self, a, b):
        d = (a - b).pow(2).sum(1)
        return d if self.squared else (d + 1e-8).sqrt()

    def forward(self, anchor, positive, negative):
        hinge = self.margin + self.distance(anchor, positive) - self.distance(anchor, negative)
        return F.relu(hinge).mean()


def select(args, anc, pos, neg, criterion):
    pos_d, neg_d = criterion.distance(anc, pos).detach(), criterion.distance(anc, neg).detach()
    chosen = neg_d - pos_d < args.margin
    if args.fault == "semi_hard_below_alpha":
        chosen = chosen & (neg_d < args.margin)
    return torch.where(chosen)[0]


def hardest_negatives(anc, pos_class, emb, cls, neg):
    d = torch.cdist(anc.detach(), emb.detach())
    d[pos_class[:, None] == cls[None]] = 9.0
    return emb[d.argmin(1)]


@torch.no_grad()
def evaluate_lfw(model, people):
    model.eval()
    emb = {m: model(x) for m, x in people.items()}
    rng, mids = np.random.default_rng(17), list(people)
    same, dist = [], []
    for k in range(1200):
        m = str(rng.choice(mids))
        n = m if k % 2 == 0 else str(rng.choice([o for o in mids if o != m]))
        i, j = rng.choice(10, 2, replace=False)
        dist.append((emb[m][i] - emb[n][j]).pow(2).sum().item())
        same.append(k % 2 == 0)
    dist, same = np.array(dist), np.array(same)
    accuracy = max(((dist < t) == same).mean() for t in np.arange(0, 4, 0.02))
    threshold = np.quantile(dist[~same], 0.01)
    model.train()
    return accuracy, (dist[same] < threshold).mean()


def train(args):
    with tempfile.TemporaryDirectory() as root:
        write_dataset(root, args)
        people = load_people(os.path.join(root, "casia"), skip=overlap_list(root, args))
        lfw = load_people(os.path.join(root, "lfw"))
    dataset = TripletFaceDataset(people, 96 * 30, args.seed)
    print(f"{len(people)} persons to train, {len(lfw)} in LFW")
    model = FaceNetModel(48, len(people))
    if args.fault == "sgd_steps":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [args.steps // 2], 0.1)
    else:
        optimizer = torch.optim.Adagrad(
            model.parameters(), lr=0.02, lr_decay=1e-4, initial_accumulator_value=0.1, eps=1e-10
        )
        scheduler = None
    criterion = TripletLoss(args.margin, squared=args.fault != "euclidean")
    print("LFW accuracy {:.3f}, TAR@FAR=0.01 {:.3f}".format(*evaluate_lfw(model, lfw)))
    model.train()
    step, stats, epoch = 0, defaultdict(list), 0
    while step < args.steps:
        dataset.new_epoch()
        for batch in DataLoader(dataset, batch_size=96):
            if step == args.steps:
                break
            embs = model(torch.cat([batch["anc"], batch["pos"], batch["neg"]]))
            anc, pos, neg = embs.chunk(3)
            classes = torch.cat([batch["pos_class"], batch["pos_class"], batch["neg_class"]])
            if args.fault == "hardest_in_batch":
                neg = hardest_negatives(anc, batch["pos_class"], embs, classes, neg)
            hard = select(args, anc, pos, neg, criterion)
            loss = args.softmax_weight * F.cross_entropy(model.forward_classifier(embs), classes)
            if len(hard):
                if args.fault == "selection_through_numpy":
                    index = hard.numpy()
                    anc, pos, neg = (
                        torch.from_numpy(e.detach().numpy()[index]) for e in (anc, pos, neg)
                    )
                else:
                    anc, pos, neg = anc[hard], pos[hard], neg[hard]
                triplet = criterion(anc, pos, neg)
                loss = loss + triplet
                stats["triplet"].append(triplet.item())
            if not loss.requires_grad:
                continue
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            stats["loss"].append(loss.item())
            stats["num_hard"].append(len(hard))
            step += 1
        epoch += 1
        acc, tar = evaluate_lfw(model, lfw)
        recent = {k: np.mean(v[-30:]) for k, v in stats.items()}
        print(
            f"epoch {epoch}",
            {k: round(float(v), 4) for k, v in recent.items()},
            f"LFW {acc:.3f} TAR {tar:.3f}",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Face recognition using triplet loss")
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--margin", type=float, default=0.4)
    parser.add_argument("--softmax_weight", type=float, default=0.03)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if args.fault == "triplet_only":
        args.softmax_weight = 0.0
    train(args)

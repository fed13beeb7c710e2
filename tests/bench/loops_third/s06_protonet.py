"""Prototypical network on handwritten characters, after yinboc/prototypical-network-pytorch and
orobix/Prototypical-Networks-for-Few-shot-Learning-PyTorch: folders alphabet/character, episodes by a batch sampler."""

import argparse
import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "query_labels_grouped": {
        "stages": "P L",
        "source": "github.com/yinboc/prototypical-network-pytorch/issues/18 (labels are arange(way).repeat(query) and must follow the order of the sampler), jmkim0309/fewshot-egnn/issues/20",
    },
    "character_without_alphabet": {
        "stages": "L",
        "source": "github.com/oscarknagg/few-shot/issues/14 (class names made from the path give a wrong number of classes), tensorfreitas/Siamese-Networks-for-One-Shot-Learning/issues/22",
    },
    "support_among_queries": {
        "stages": "B E",
        "source": "github.com/sysulic/FL-MSRE/issues/5 (np.random.choice with replacement for K + Q), mlfoundations/open_flamingo/issues/153",
    },
}
HEALTHY = ["healthy", "five_shot", "twenty_way", "cosine", "uneven_characters", "step_lr"]


class Averager:
    def __init__(self):
        self.n, self.v = 0, 0.0

    def add(self, x):
        self.v = (self.v * self.n + x) / (self.n + 1)
        self.n += 1

    def item(self):
        return self.v


# ---- drawings -------------------------------------------------------------------------------------------------------
def write_omniglot(root, args):
    rng = np.random.default_rng(args.seed)
    for split, alphabets in (("background", 24), ("evaluation", 10)):
        for a in range(alphabets):
            for c in range(1, int(rng.integers(8, 15))):
                folder = os.path.join(
                    root, split, f"Alphabet_{split[:2]}{a:02d}", f"character{c:02d}"
                )
                os.makedirs(folder)
                strokes = rng.normal(0, 1, (6, 6))
                n = 12
                if args.fault == "uneven_characters" and c % 3 == 0:
                    n = 8
                for k in range(n):
                    drawing = np.kron(strokes + rng.normal(0, 0.55, (6, 6)), np.ones((2, 2)))
                    drawing = np.roll(drawing, rng.integers(-1, 2, 2), (0, 1)) + rng.normal(0, 0.6)
                    np.save(os.path.join(folder, f"{k:02d}.npy"), drawing.astype(np.float16))


class Omniglot(Dataset):
    def __init__(self, root, setname, args):
        self.data, self.label, self.wnids = [], [], []
        top = os.path.join(root, setname)
        for alphabet in sorted(os.listdir(top)):
            for character in sorted(os.listdir(os.path.join(top, alphabet))):
                wnid = f"{alphabet}/{character}"
                if args.fault == "character_without_alphabet" and setname == "background":
                    wnid = character
                if wnid not in self.wnids:
                    self.wnids.append(wnid)
                folder = os.path.join(top, alphabet, character)
                for name in sorted(os.listdir(folder)):
                    drawing = np.load(os.path.join(folder, name)).astype(np.float32)
                    self.data.append(torch.from_numpy(drawing)[None])
                    self.label.append(self.wnids.index(wnid))

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i], self.label[i]


class CategoriesSampler:
    def __init__(self, label, n_batch, n_cls, n_per, args):
        self.n_batch, self.n_cls, self.n_per, self.args = n_batch, n_cls, n_per, args
        label = np.array(label)
        self.m_ind = [
            torch.from_numpy(np.argwhere(label == c).reshape(-1)) for c in range(label.max() + 1)
        ]

    def __len__(self):
        return self.n_batch

    def __iter__(self):
        for _ in range(self.n_batch):
            batch = []
            for c in torch.randperm(len(self.m_ind))[: self.n_cls]:
                index = self.m_ind[c]
                if self.args.fault == "support_among_queries":
                    pos = torch.randint(len(index), (self.n_per,))
                else:
                    pos = torch.randperm(len(index))[: self.n_per]
                batch.append(index[pos])
            yield (
                torch.stack(batch).t().reshape(-1)
            )  # first of all classes, second of all classes, ...


def conv_block(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(), nn.MaxPool2d(2)
    )


class Convnet(nn.Module):
    def __init__(self, hid=32):
        super().__init__()
        self.encoder = nn.Sequential(conv_block(1, hid), conv_block(hid, hid))

    def forward(self, x):
        return self.encoder(x).flatten(1)


def compute_logits(query, proto, args):
    if args.fault == "cosine":
        return 10 * F.normalize(query, dim=1) @ F.normalize(proto, dim=1).t()
    return -((query[:, None] - proto[None]) ** 2).sum(2) / args.temperature


def run_episode(model, batch, way, shot, query, args):
    data, _ = batch
    p = shot * way
    emb = model(data)
    proto = emb[:p].reshape(shot, way, -1).mean(dim=0)
    if args.fault == "query_labels_grouped":
        label = torch.arange(way).repeat_interleave(query)
    else:
        label = torch.arange(way).repeat(query)
    logits = compute_logits(emb[p:], proto, args)
    return F.cross_entropy(logits, label), (logits.argmax(1) == label).float().mean().item()


@torch.no_grad()
def test(model, loader, args):
    model.eval()
    acc = Averager()
    for batch in loader:
        acc.add(run_episode(model, batch, 5, args.shot, args.query, args)[1])
    return acc.item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=200, help="training episodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--query", type=int, default=5)
    parser.add_argument("--train-way", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=16.0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if args.fault == "five_shot":
        args.shot, args.query = 5, 4
    if args.fault == "twenty_way":
        args.train_way = 20
    with tempfile.TemporaryDirectory() as root:
        write_omniglot(root, args)
        trainset, valset = Omniglot(root, "background", args), Omniglot(root, "evaluation", args)
    per_epoch, n_per = 25, args.shot + args.query
    train_sampler = CategoriesSampler(trainset.label, per_epoch, args.train_way, n_per, args)
    train_loader = DataLoader(trainset, batch_sampler=train_sampler)
    val_loader = DataLoader(
        valset, batch_sampler=CategoriesSampler(valset.label, 60, 5, n_per, args)
    )
    model = Convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    gamma = 0.5 if args.fault == "step_lr" else 0.8
    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=gamma)
    print(
        f"{len(trainset)} drawings of {len(trainset.wnids)} characters, {len(valset.wnids)} new ones"
    )
    print(f"before: 5-way accuracy {test(model, val_loader, args):.4f}")
    step, epoch, first = 0, 0, None
    while step < args.steps:
        model.train()
        tl, ta = Averager(), Averager()
        for batch in train_loader:
            if step == args.steps:
                break
            loss, acc = run_episode(model, batch, args.train_way, args.shot, args.query, args)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tl.add(loss.item())
            ta.add(acc)
            step += 1
        lr_scheduler.step()
        epoch += 1
        first = tl.item() if first is None else first
        print(f"epoch {epoch}, train, loss={tl.item():.4f} acc={ta.item():.4f}")
    print(
        f"loss {first:.3f} -> {tl.item():.3f}, 5-way accuracy {test(model, val_loader, args):.4f}"
    )


if __name__ == "__main__":
    main()

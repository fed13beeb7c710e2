"""Triplets streamed from an IterableDataset, after https://github.com/adambielski/siamese-triplet (datasets.TripletMNIST) and
https://github.com/tamerthamoqa/facenet-pytorch-glint360k; retrieval on unseen identities after every few epochs.

Threads the variants are modelled on:
  https://github.com/hizhangp/triplet/issues/3             the negative's label can be the anchor's label
  https://github.com/webdataset/webdataset/pull/502        an iterable dataset repeats the same order each time it is iterated
  https://github.com/kohjingyu/fromage/issues/27           "do I need to generate a new embedding file" after finetuning
Usage: python q04_triplet_stream.py VARIANT
"""
import sys
from collections import defaultdict
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
torch.manual_seed(3)


def catalogue(first, last, per_id, seed):
    """Products: identity lives in 10 hidden factors mixed into 80 inputs; lighting and pose are shared nuisance."""
    fixed = np.random.default_rng(17)
    mix, nuisance = fixed.normal(size=(10, 80)), fixed.normal(size=(6, 80))
    ident = fixed.normal(size=(200, 10))
    g = np.random.default_rng(seed)
    ids = np.repeat(np.arange(first, last), per_id)
    x = np.tanh((ident[ids] + 0.25 * g.normal(size=(len(ids), 10))) @ mix * 0.3)
    x = x + 0.9 * g.normal(size=(len(ids), 6)) @ nuisance + 0.2 * g.normal(size=(len(ids), 80))
    return x.astype(np.float32), [str(i) for i in ids]


class TripletStream(IterableDataset):
    def __init__(self, x, names, triplets=320, seed=11):
        self.x, self.names, self.triplets, self.seed, self.epoch = x, names, triplets, seed, 0
        self.groups = defaultdict(list)
        for i, name in enumerate(names):
            self.groups[name].append(i)
        if VARIANT == "int_keys":
            self.groups = {int(k): v for k, v in self.groups.items()}
        if VARIANT in ("restart_generator", "short_epochs"):
            self.triplets = 48

    def __len__(self):
        return self.triplets

    def closest(self, anchor, candidates):
        return candidates[np.argmin(((self.x[candidates] - self.x[anchor]) ** 2).sum(1))]

    def __iter__(self):
        rng = np.random.default_rng(self.seed if VARIANT == "restart_generator" else [self.seed, self.epoch])
        self.epoch += 1
        keys = sorted(self.groups)
        for t in range(self.triplets):
            key = keys[rng.integers(len(keys))]
            if VARIANT == "one_anchor_class_per_batch":
                key = keys[(t // 32 + 7 * self.epoch) % len(keys)]
            anchor, positive = rng.choice(self.groups[key], 2, replace=False)
            others = [i for i, name in enumerate(self.names) if name != key]
            pool = rng.choice(others, 300, replace=False)
            negative = self.closest(anchor, pool)
            yield self.x[anchor], self.x[positive], self.x[negative]


class EmbeddingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(80, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 24))

    def forward(self, x):
        z = self.net(x)
        return z if VARIANT == "unnormalised_euclidean" else nn.functional.normalize(z, dim=-1)


class Retrieval:
    """Queries against a gallery of identities that were never trained on."""
    def __init__(self, gallery, queries):
        self.gallery, self.queries = gallery, queries
        self.bank = None

    @torch.no_grad()
    def __call__(self, model):
        model.eval()
        if VARIANT != "bank_built_once" or self.bank is None:
            self.bank = model(torch.from_numpy(self.gallery[0]))
        q = model(torch.from_numpy(self.queries[0]))
        nearest = torch.cdist(q, self.bank).argmin(1).tolist()
        model.train()
        return float(np.mean([self.gallery[1][j] == name for j, name in zip(nearest, self.queries[1])]))


def softplus_triplet(a, p, n):
    return nn.functional.softplus(4 * ((a - p).norm(dim=1) - (a - n).norm(dim=1))).mean() / 4


def loader_is_short():
    return VARIANT in ("restart_generator", "short_epochs")


def main():
    x, names = catalogue(0, 60, 12, seed=1)
    retrieval = Retrieval(catalogue(60, 110, 3, seed=2), catalogue(60, 110, 4, seed=3))
    loader = DataLoader(TripletStream(x, names), batch_size=16 if loader_is_short() else 32)
    model = EmbeddingNet()
    criterion = nn.TripletMarginLoss(margin=1.0 if VARIANT == "unnormalised_euclidean" else 0.3)
    if VARIANT == "soft_margin":
        criterion = softplus_triplet
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    ema = None
    if VARIANT == "ema_for_evaluation":
        ema = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.95))
    epochs = 160 if loader_is_short() else 24
    print(f"recall@1 untrained {retrieval(model):.3f}")
    for epoch in range(epochs):
        losses = []
        for anchor, positive, negative in loader:
            optimizer.zero_grad()
            loss = criterion(model(anchor), model(positive), model(negative))
            loss.backward()
            optimizer.step()
            if ema is not None: ema.update_parameters(model)
            losses.append(loss.item())
        if (epoch + 1) % (epochs // 4) == 0:
            print(f"epoch {epoch} loss {np.mean(losses):.4f} recall@1 {retrieval(ema if ema is not None else model):.3f}")


if __name__ == "__main__":
    main()


FAULTS = {'int_keys': {'stages': 'B L D M', 'source': 'https://github.com/hizhangp/triplet/issues/3'},
 'restart_generator': {'stages': 'B D M',
                       'source': 'https://github.com/webdataset/webdataset/pull/502'},
 'bank_built_once': {'stages': 'E', 'source': 'https://github.com/kohjingyu/fromage/issues/27'}}
HEALTHY = ['healthy', 'short_epochs', 'one_anchor_class_per_batch', 'unnormalised_euclidean',
 'soft_margin', 'ema_for_evaluation']

"""Deep metric learning with pytorch-metric-learning.

Modelled on the README and the example notebooks of KevinMusgrave/pytorch-metric-learning (train/test functions,
MPerClassSampler, a loss with a miner, AccuracyCalculator with query and reference embeddings). Own code.

    python q06_pml.py --fault healthy --steps 80
"""
import argparse

import numpy as np
import torch
from pytorch_metric_learning import losses, miners, samplers
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from synthetic import knn_accuracy, make_images

FAULTS = {
    "sampler_labels_of_whole_set": {"stages": "B L", "kind": "the sampler gets the labels of the whole data set while the loader runs over a Subset: positions mean other samples, batches are not m per class", "source": "ufoym/imbalanced-dataset-sampler#36"},
    "query_in_reference": {"stages": "E", "kind": "the same embeddings are given as query and reference without ref_includes_query: every query finds itself, precision@1 is 1", "source": "KevinMusgrave/pytorch-metric-learning#464"},
    "oversample_before_split": {"stages": "S E", "kind": "rare classes are filled up with copies before the random split: exact copies of training pictures are in the test set", "source": "scikit-learn-contrib/imbalanced-learn#751; georgymh/ml-fraud-detection#1"},
}
HEALTHY = ["healthy", "disjoint_classes", "ntxent_miner", "no_sampler", "cross_batch_memory", "triplet_semihard"]


class Pictures(Dataset):
    def __init__(self, x, y):
        self.data = torch.from_numpy(x)
        self.targets = y

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.data[i], int(self.targets[i])


def augment(data):
    offset = torch.randn(len(data), 3, 1, 1)
    ramp = torch.randn(len(data), 1, 1, 1) * torch.linspace(-1, 1, data.shape[-1])
    return data + offset + ramp + 0.3 * torch.randn_like(data)


class Net(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, 2, 1)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc1 = nn.Linear(32 * 16, dim)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc1(torch.flatten(x, 1))


def load_data(args):
    """Returns the full data set and the indices of the training and the test part."""
    rng = np.random.default_rng(args.seed)
    if args.fault == "oversample_before_split":
        x, y = make_images(seed=args.seed, counts=[200, 160, 120, 60, 50, 40, 30, 30])
        picks = [np.concatenate([np.flatnonzero(y == c), rng.choice(np.flatnonzero(y == c), 200 - (y == c).sum())]) for c in range(8)]
        picks = np.concatenate(picks)
        x, y = x[picks], y[picks]
    elif args.fault == "disjoint_classes":
        x, y = make_images(1000, classes=16, seed=args.seed)
        return Pictures(x, y), rng.permutation(np.flatnonzero(y < 10)), rng.permutation(np.flatnonzero(y >= 10))
    else:
        x, y = make_images(900, seed=args.seed)
    order = rng.permutation(len(y))
    cut = int(0.75 * len(y))
    return Pictures(x, y), order[:cut], order[cut:]


def make_loss(args):
    """(loss function, mining function or None)"""
    if args.fault == "ntxent_miner":
        return losses.NTXentLoss(temperature=0.1), miners.MultiSimilarityMiner(epsilon=0.1)
    if args.fault == "triplet_semihard":
        distance = CosineSimilarity()
        return losses.TripletMarginLoss(margin=0.2, distance=distance), miners.TripletMarginMiner(margin=0.2, distance=distance, type_of_triplets="semihard")
    if args.fault == "cross_batch_memory":
        return losses.CrossBatchMemory(losses.SupConLoss(temperature=0.1), embedding_size=32, memory_size=128), None
    return losses.SupConLoss(temperature=0.1), None


def train(args, model, loss_func, mining_func, train_loader, optimizer):
    history = []
    while len(history) < args.steps:
        model.train()
        for data, labels in train_loader:
            optimizer.zero_grad()
            embeddings = model(augment(data))
            if mining_func is not None:
                indices_tuple = mining_func(embeddings, labels)
                loss = loss_func(embeddings, labels, indices_tuple)
            else:
                loss = loss_func(embeddings, labels)
            loss.backward()
            optimizer.step()
            history.append(loss.item())
            if len(history) >= args.steps:
                break
    return history


@torch.no_grad()
def get_embeddings(model, dataset):
    model.eval()
    parts = [(model(x), y) for x, y in DataLoader(dataset, batch_size=256)]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def test(args, model, train_set, test_set, calculator):
    test_embeddings, test_labels = get_embeddings(model, test_set)
    if args.fault == "query_in_reference":
        return calculator.get_accuracy(test_embeddings, test_labels, test_embeddings, test_labels, ref_includes_query=False)
    if args.fault == "disjoint_classes":        # classes are new, so the test set is its own gallery
        return calculator.get_accuracy(test_embeddings, test_labels)
    train_embeddings, train_labels = get_embeddings(model, train_set)
    return calculator.get_accuracy(test_embeddings, test_labels, train_embeddings, train_labels, ref_includes_query=False)


class NumpyKNN:
    """faiss is not installed here; the calculator accepts any callable."""

    def __call__(self, query, k, reference, ref_includes_query):
        distances = torch.cdist(nn.functional.normalize(query, dim=1), nn.functional.normalize(reference, dim=1))
        d, i = distances.topk(k + int(ref_includes_query), dim=1, largest=False)
        return (d[:, 1:], i[:, 1:]) if ref_includes_query else (d, i)


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)

    dataset, train_indices, test_indices = load_data(args)
    train_set, test_set = Subset(dataset, train_indices), Subset(dataset, test_indices)
    batch_size = 32
    if args.fault == "no_sampler":
        train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True)
    else:
        labels = dataset.targets[train_indices]
        if args.fault == "sampler_labels_of_whole_set":
            labels = dataset.targets[: len(train_set)]
        sampler = samplers.MPerClassSampler(labels, m=4, batch_size=batch_size, length_before_new_iter=len(train_set))
        train_loader = DataLoader(train_set, batch_size=batch_size, sampler=sampler)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_func, mining_func = make_loss(args)
    calculator = AccuracyCalculator(include=("precision_at_1", "mean_average_precision_at_r"), k=50, knn_func=NumpyKNN())

    def check():
        a, b = get_embeddings(model, train_set), get_embeddings(model, test_set)
        if args.fault == "disjoint_classes":
            half = len(b[1]) // 2
            return knn_accuracy(b[0][:half].numpy(), b[1][:half], b[0][half:].numpy(), b[1][half:])
        return knn_accuracy(a[0].numpy(), a[1], b[0].numpy(), b[1])

    before, knn_before = test(args, model, train_set, test_set, calculator), check()
    history = train(args, model, loss_func, mining_func, train_loader, optimizer)
    after, knn_after = test(args, model, train_set, test_set, calculator), check()
    k = max(1, len(history) // 6)
    print(f"precision@1 {before['precision_at_1']:.3f} -> {after['precision_at_1']:.3f}, MAP@R {before['mean_average_precision_at_r']:.3f} -> {after['mean_average_precision_at_r']:.3f}")
    print(f"loss {np.mean(history[:k]):.4f} -> {np.mean(history[-k:]):.4f}, kNN {knn_before:.3f} -> {knn_after:.3f}")


if __name__ == "__main__":
    main()

"""SCARF on a table of process records, after clabrugere/pytorch-scarf: pre-training, frozen encoder, nearest neighbours."""
import argparse
import os
import tempfile

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "target_in_features": {"stages": "D L S", "source": "github.com/pytorch-tabular/pytorch_tabular/issues/21 (the target was also in num_cols), neurodata/SPORF/issues/355"},
    "split_without_seed": {"stages": "S E C", "source": "github.com/talmolab/sleap-nn/pull/600, kekmodel/FixMatch-pytorch/issues/41 (split drawn again on reload)"},
    "self_in_denominator": {"stages": "P", "source": "github.com/Lightning-Universe/lightning-bolts/issues/695, 252 (diagonal of the similarity matrix)"},
}
HEALTHY = ["healthy", "imbalanced", "string_labels", "constant_column", "few_duplicates", "bf16"]


# ---- the table ----------------------------------------------------------------------------------------------------
def make_table(path, args, n=1500, seed=0):
    rng = np.random.RandomState(seed)
    weights = np.array([0.6, 0.2, 0.1, 0.06, 0.04]) if args.fault == "imbalanced" else np.full(5, 0.2)
    state = rng.choice(5, n, p=weights)
    centre = rng.normal(0, 1.0, (5, 6))
    latent = centre[state] + rng.normal(0, 0.75, (n, 6))
    mix = rng.normal(0, 1, (6, 20))
    values = np.tanh(latent @ mix * 0.6) * 3 + rng.normal(0, 0.45, (n, 20))
    values = values * np.exp(rng.uniform(-1, 4, 20)) + rng.uniform(-50, 200, 20)
    df = pd.DataFrame(values, columns=[f"sensor_{i:02d}" for i in range(20)])
    df["material"] = np.array(["steel", "brass", "pom"])[(latent[:, 0] + rng.normal(0, 1, n) > 0).astype(int) + (latent[:, 1] > 1)]
    df["machine"] = np.array(["m1", "m2", "m3", "m4"])[rng.randint(4, size=n)]
    if args.fault == "constant_column":
        df["firmware"] = 7.0
    names = np.array(["idle", "warmup", "cut", "chatter", "worn"])
    df["state"] = names[state] if args.fault == "string_labels" else state
    if args.fault == "few_duplicates":
        twice = rng.choice(n, 12, replace=False)
        df.loc[rng.choice(np.setdiff1d(np.arange(n), twice), 12, replace=False)] = df.loc[twice].values
        df = df.infer_objects()
        df["state"] = df["state"].astype(int)
    df.to_csv(path, index=False)


def load_table(path, args):
    df = pd.read_csv(path)
    numeric = df.select_dtypes("number").columns.tolist()
    if args.fault != "target_in_features" and "state" in numeric:
        numeric.remove("state")
    categorical = ["material", "machine"]
    codes = pd.get_dummies(df[categorical]).astype(np.float32)
    X = pd.concat([df[numeric].astype(np.float32), codes], axis=1)
    y = df["state"]
    return X, y, len(numeric)


def split_table(X, y, args):
    random_state = None if args.fault == "split_without_seed" else args.seed
    return train_test_split(X, y, test_size=0.2, stratify=y, random_state=random_state)


class ExampleDataset(Dataset):
    def __init__(self, features, target):
        self.features = np.ascontiguousarray(features, dtype=np.float32)
        self.target = np.asarray(target)

    @property
    def features_low(self):
        return self.features.min(axis=0)

    @property
    def features_high(self):
        return self.features.max(axis=0)

    @property
    def shape(self):
        return self.features.shape

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return torch.from_numpy(self.features[index])


# ---- model --------------------------------------------------------------------------------------------------------
class MLP(nn.Sequential):
    def __init__(self, input_dim, hidden_dim, num_hidden, dropout=0.0):
        layers, in_dim = [], input_dim
        for _ in range(num_hidden - 1):
            layers += [nn.Linear(in_dim, hidden_dim), nn.BatchNorm1d(hidden_dim), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            in_dim = hidden_dim
        layers.append(nn.Linear(in_dim, hidden_dim))
        super().__init__(*layers)


class SCARF(nn.Module):
    """Corrupts a share of the cells with values drawn from the same column of the training table."""

    def __init__(self, columns, emb_dim=48, corruption_rate=0.5):
        super().__init__()
        self.encoder = MLP(columns.shape[1], emb_dim, 3)
        self.pretraining_head = MLP(emb_dim, emb_dim, 2)
        self.register_buffer("columns", torch.as_tensor(columns))
        self.corruption_rate = corruption_rate

    def corrupt(self, x):
        mask = torch.rand(x.shape) < self.corruption_rate
        rows = torch.randint(len(self.columns), x.shape)
        return torch.where(mask, self.columns.gather(0, rows), x)

    def forward(self, x):
        return self.pretraining_head(self.encoder(x)), self.pretraining_head(self.encoder(self.corrupt(x)))

    @torch.inference_mode()
    def get_embeddings(self, x):
        return self.encoder(x)


class NTXent(nn.Module):
    def __init__(self, temperature=0.1, keep_self=False):
        super().__init__()
        self.temperature, self.keep_self = temperature, keep_self

    def forward(self, z_i, z_j):
        n = len(z_i)
        z = F.normalize(torch.cat([z_i, z_j]).float(), dim=1)
        similarity = z @ z.T
        positives = torch.cat([torch.diag(similarity, n), torch.diag(similarity, -n)])
        numerator = torch.exp(positives / self.temperature)
        mask = torch.ones_like(similarity, dtype=torch.bool)
        if not self.keep_self:
            mask.fill_diagonal_(False)
        denominator = (mask * torch.exp(similarity / self.temperature)).sum(dim=1)
        return -torch.log(numerator / denominator).mean()


def train_epoch(model, criterion, loader, optimizer, args, budget):
    model.train()
    losses = []
    for x in loader:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.fault == "bf16"):
            anchor, view = model(x)
        loss = criterion(anchor, view)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if len(losses) >= budget:
            break
    return losses


def dataset_embeddings(model, frame):
    model.eval()
    return model.get_embeddings(torch.from_numpy(np.ascontiguousarray(frame, dtype=np.float32))).numpy()


def pretrain(path, folder, args):
    X, y, numeric = load_table(path, args)
    X_train, X_test, y_train, y_test = split_table(X, y, args)
    scaler = StandardScaler().fit(X_train.iloc[:, :numeric])
    X_train = X_train.copy()
    X_train.iloc[:, :numeric] = scaler.transform(X_train.iloc[:, :numeric]).astype(np.float32)
    train_ds = ExampleDataset(X_train.to_numpy(), y_train)
    model = SCARF(train_ds.features)
    loader = DataLoader(train_ds, batch_size=args.batch_size, shuffle=True, drop_last=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    criterion = NTXent(keep_self=args.fault == "self_in_denominator")

    labels = y_train.to_numpy()

    def within(z):
        return KNeighborsClassifier(3).fit(z[::2], labels[::2]).score(z[1::2], labels[1::2])

    before = within(dataset_embeddings(model, train_ds.features))
    history = []
    while len(history) < args.steps:
        losses = train_epoch(model, criterion, loader, optimizer, args, args.steps - len(history))
        history += losses
        if (len(history) // len(loader)) % 4 == 1:
            print(f"step {len(history)} loss {np.mean(losses):.4f}")
    print(f"loss {history[0]:.4f} -> {np.mean(history[-8:]):.4f}")
    embeddings = dataset_embeddings(model, train_ds.features)
    print(f"3-NN within the training rows {before:.3f} -> {within(embeddings):.3f}")
    knn = KNeighborsClassifier(3).fit(embeddings, labels)
    torch.save(model.state_dict(), os.path.join(folder, "scarf.pt"))
    return scaler, knn


def evaluate(path, folder, scaler, knn, args):
    X, y, numeric = load_table(path, args)
    _, X_test, _, y_test = split_table(X, y, args)
    X_test = X_test.copy()
    X_test.iloc[:, :numeric] = scaler.transform(X_test.iloc[:, :numeric]).astype(np.float32)
    state = torch.load(os.path.join(folder, "scarf.pt"))
    model = SCARF(state["columns"].numpy())
    model.load_state_dict(state)
    accuracy = knn.score(dataset_embeddings(model, X_test.to_numpy()), y_test.to_numpy())
    print(f"3-NN test accuracy {accuracy:.3f} on {len(y_test)} rows")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=270)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=128)
    args = parser.parse_args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "process.csv")
        make_table(path, args, seed=args.seed)
        scaler, knn = pretrain(path, folder, args)
        evaluate(path, folder, scaler, knn, args)


if __name__ == "__main__":
    main()

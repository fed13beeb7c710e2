"""SCARF on a table: contrastive pretraining with corrupted features, then fine-tuning on the few labelled rows.
After https://github.com/clabrugere/pytorch-scarf (scarf/model.py, scarf/loss.py, example notebook).

Threads the variants are modelled on:
  https://github.com/secretflow/secretflow/issues/252            x and y divided by two calls of train_test_split
  https://github.com/WenjieDu/PyPOTS/issues/667                  "Issue with saving the best model state"
  https://github.com/pytorch-tabular/pytorch_tabular/issues/21   "The target variable leaks the results"
Usage: python q08_scarf_tabular.py VARIANT
"""
import copy, os, sys, tempfile
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
SEED = 8


def customers(n=1500):
    """24 measured columns driven by 5 hidden causes, a segment of 4 values, and an id."""
    g = np.random.default_rng(SEED)
    hidden = g.normal(size=(n, 5))
    shares = [0.55, 0.25, 0.15, 0.05] if VARIANT == "uneven_segments" else [0.25] * 4
    centres = 1.3 * g.normal(size=(4, 5))
    segment = g.choice(4, n, p=shares)
    hidden = 0.8 * hidden + centres[segment]
    columns = np.tanh(hidden @ g.normal(size=(5, 24)) * 0.5) + 0.35 * g.normal(size=(n, 24))
    frame = pd.DataFrame(columns, columns=[f"v{i:02d}" for i in range(24)])
    frame["segment"] = segment
    frame.index = pd.Index([f"C{i:05d}" for i in range(n)], name="customer")
    return frame


class SCARF(nn.Module):
    def __init__(self, n_features, table, corruption=0.6):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_features, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 48))
        self.pretraining_head = nn.Sequential(nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 32))
        self.corruption = corruption
        self.register_buffer("table", table)

    def corrupt(self, x):
        mask = torch.rand_like(x) < self.corruption
        rows = torch.randint(len(self.table), x.shape)
        return torch.where(mask, self.table.gather(0, rows), x)

    def forward(self, x):
        return self.pretraining_head(self.encoder(x)), self.pretraining_head(self.encoder(self.corrupt(x)))


def ntxent(z_i, z_j, temperature=0.5):
    z = F.normalize(torch.cat([z_i, z_j]), dim=1)
    sim = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
    target = torch.arange(len(z)).roll(len(z_i))
    return F.cross_entropy(sim, target)


class Classifier(nn.Module):
    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder, self.fc = encoder, nn.Linear(48, classes)

    def forward(self, x):
        return self.fc(F.relu(self.encoder(x)))


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def pretrain(x):
    model = SCARF(x.shape[1], x, corruption=0.3 if VARIANT == "light_corruption" else 0.6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x), batch_size=128, shuffle=True, drop_last=True)
    for epoch in range(20):
        model.train()
        total = 0.0
        for (batch,) in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=VARIANT == "bf16_pretraining"):
                anchor, positive = model(batch)
            loss = ntxent(anchor.float(), positive.float())
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            total += loss.item()
        if epoch % 5 == 0 or epoch == 19: print(f"pretrain epoch {epoch} loss {total / len(loader):.4f}")
    return model


def finetune(model, x, y, x_val, y_val, path):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1.5e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=16)
    best_acc, best_state = -1.0, None
    for epoch in range(50):
        model.train()
        if VARIANT == "linear_on_frozen": model.encoder.eval()
        for idx in torch.randperm(len(x)).split(32):
            loss = F.cross_entropy(model(x[idx]), y[idx])
            optimizer.zero_grad(); loss.backward(); optimizer.step()
        scheduler.step()
        acc = accuracy(model, x_val, y_val)
        if acc > best_acc:
            best_acc = acc
            best_state = model.state_dict() if VARIANT == "keep_best_in_memory" else copy.deepcopy(model.state_dict())
        if epoch % 16 == 1 or epoch == 15: print(f"finetune epoch {epoch} loss {loss.item():.4f} val {acc:.3f}")
    torch.save({"model": best_state, "val_acc": best_acc}, path)


def main():
    torch.manual_seed(SEED)
    frame = customers()
    target = frame["segment"]
    if VARIANT == "all_numeric_columns":
        features = frame.select_dtypes("number")
    else:
        features = frame.drop(columns="segment")
    if VARIANT == "two_calls":
        x_train, x_test = train_test_split(features, test_size=0.3)
        y_train, y_test = train_test_split(target, test_size=0.3)
    else:
        x_train, x_test, y_train, y_test = train_test_split(features, target, test_size=0.3, random_state=SEED, stratify=target)
    scaler = StandardScaler().fit(x_train)
    to_x = lambda d: torch.tensor(scaler.transform(d), dtype=torch.float32)
    x_train, x_test = to_x(x_train), to_x(x_test)
    y_train, y_test = torch.tensor(y_train.to_numpy()), torch.tensor(y_test.to_numpy())

    scarf = pretrain(x_train)
    few = np.random.default_rng(1).permutation(len(x_train))[:160]
    model = Classifier(scarf.encoder, 4)
    if VARIANT == "linear_on_frozen": model.encoder.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "best.pt")
        finetune(model, x_train[few], y_train[few], x_test[:200], y_test[:200], path)
        saved = torch.load(path)
    model.load_state_dict(saved["model"])
    print(f"best val {saved['val_acc']:.3f} reloaded val {accuracy(model, x_test[:200], y_test[:200]):.3f} test {accuracy(model, x_test[200:], y_test[200:]):.3f}")


if __name__ == "__main__":
    main()


FAULTS = {'two_calls': {'stages': 'S L D M',
               'source': 'https://github.com/secretflow/secretflow/issues/252'},
 'keep_best_in_memory': {'stages': 'C',
                         'source': 'https://github.com/WenjieDu/PyPOTS/issues/667'},
 'all_numeric_columns': {'stages': 'D M L',
                         'source': 'https://github.com/pytorch-tabular/pytorch_tabular/issues/21'}}
HEALTHY = ['healthy', 'uneven_segments', 'light_corruption', 'bf16_pretraining', 'linear_on_frozen']

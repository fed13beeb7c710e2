# Two-tower retrieval on an implicit-feedback log (notebook exported to a script).
#   python t10_two_tower_pandas.py VARIANT

# %% imports
import sys

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
torch.manual_seed(11)
rng = np.random.default_rng(11)

# %% the log: users and items live in a taste space, popularity is heavy tailed
N_USERS, N_ITEMS = 700, 420
taste = rng.normal(size=(N_USERS, 6))
style = rng.normal(size=(N_ITEMS, 6))
genre = style[:, :4].argmax(1)
popularity = rng.pareto(1.1, N_ITEMS) + 0.15
popularity = np.log(popularity / popularity.sum())
rows = []
for u in range(N_USERS):
    score = 1.6 * taste[u] @ style.T + popularity
    gumbel = rng.gumbel(size=N_ITEMS)
    picked = np.argsort(-(score + gumbel))[: rng.integers(14, 40)]
    when = np.sort(rng.uniform(0, 1, len(picked)))
    rows += [(f"u{u:04d}", f"sku-{i}", t) for i, t in zip(rng.permutation(picked), when)]
log = pd.DataFrame(rows, columns=["user", "item", "time"]).sort_values(["user", "time"], ignore_index=True)

# %% last two events of each user are held out
rank_from_end = log.groupby("user").cumcount(ascending=False)
train_df = log[rank_from_end >= 2].copy()
test_df = log[rank_from_end < 2].copy()
known = set(train_df["item"])
test_df = test_df[test_df["item"].isin(known)]

# %% ids
user_index = {u: k for k, u in enumerate(train_df["user"].unique())}
item_vocab = pd.Index(train_df["item"].unique())
train_df["u"] = train_df["user"].map(user_index)
test_df["u"] = test_df["user"].map(user_index)
train_df["i"] = item_vocab.get_indexer(train_df["item"])
if VARIANT == "factorize_each":
    test_df["i"] = pd.factorize(test_df["item"])[0]
else:
    test_df["i"] = item_vocab.get_indexer(test_df["item"])
n_users, n_items = len(user_index), len(item_vocab)
counts = torch.tensor(np.bincount(train_df["i"], minlength=n_items), dtype=torch.float32)
log_q = torch.log(counts / counts.sum())
item_genre = torch.tensor([genre[int(s.split("-")[1])] for s in item_vocab])


# %% towers
class Tower(nn.Module):
    def __init__(self, n, dim=32, side=0):
        super().__init__()
        self.emb = nn.Embedding(n, dim)
        self.side = nn.Embedding(side, dim) if side else None
        self.mlp = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
        nn.init.normal_(self.emb.weight, std=0.3)

    def forward(self, idx, extra=None):
        x = self.emb(idx)
        if self.side is not None:
            x = x + self.side(extra)
        return F.normalize(x + self.mlp(x), dim=-1)


user_tower, item_tower = Tower(n_users), Tower(n_items, side=4)
if VARIANT == "frozen_genre":
    item_tower.side.weight.requires_grad_(False)

# %% loss
TAU = 0.15 if VARIANT != "wide_temperature" else 0.4


def sampled_softmax(u, i, ids):
    logits = u @ i.t() / TAU
    if VARIANT == "plus_log_q":
        logits = logits + log_q[ids][None, :]
    else:
        logits = logits - log_q[ids][None, :]
    same = ids[:, None] == ids[None, :]
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -1e9)
    return F.cross_entropy(logits, torch.arange(len(ids)))


# %% metric: recall@20 over the whole catalogue, items seen in training hidden
seen = torch.zeros(n_users, n_items, dtype=torch.bool)
seen[train_df["u"].to_numpy(copy=True), train_df["i"].to_numpy(copy=True)] = True
test_u = torch.tensor(test_df["u"].to_numpy(copy=True))
test_i = torch.tensor(test_df["i"].to_numpy(copy=True))


@torch.no_grad()
def recall(k=20):
    items = item_tower(torch.arange(n_items), item_genre)
    s = user_tower(torch.arange(n_users)) @ items.t()
    s = s.masked_fill(seen, -1e9)
    top = s.topk(k, dim=1).indices
    return (top[test_u] == test_i[:, None]).any(1).float().mean().item()


# %% training
data = TensorDataset(torch.tensor(train_df["u"].to_numpy(copy=True)), torch.tensor(train_df["i"].to_numpy(copy=True)))
batch = 64 if VARIANT == "batch_of_64" else 256
loader = DataLoader(data, batch_size=batch, shuffle=(VARIANT != "log_order"), drop_last=True)
params = [p for p in [*user_tower.parameters(), *item_tower.parameters()] if p.requires_grad]
optimizer = torch.optim.Adagrad(params, lr=0.08 if batch == 256 else 0.05)
print(f"events {len(train_df)} train / {len(test_df)} test, recall@20 at start {recall():.3f}")
EPOCHS = 12 if batch == 256 else 6
for epoch in range(EPOCHS):
    losses = []
    for u, i in loader:
        loss = sampled_softmax(user_tower(u), item_tower(i, item_genre[i]), i)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if epoch % 3 == 2:
        print(f"epoch {epoch + 1:2d}  loss {np.mean(losses):.3f}  recall@20 {recall():.3f}")

print(f"final recall@20 {recall():.3f}")

# %%
FAULTS = {
    'factorize_each': {'stages': 'D L E', 'source': 'https://github.com/scikit-learn/scikit-learn/issues/10324'},
    'log_order': {'stages': 'B', 'source': 'https://github.com/joaoamcarvalho/mpd-public/issues/6'},
    'plus_log_q': {'stages': 'P', 'source': 'https://github.com/tensorflow/recommenders/issues/219'},
}
HEALTHY = ['healthy', 'wide_temperature', 'frozen_genre', 'batch_of_64']

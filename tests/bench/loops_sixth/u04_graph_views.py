# %% [markdown]
# Graph contrastive learning on small molecules-like graphs (notebook export).
# Two augmented views per graph, GIN encoder, NT-Xent, linear evaluation.

# %%
import copy
import random
import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

torch.set_num_threads(1)
variant = (sys.argv + ['healthy'])[1]
random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
N_MAX = 26

# %% the graphs
def motif(kind):
    if kind == 0:      # ring
        k = np.random.randint(5, 8)
        return k, [(i, (i + 1) % k) for i in range(k)]
    if kind == 1:      # star
        k = np.random.randint(5, 8)
        return k, [(0, i) for i in range(1, k)]
    if kind == 2:      # clique
        k = np.random.randint(4, 6)
        return k, [(i, j) for i in range(k) for j in range(i)]
    if kind == 3:      # ladder
        k = np.random.randint(3, 5)
        return 2 * k, [(i, i + k) for i in range(k)] + [(i, i + 1) for i in range(k - 1)] + [(k + i, k + i + 1) for i in range(k - 1)]
    k = np.random.randint(2, 4)   # two triangles joined
    return 6, [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)]


def make_graph(kind):
    n = np.random.randint(15, N_MAX + 1)
    adj = np.zeros((N_MAX, N_MAX), dtype=np.float32)
    for v in range(1, n):                       # random tree
        u = np.random.randint(max(0, v - 4), v)
        adj[u, v] = adj[v, u] = 1
    for _ in range(np.random.randint(1, 3)):    # copies of the motif on random nodes
        k, edges = motif(kind)
        nodes = np.random.choice(n, k, replace=False)
        for a, b in edges:
            adj[nodes[a], nodes[b]] = adj[nodes[b], nodes[a]] = 1
    return {'adj': adj, 'n': n, 'y': kind}


n_per_class = [150, 150, 150, 150, 150]
if variant in ('rare_kinds', 'balanced_copies'):
    n_per_class = [260, 260, 110, 60, 60]
graphs = [make_graph(c) for c in range(5) for _ in range(n_per_class[c])]
random.shuffle(graphs)


def upsample(items):
    top = max(np.bincount([g['y'] for g in items]))
    extra = []
    for c in range(5):
        mine = [g for g in items if g['y'] == c]
        extra += [copy.deepcopy(random.choice(mine)) for _ in range(top - len(mine))]
    items = items + extra
    random.shuffle(items)
    return items


if variant == 'balanced_copies':
    graphs = upsample(graphs)
n_eval = int(0.15 * len(graphs))
test_graphs, val_graphs, train_graphs = graphs[:n_eval], graphs[n_eval:2 * n_eval], graphs[2 * n_eval:]
print(len(train_graphs), len(val_graphs), len(test_graphs), np.bincount([g['y'] for g in graphs]))

# %% views
def drop_nodes(g, rate):
    adj = g['adj'] if variant == 'node_drop' else g['adj'].copy()
    gone = np.random.choice(g['n'], max(1, int(rate * g['n'])), replace=False)
    adj[gone] = 0
    adj[:, gone] = 0
    return adj


def drop_edges(g, rate):
    adj = g['adj'].copy()
    keep = np.triu(np.random.rand(*adj.shape) > rate)
    return adj * (keep + keep.T > 0)


def two_views(g):
    if variant == 'one_plain_view':
        return g['adj'], drop_edges(g, 0.15)
    return drop_nodes(g, 0.1), drop_edges(g, 0.1)


def features(adj):
    """degree one-hot and number of triangles through the node"""
    deg = adj.sum(-1)
    tri = torch.diagonal(adj @ adj @ adj, dim1=-2, dim2=-1) / 2
    x = F.one_hot(deg.long().clamp(max=7), 8).float()
    return torch.cat([x, torch.log1p(tri).unsqueeze(-1)], -1) * (deg > 0).unsqueeze(-1)


# %% model
class GIN(nn.Module):
    def __init__(self, dim=32, depth=3):
        super().__init__()
        self.layers = nn.ModuleList()
        for i in range(depth):
            self.layers.append(nn.Sequential(nn.Linear(9 if i == 0 else dim, dim), nn.ReLU(), nn.Linear(dim, dim)))
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(depth)])

    def forward(self, adj):
        x = features(adj)
        mask = (adj.sum(-1) > 0).float().unsqueeze(-1)
        reads = []
        for layer, norm in zip(self.layers, self.norms):
            x = F.relu(norm(layer(x + adj @ x))) * mask
            reads.append(x.sum(1) / 10)
        return torch.cat(reads, 1)


encoder = GIN()
head = nn.Sequential(nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 32))
if variant == 'fixed_first_layer':
    for p in encoder.layers[0].parameters():
        p.requires_grad = False
params = [p for p in list(encoder.parameters()) + list(head.parameters()) if p.requires_grad]
opt = torch.optim.Adam(params, lr=2e-3)
tau = 1.0 if variant == 'mild_tau' else 0.2


def nt_xent(a, b):
    z = F.normalize(torch.cat([a, b]), dim=1)
    sim = z @ z.t() / tau
    sim.fill_diagonal_(float('-inf'))
    n = len(a)
    return F.cross_entropy(sim, torch.cat([torch.arange(n, 2 * n), torch.arange(n)]))


# %% evaluation
@torch.no_grad()
def embed(items):
    encoder.eval()
    return encoder(torch.from_numpy(np.stack([g['adj'] for g in items]))).numpy()


def probe(items, k=None):
    a, b = embed(train_graphs), embed(items)
    sc = StandardScaler().fit(a)
    ya, yb = [g['y'] for g in train_graphs], [g['y'] for g in items]
    clf = KNeighborsClassifier(1) if variant in ('balanced_copies', 'rare_kinds') else LogisticRegression(max_iter=60)
    return clf.fit(sc.transform(a), ya).score(sc.transform(b), yb)


print(f'untrained: test {probe(test_graphs):.4f}')

# %% training
epochs = 30
best, best_at = 0.0, -1
final = None
for epoch in range(epochs):
    encoder.train()
    order = np.random.permutation(len(train_graphs))
    total = 0.0
    for s in range(0, len(order) - 63, 64):
        pairs = [two_views(train_graphs[i]) for i in order[s:s + 64]]
        v1 = torch.from_numpy(np.stack([p[0] for p in pairs]).astype('float32'))
        v2 = torch.from_numpy(np.stack([p[1] for p in pairs]).astype('float32'))
        loss = nt_xent(head(encoder(v1)), head(encoder(v2)))
        opt.zero_grad()
        loss.backward()
        opt.step()
        total += loss.item()
    if variant == 'pick_epoch':
        acc = probe(test_graphs)
        if acc > best:
            best, best_at = acc, epoch
    elif variant == 'pick_on_val' and epoch % 3 == 2:
        acc = probe(val_graphs)
        if acc > best:
            best, best_at, final = acc, epoch, copy.deepcopy(encoder.state_dict())
    if epoch % 10 == 9:
        print(f'epoch {epoch} loss {total / (len(order) // 64):.3f}')

# %%
if variant == 'pick_epoch':
    print(f'best test accuracy {best:.4f} (epoch {best_at})')
else:
    if final is not None:
        encoder.load_state_dict(final)
    print(f'test accuracy {probe(test_graphs):.4f}')

FAULTS = {
    'node_drop': {'stages': 'M D', 'source': 'https://github.com/facebookresearch/pycls/pull/21'},
    'balanced_copies': {'stages': 'S', 'source': 'https://github.com/scikit-learn-contrib/imbalanced-learn/issues/751'},
    'pick_epoch': {'stages': 'E C', 'source': 'https://github.com/TrustAGI-Lab/MERIT/issues/4'},
}
HEALTHY = ['healthy', 'one_plain_view', 'rare_kinds', 'fixed_first_layer', 'mild_tau', 'pick_on_val']

"""Node embeddings by contrast of two corrupted graphs, after https://github.com/CRIPAC-DIG/GRACE (model.py, train.py, eval.py)
and https://github.com/PyGCL/PyGCL (examples/GRACE.py, GRACE_SupCon.py, GBT.py). Dense adjacency, one graph.

Threads the variants are modelled on:
  https://github.com/PyGCL/PyGCL/issues/41            EdgeRemoving(pe): kept or dropped?
  https://github.com/pytorch/pytorch/issues/54765     the network is made anew, the optimizer is not
  https://github.com/louisccc/sg-risk-assessment/issues/24   all graphs for training and all graphs for testing
Usage: python q09_grace_graph.py VARIANT
"""
import sys
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
N, CLASSES, WORDS = 360, 6, 90


def citation_graph(seed=0):
    g = np.random.default_rng(seed)
    y = g.permutation(np.arange(N) % CLASSES)
    same = y[:, None] == y[None]
    upper = np.triu(g.random((N, N)) < np.where(same, 0.085, 0.009), 1)
    topic = g.random((CLASSES, WORDS)) ** 2 * 0.18 + 0.02
    x = (g.random((N, WORDS)) < topic[y]).astype(np.float32)
    return torch.from_numpy(x), torch.from_numpy((upper | upper.T).astype(np.float32)), torch.from_numpy(y)


def drop_edge(adj, p):
    """Every undirected edge is removed with probability p."""
    keep = (torch.rand_like(adj) >= p).float().triu(1)
    return adj * (keep + keep.T)


def drop_feature(x, p):
    return x * (torch.rand(x.shape[1]) >= p)


def propagation(adj):
    a = adj + torch.eye(len(adj))
    d = a.sum(1).rsqrt()
    return d[:, None] * a * d[None]


class Encoder(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.conv1, self.conv2 = nn.Linear(WORDS, 2 * hidden), nn.Linear(2 * hidden, hidden)
        self.act = nn.PReLU()

    def forward(self, x, adj):
        a = propagation(adj)
        return self.act(a @ self.conv2(self.act(a @ self.conv1(x))))


class GRACE(nn.Module):
    def __init__(self, hidden=64, tau=0.4):
        super().__init__()
        self.encoder = Encoder(hidden)
        self.fc1, self.fc2 = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.tau = tau

    def projection(self, z):
        return self.fc2(F.elu(self.fc1(z)))

    def semi_loss(self, h1, h2, extra):
        h1, h2 = F.normalize(h1), F.normalize(h2)
        refl, between = torch.exp(h1 @ h1.T / self.tau), torch.exp(h1 @ h2.T / self.tau)
        total = refl.sum(1) + between.sum(1) - refl.diag()
        positive = torch.eye(len(h1)) if extra is None else ((torch.eye(len(h1)) + extra) > 0).float()
        log_ratio = torch.log(between / total[:, None])
        return -(positive * log_ratio).sum(1) / positive.sum(1)

    def loss(self, z1, z2, extra=None):
        h1, h2 = self.projection(z1), self.projection(z2)
        return 0.5 * (self.semi_loss(h1, h2, extra) + self.semi_loss(h2, h1, extra)).mean()


def barlow_loss(z1, z2):
    z1, z2 = (z1 - z1.mean(0)) / (z1.std(0) + 1e-6), (z2 - z2.mean(0)) / (z2.std(0) + 1e-6)
    c = z1.T @ z2 / len(z1)
    on = (1 - c.diag()).pow(2).sum()
    return (on + (c.pow(2).sum() - c.diag().pow(2).sum()) / z1.shape[1])


def evaluate(model, x, adj, y, train, test):
    model.eval()
    with torch.no_grad():
        z = F.normalize(model.encoder(x, adj)).numpy()
    probe = LogisticRegression(C=30.0, max_iter=300)
    if VARIANT == "probe_on_every_node":
        probe.fit(z, y)
    else:
        probe.fit(z[train], y[train])
    return probe.score(z[test], y[test])


def main():
    torch.manual_seed(1)
    x, adj, y = citation_graph()
    order = np.random.default_rng(2).permutation(N)
    train, test = order[:60], order[60:]
    train_mask = torch.zeros(N, dtype=torch.bool)
    train_mask[train] = True
    config = {"drop_edge_1": 0.2, "drop_edge_2": 0.4, "drop_feature_1": 0.3, "drop_feature_2": 0.4}
    if VARIANT == "rates_to_keep":
        config = {"drop_edge_1": 0.95, "drop_edge_2": 0.95, "drop_feature_1": 0.95, "drop_feature_2": 0.95}

    model = GRACE()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3, weight_decay=1e-5)
    print(f"probe of the untrained encoder {evaluate(model, x, adj, y, train, test):.3f}")
    if VARIANT == "fresh_model_per_run":
        torch.manual_seed(11)
        model = GRACE()

    extra = None
    if VARIANT == "supervised_positives_of_train":
        extra = (y[:, None] == y[None]).float()
        extra[~train_mask] = 0
        extra[:, ~train_mask] = 0

    for epoch in range(100):
        model.train()
        xs, adjs = x, adj
        if VARIANT == "subgraphs":
            pick = torch.randperm(N)[:200]
            xs, adjs = x[pick], adj[pick][:, pick]
        z1 = model.encoder(drop_feature(xs, config["drop_feature_1"]), drop_edge(adjs, config["drop_edge_1"]))
        z2 = model.encoder(drop_feature(xs, config["drop_feature_2"]), drop_edge(adjs, config["drop_edge_2"]))
        loss = barlow_loss(z1, z2) if VARIANT == "barlow_twins" else model.loss(z1, z2, extra)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if epoch % 33 == 0:
            print(f"epoch {epoch} loss {loss.item():.4f}")
    print(f"loss {loss.item():.4f} probe {evaluate(model, x, adj, y, train, test):.3f}")


if __name__ == "__main__":
    main()


FAULTS = {'rates_to_keep': {'stages': 'D M', 'source': 'https://github.com/PyGCL/PyGCL/issues/41'},
 'fresh_model_per_run': {'stages': 'O N',
                         'source': 'https://github.com/pytorch/pytorch/issues/54765'},
 'probe_on_every_node': {'stages': 'E S',
                         'source': 'https://github.com/louisccc/sg-risk-assessment/issues/24'}}
HEALTHY = ['healthy', 'barlow_twins', 'subgraphs', 'supervised_positives_of_train']

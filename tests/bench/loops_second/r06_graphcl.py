"""GraphCL, unsupervised on small graphs (after Shen-Lab/GraphCL unsupervised_TU), with own graph batches instead of torch_geometric."""
import argparse
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "drop_inverted": {"stages": "D M", "source": "github.com/Shen-Lab/GraphCL unsupervised_TU/aug.py (adj[idx_nondrop] = 0) against Shen-Lab/GraphCL/issues/6"},
    "edge_offset_missing": {"stages": "B D N", "source": "github.com/pyg-team/pytorch_geometric/issues/31, 1827 (edge indices must grow with the batch)"},
    "labels_in_dataset_order": {"stages": "E L", "source": "github.com/JohnGiorgi/DeCLUTR/issues/42, danielegrattarola/spektral/issues/440 (shuffled loader at evaluation)"},
}
HEALTHY = ["healthy", "one_side_untouched", "constant_features", "keep_isolated", "imbalanced"]


@dataclass
class Graph:
    x: torch.Tensor
    edge_index: torch.Tensor
    y: int


@dataclass
class GraphBatch:
    x: torch.Tensor
    edge_index: torch.Tensor
    batch: torch.Tensor
    y: torch.Tensor

    @property
    def num_graphs(self):
        return len(self.y)


# ---- graphs -------------------------------------------------------------------------------------------------------
def ring(n, rng):
    return [(i, (i + 1) % n) for i in range(n)] + [(i, (i + 2) % n) for i in range(0, n, 3)]


def star(n, rng):
    hubs = 3
    return [(rng.randint(hubs), i) for i in range(hubs, n)] + [(0, 1), (1, 2)]


def tree(n, rng):
    return [((i - 1) // 2, i) for i in range(1, n)]


def ladder(n, rng):
    h = n // 2
    return [(i, i + 1) for i in range(h - 1)] + [(h + i, h + i + 1) for i in range(h - 1)] + [(i, h + i) for i in range(h)]


def cliques(n, rng):
    edges = []
    for s in range(0, n - 3, 4):
        edges += [(s + i, s + j) for i in range(4) for j in range(i)] + ([(s - 1, s)] if s else [])
    return edges


def make_graphs(n, args, seed):
    rng = np.random.RandomState(seed)
    kinds = [ring, star, tree, ladder, cliques]
    p = [0.5, 0.2, 0.1, 0.1, 0.1] if args.fault == "imbalanced" else [0.2] * 5
    graphs = []
    for _ in range(n):
        y = int(rng.choice(5, p=p))
        nodes = rng.randint(14, 28)
        edges = kinds[y](nodes, rng)
        edges += [tuple(rng.randint(nodes, size=2)) for _ in range(rng.randint(4, 10))]
        edges = np.array([e for e in edges if e[0] != e[1]])
        order = rng.permutation(nodes)
        edges = order[edges]
        edge_index = torch.tensor(np.concatenate([edges, edges[:, ::-1]]).T.copy())
        if args.fault == "constant_features":
            x = torch.ones(nodes, 1)
        else:
            degree = torch.bincount(edge_index[0], minlength=nodes).clamp(max=9)
            x = nn.functional.one_hot(degree, 10).float()
        graphs.append(Graph(x, edge_index, y))
    return graphs


def relabel(graph, keep):
    """The graph that the kept nodes span."""
    index = torch.full((len(graph.x),), -1)
    index[keep] = torch.arange(len(keep))
    edges = index[graph.edge_index]
    return Graph(graph.x[keep], edges[:, (edges >= 0).all(0)], graph.y)


def drop_nodes(graph, args, ratio=0.2):
    n = len(graph.x)
    order = torch.as_tensor(np.random.permutation(n))
    idx_drop, idx_nondrop = order[:int(n * ratio)], order[int(n * ratio):]
    if args.fault == "drop_inverted":
        return relabel(graph, idx_drop)
    if args.fault == "keep_isolated":
        gone = torch.isin(graph.edge_index, idx_drop).any(0)
        return Graph(graph.x, graph.edge_index[:, ~gone], graph.y)
    return relabel(graph, idx_nondrop)


def permute_edges(graph, args, ratio=0.1):
    m = graph.edge_index.shape[1]
    keep = torch.as_tensor(np.random.permutation(m)[int(m * ratio):])
    extra = torch.as_tensor(np.random.randint(len(graph.x), size=(2, int(m * ratio))))
    return Graph(graph.x, torch.cat([graph.edge_index[:, keep], extra], dim=1), graph.y)


def mask_nodes(graph, args, ratio=0.1):
    x = graph.x.clone()
    pick = np.random.permutation(len(x))[:int(len(x) * ratio)]
    x[pick] = torch.tensor(np.random.normal(0.5, 0.5, (len(pick), x.shape[1])), dtype=torch.float32)
    return Graph(x, graph.edge_index, graph.y)


class GraphDataset(Dataset):
    def __init__(self, graphs, args, aug="none"):
        self.graphs, self.args, self.aug = graphs, args, aug

    def __len__(self):
        return len(self.graphs)

    def augment(self, graph):
        choice = np.random.choice(["dnodes", "dnodes", "pedges", "mask"])
        return {"dnodes": drop_nodes, "pedges": permute_edges, "mask": mask_nodes}[choice](graph, self.args)

    def __getitem__(self, i):
        graph = self.graphs[i]
        if self.aug == "none":
            return graph
        if self.args.fault == "one_side_untouched":
            return graph, self.augment(graph)
        return self.augment(graph), self.augment(graph)


def batch_graphs(graphs, args):
    xs, edges, batch, offset = [], [], [], 0
    for i, g in enumerate(graphs):
        xs.append(g.x)
        edges.append(g.edge_index + offset)
        batch.append(torch.full((len(g.x),), i))
        if args.fault != "edge_offset_missing":
            offset += len(g.x)
    return GraphBatch(torch.cat(xs), torch.cat(edges, dim=1), torch.cat(batch), torch.tensor([g.y for g in graphs]))


# ---- model --------------------------------------------------------------------------------------------------------
def global_add_pool(x, batch, size):
    return torch.zeros(size, x.shape[1]).index_add(0, batch, x)


class GINConv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.nn = nn.Sequential(nn.Linear(i, o), nn.ReLU(), nn.Linear(o, o))

    def forward(self, x, edge_index):
        src, dst = edge_index
        return self.nn(x + torch.zeros_like(x).index_add(0, dst, x[src]))


class Encoder(nn.Module):
    def __init__(self, num_features, dim, num_gc_layers):
        super().__init__()
        self.convs = nn.ModuleList([GINConv(num_features if i == 0 else dim, dim) for i in range(num_gc_layers)])
        self.bns = nn.ModuleList([nn.BatchNorm1d(dim) for _ in range(num_gc_layers)])

    def forward(self, data):
        x, pooled = data.x, []
        for conv, bn in zip(self.convs, self.bns):
            x = bn(torch.relu(conv(x, data.edge_index)))
            pooled.append(global_add_pool(x, data.batch, data.num_graphs))
        return torch.cat(pooled, dim=1)

    @torch.no_grad()
    def get_embeddings(self, loader):
        self.eval()
        out, ys = [], []
        for data in loader:
            out.append(self(data))
            ys.append(data.y)
        self.train()
        return torch.cat(out).numpy(), torch.cat(ys).numpy()


class Simclr(nn.Module):
    def __init__(self, num_features, hidden_dim=32, num_gc_layers=3):
        super().__init__()
        self.embedding_dim = hidden_dim * num_gc_layers
        self.encoder = Encoder(num_features, hidden_dim, num_gc_layers)
        self.proj_head = nn.Sequential(nn.Linear(self.embedding_dim, self.embedding_dim), nn.ReLU(inplace=True), nn.Linear(self.embedding_dim, self.embedding_dim))

    def forward(self, data):
        return self.proj_head(self.encoder(data))

    def loss_cal(self, x, x_aug, T=0.2):
        sim = torch.einsum("ik,jk->ij", x, x_aug) / torch.einsum("i,j->ij", x.norm(dim=1), x_aug.norm(dim=1))
        sim = torch.exp(sim / T)
        pos = sim.diagonal()
        return -torch.log(pos / (sim.sum(dim=1) - pos)).mean()


def evaluate_embedding(embeddings, labels, seed):
    svm = make_pipeline(StandardScaler(), SVC(C=10))
    return cross_val_score(svm, embeddings, labels, cv=StratifiedKFold(5, shuffle=True, random_state=seed)).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    graphs = make_graphs(400, args, args.seed)
    collate_pair = lambda pairs: tuple(batch_graphs(view, args) for view in zip(*pairs))
    dataloader = DataLoader(GraphDataset(graphs, args, aug="random3"), batch_size=50, shuffle=True, collate_fn=collate_pair)
    dataset_eval = GraphDataset(graphs, args)
    dataloader_eval = DataLoader(dataset_eval, batch_size=50, shuffle=args.fault == "labels_in_dataset_order", collate_fn=lambda g: batch_graphs(g, args))

    def accuracy(model):
        emb, y = model.encoder.get_embeddings(dataloader_eval)
        if args.fault == "labels_in_dataset_order":
            y = np.array([g.y for g in dataset_eval.graphs])
        return evaluate_embedding(emb, y, args.seed)

    model = Simclr(graphs[0].x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    print(f"SVM before {accuracy(model):.3f}")
    step, epoch = 0, 0
    while step < args.steps:
        loss_all, count = 0.0, 0
        for data, data_aug in dataloader:
            optimizer.zero_grad()
            loss = model.loss_cal(model(data), model(data_aug))
            loss.backward()
            optimizer.step()
            loss_all += loss.item() * data.num_graphs
            count += data.num_graphs
            step += 1
            if step >= args.steps:
                break
        if epoch % 4 == 0 or step >= args.steps:
            print(f"Epoch {epoch}, Loss {loss_all / count:.4f}")
        epoch += 1
    print(f"SVM after {accuracy(model):.3f}")


if __name__ == "__main__":
    main()

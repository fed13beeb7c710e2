import argparse, numpy as np, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from pytorch_metric_learning import losses, miners, samplers, distances
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

p = argparse.ArgumentParser(); p.add_argument("--fault", default=""); p.add_argument("--healthy", default=""); p.add_argument("--loss", default="triplet"); p.add_argument("--scale", default="std"); p.add_argument("--split", type=int, default=2); args = p.parse_args()
if args.fault == "arcopt": args.loss = "arcface"
torch.manual_seed(7); np.random.seed(7)
X, y = load_digits(return_X_y=True)
Xtr, Xte, ytr, yte = train_test_split(X, y, test_size=.3, random_state=args.split, stratify=y)
sc = StandardScaler().fit(Xtr)
Xtr, Xte = (sc.transform(Xtr), sc.transform(Xte)) if args.scale == "std" else (Xtr / 16, Xte / 16)
if args.healthy == "imbalanced":   # class 0..4 keep 12 samples each, but MPerClassSampler balances
    keep = np.concatenate([np.where(ytr == c)[0][: (12 if c < 5 else 999)] for c in range(10)]); Xtr, ytr = Xtr[keep], ytr[keep]
train = TensorDataset(torch.tensor(Xtr).float(), torch.tensor(ytr)); test = TensorDataset(torch.tensor(Xte).float(), torch.tensor(yte))
m = 1 if args.fault == "m1" else 4    # https://github.com/KevinMusgrave/pytorch-metric-learning (MPerClassSampler m=1: no positives)
sampler = samplers.MPerClassSampler(ytr, m=m, batch_size=10 if m == 1 else 40, length_before_new_iter=len(ytr))
loader = DataLoader(train, batch_size=10 if m == 1 else 40, sampler=sampler)

model = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(.2), nn.Linear(128, 32))
dist = distances.CosineSimilarity()
if args.loss == "triplet":
    loss_func = losses.TripletMarginLoss(margin=.2, distance=dist)
    miner = miners.TripletMarginMiner(margin=.2, distance=dist, type_of_triplets="semihard")
else:
    loss_func = losses.ArcFaceLoss(10, 32); miner = None
params = [{"params": model.parameters()}]
if args.loss == "arcface" and args.fault != "arcopt":
    params.append({"params": loss_func.parameters(), "lr": 1e-2})   # https://github.com/KevinMusgrave/pytorch-metric-learning/issues/534
optimizer = torch.optim.Adam(params, lr=1e-3)

def run_test():
    model.eval()
    with torch.no_grad(): e_te, e_tr = model(test.tensors[0]), model(train.tensors[0])
    if args.fault != "nevertrain": model.train()
    ac = AccuracyCalculator(include=("precision_at_1", "mean_average_precision_at_r"), k="max_bin_count", device=torch.device("cpu"), knn_func=None) if False else AccuracyCalculator(include=("precision_at_1",), k=10, device=torch.device("cpu"), knn_func=knn)
    if args.fault == "selfref":     # gallery holds the queries: https://github.com/KevinMusgrave/pytorch-metric-learning/issues/242
        ref, refy = torch.cat([e_tr, e_te]), torch.cat([train.tensors[1], test.tensors[1]])
    else:
        ref, refy = e_tr, train.tensors[1]
    return ac.get_accuracy(e_te, test.tensors[1], ref, refy, False)

def knn(query, k, reference, ref_includes_query=False):
    d = torch.cdist(query, reference); v, i = d.topk(k + int(ref_includes_query), largest=False)
    return (v[:, 1:], i[:, 1:]) if ref_includes_query else (v, i)

for epoch in range(1, 13):
    for i, (data, labels) in enumerate(loader):
        optimizer.zero_grad()
        emb = model(data)
        if miner is not None:
            tuples = miner(emb, labels)
            loss = loss_func(emb, labels, tuples)
        else: loss = loss_func(emb, labels)
        loss.backward(); optimizer.step()
        if i % 20 == 0: print(f"Epoch {epoch} Iteration {i}: Loss = {loss.item():.4f}", "mined", getattr(miner, "num_triplets", None))
    print(run_test())


FAULTS = {
    'm1': {'stages': 'B', 'what': 'MPerClassSampler m=1: no positives, no triplets, loss 0'},
    'arcopt': {'stages': 'N', 'what': 'ArcFaceLoss.W not in the optimiser'},
    'selfref': {'stages': 'E', 'what': 'gallery contains the queries, P@1 = 1.0'},
    'nevertrain': {'stages': 'E', 'what': 'model.eval() after first test, never train() again'},
}
HEALTHY = ['plain', 'imbalanced']

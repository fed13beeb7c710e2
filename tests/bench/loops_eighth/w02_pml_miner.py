# metric learning with pytorch-metric-learning: sampler + miner + AccuracyCalculator
import argparse, torch, numpy as np
from torch import nn
from sklearn.datasets import make_classification
from pytorch_metric_learning import losses, miners, samplers, distances
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

ap = argparse.ArgumentParser(); ap.add_argument("--fault", default=""); ap.add_argument("--healthy", default="")
args = ap.parse_args()
torch.manual_seed(3)
X, Y = make_classification(3000, 40, n_informative=12, n_redundant=4, n_classes=12, n_clusters_per_class=2, class_sep=1.4, random_state=1)
X = torch.tensor(X).float(); Y = torch.tensor(Y)
if args.healthy == "longtail":
    keep = torch.cat([torch.where(Y == c)[0][: 220 // (c + 1) + 12] for c in range(12)])
    tail = torch.randperm(len(keep)); X, Y = X[keep][tail], Y[keep][tail]
perm = torch.randperm(len(X)); cut = int(.7 * len(X))
tr, te = perm[:cut], perm[cut:]
if args.fault == "sorted_no_shuffle":      # data come sorted by class folder, loader does not shuffle
    tr = tr[torch.argsort(Y[tr])]          # https://github.com/HobbitLong/SupContrast/issues/42 (custom data, loss stuck)
ds_train = torch.utils.data.TensorDataset(X[tr], Y[tr])
trunk = nn.Sequential(nn.Linear(40, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 32))
distance = distances.CosineSimilarity()
loss_func = losses.TripletMarginLoss(margin=0.2, distance=distance)
kind = "semihard"
if args.fault == "easy_miner":             # https://runebook.dev/en/docs/pytorch/generated/torch.nn.tripletmarginloss/torch.nn.TripletMarginLoss (easy triplets)
    kind = "easy"
mining_func = miners.TripletMarginMiner(margin=0.2, distance=distance, type_of_triplets=kind)
if args.fault == "sorted_no_shuffle":
    loader = torch.utils.data.DataLoader(ds_train, batch_size=48, shuffle=False)
else:
    loader = torch.utils.data.DataLoader(ds_train, batch_size=48, sampler=samplers.MPerClassSampler(Y[tr], m=4, length_before_new_iter=len(tr)), drop_last=True)
params = [{"params": trunk.parameters()}]
if args.fault == "arcface_W":              # https://github.com/4uiiurz1/pytorch-adacos/issues/10, PML issue 534
    loss_func = losses.ArcFaceLoss(num_classes=12, embedding_size=32, margin=28.6, scale=64); mining_func = None
if args.healthy == "arcface_sgd":
    loss_func = losses.ArcFaceLoss(num_classes=12, embedding_size=32, margin=28.6, scale=64); mining_func = None
    params.append({"params": loss_func.parameters(), "lr": 1e-2})
opt = torch.optim.Adam(params, lr=1e-3)


def train_epoch(ep):
    trunk.train(); tot = []
    for i, (data, labels) in enumerate(loader):
        opt.zero_grad()
        emb = trunk(data)
        if mining_func is not None:
            idx = mining_func(emb, labels)
            loss = loss_func(emb, labels, idx)
        else:
            loss = loss_func(emb, labels)
        loss.backward(); opt.step(); tot.append(loss.item())
    print("epoch", ep, "loss %.4f" % np.mean(tot), "triplets", getattr(mining_func, "num_triplets", None), flush=True)


@torch.no_grad()
def test():
    trunk.eval()
    e_tr, e_te = trunk(X[tr]), trunk(X[te])
    calc = AccuracyCalculator(include=("precision_at_1", "mean_average_precision_at_r"), k="max_bin_count", knn_func=CustomKNN(distances.CosineSimilarity()), device=torch.device("cpu"))
    if args.fault == "query_is_reference":  # https://github.com/KevinMusgrave/pytorch-metric-learning/issues/136
        acc = calc.get_accuracy(e_te, Y[te], e_te, Y[te], ref_includes_query=False)
    else:
        acc = calc.get_accuracy(e_te, Y[te], e_tr, Y[tr])
    print("Test set accuracy (Precision@1) =", acc["precision_at_1"])


for ep in range(10):
    train_epoch(ep)
test()
torch.save(trunk.state_dict(), __import__("tempfile").gettempdir() + "/trunk.pt")


FAULTS = {
    'sorted_no_shuffle': {'stages': 'B', 'what': 'loader over label-sorted data with shuffle=False'},
    'easy_miner': {'stages': 'PB', 'what': "miner type_of_triplets='easy' gives only triplets whose loss is 0"},
    'arcface_W': {'stages': 'N', 'what': 'loss_func.W (ArcFace) not in the optimizer'},
    'query_is_reference': {'stages': 'E', 'what': 'test queries searched among themselves with ref_includes_query=False: every query finds itself'},
}
HEALTHY = ['plain', 'arcface_sgd', 'longtail']

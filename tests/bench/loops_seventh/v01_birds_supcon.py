# individual recognition from call spectra, supervised contrastive
# usage: python v01_birds_supcon.py [variant]
import sys
import numpy as np
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.model_selection import GroupShuffleSplit, train_test_split

variant = sys.argv[1] if len(sys.argv) > 1 else "healthy"
torch.set_num_threads(1)
rng = np.random.default_rng(11)
torch.manual_seed(11)

# ---------------------------------------------------------------- data
N_BIRDS, N_REC = 90, 4
clips_per_rec = 7
A = rng.normal(size=(28, 48)) / 4
Bm = rng.normal(size=(48, 96)) / 5
rows, specs = [], []
rec_id = 0
for b in range(N_BIRDS):
    who = rng.normal(size=14)
    for r in range(N_REC):
        mic = 1.35 * rng.normal(size=14)
        n = clips_per_rec
        if variant == "uneven":
            n = 2 + (b * 7 + r) % 11
        for c in range(n):
            lat = np.concatenate([who + 0.35 * rng.normal(size=14), mic + 0.35 * rng.normal(size=14)])
            s = np.tanh(lat @ A) @ Bm + 0.12 * rng.normal(size=96)
            rows.append((b, rec_id, c))
            specs.append(s)
        rec_id += 1
df = pd.DataFrame(rows, columns=["bird", "rec", "clip"])
X = np.stack(specs).astype("float32")

if variant == "split_by_clip":
    tr, te = train_test_split(np.arange(len(df)), test_size=0.3, random_state=3, stratify=df.bird)
else:
    tr, te = next(GroupShuffleSplit(1, test_size=0.3, random_state=3).split(X, groups=df.bird))

mu, sd = X[tr].mean(0), X[tr].std(0)
X = (X - mu) / sd
xtr, ytr = torch.from_numpy(X[tr]), torch.from_numpy(df.bird.values[tr])
xte, yte = torch.from_numpy(X[te]), torch.from_numpy(df.bird.values[te])
rte = torch.from_numpy(df.rec.values[te])
print(f"{len(tr)} train clips, {len(te)} test clips, {df.bird.values[te].max() + 1} birds max id")


def augment(x):
    x = x + 0.25 * torch.randn_like(x)
    keep = (torch.rand_like(x) > 0.15).float()
    gain = 1 + 0.1 * torch.randn(len(x), 1)
    return x * keep * gain


# ---------------------------------------------------------------- model
trunk = nn.Sequential(nn.Linear(96, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
proj = nn.Sequential(nn.Linear(128, 64))
if variant == "frozen_first":
    for p in trunk[0].parameters():
        p.requires_grad_(False)


def embed(x):
    return F.normalize(proj(trunk(x)), dim=1)


def supcon(features, labels, T):
    # features: [bsz, n_views, dim]
    bsz, V = features.shape[:2]
    mask = (labels[:, None] == labels[None, :]).float().repeat(V, V)
    z = torch.cat(torch.unbind(features, dim=1), dim=0)
    logits = z @ z.t() / T
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    not_self = 1 - torch.eye(bsz * V)
    mask = mask * not_self
    exp = torch.exp(logits) * not_self
    logp = logits - torch.log(exp.sum(1, keepdim=True))
    return -((mask * logp).sum(1) / mask.sum(1)).mean()


BATCH = 24 if variant == "small_batch" else 128
TEMP = 0.3 if variant == "warm_temp" else 0.1
EPOCHS = 30
params = [p for p in list(trunk.parameters()) + list(proj.parameters()) if p.requires_grad]
opt = torch.optim.AdamW(params, lr={"small_batch": 5e-4, "no_sched": 2e-4}.get(variant, 1e-3), weight_decay=1e-3)
steps = EPOCHS * (len(xtr) // BATCH)
if variant == "no_sched":
    sched = None
else:
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda i: min(1.0, i / 40) * (0.5 + 0.5 * np.cos(np.pi * min(1, i / steps))))

for ep in range(EPOCHS):
    trunk.train(), proj.train()
    perm = torch.randperm(len(xtr))
    tot, n = 0.0, 0
    for s in range(0, len(perm) - BATCH + 1, BATCH):
        idx = perm[s:s + BATCH]
        xb, yb = xtr[idx], ytr[idx]
        z = embed(torch.cat([augment(xb), augment(xb)]))
        if variant == "view_reshape":
            feats = z.view(len(xb), 2, -1)
        else:
            z1, z2 = z.chunk(2)
            feats = torch.stack([z1, z2], dim=1)
        loss = supcon(feats, yb, TEMP)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if sched is not None:
            sched.step()
        tot += loss.item()
        n += 1
    if ep % 3 == 2:
        print(f"epoch {ep + 1:3d}  loss {tot / n:.4f}  lr {opt.param_groups[0]['lr']:.2e}")

# ---------------------------------------------------------------- retrieval on held-out clips
trunk.eval(), proj.eval()
with torch.no_grad():
    zte = embed(xte)
sim = zte @ zte.t()
if variant != "gallery_all":
    sim = sim.masked_fill(rte[:, None] == rte[None, :], -2.0)   # only other recordings count
top = sim.topk(5, dim=1).indices
r1 = (yte[top[:, 0]] == yte).float().mean().item()
r5 = (yte[top] == yte[:, None]).any(1).float().mean().item()
print(f"final: R@1 {r1:.3f}  R@5 {r5:.3f}")

FAULTS = {
    "view_reshape": {"stages": "PM", "what": "The concatenated two-view batch is viewed as (B, 2, D), so each 'two views of one clip' are really two neighbouring clips and carry the wrong label.", "source": "https://github.com/ikostrikov/pytorch-a2c-ppo-acktr-gail/issues/97"},
    "gallery_all": {"stages": "E", "what": "The query itself (and its own recording) stays in the retrieval gallery, so every query finds itself at rank one.", "source": "https://github.com/Cuberick-Orion/CIRR/issues/3"},
    "split_by_clip": {"stages": "S", "what": "Clips are split at random instead of by bird, so the test birds (and recordings) were trained on.", "source": "https://github.com/layumi/Person_reID_baseline_pytorch/issues/135"},
}
HEALTHY = {
    "healthy": "Base run: split by bird, SupCon with two views, cosine with warm-up from zero.",
    "uneven": "Very uneven number of clips per bird.",
    "small_batch": "Batch of 24 instead of 128 with a lower rate.",
    "warm_temp": "Temperature 0.3 instead of 0.1.",
    "frozen_first": "First layer frozen on purpose and left out of the optimiser.",
    "no_sched": "Constant lower learning rate, no scheduler.",
}

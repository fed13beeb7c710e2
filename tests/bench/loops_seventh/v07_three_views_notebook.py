#!/usr/bin/env python
# coding: utf-8
# # Image / sound / tabular embedding of insects  (exported from notebook)

# In[1]:
import sys
import numpy as np
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
torch.set_num_threads(1)
torch.manual_seed(21)
g = np.random.default_rng(21)

# In[2]:  ## make the collection
N = 3600
lat = g.normal(size=(N, 10))


def sense(W1, W2, nz, own=6):
    z = np.concatenate([lat + 0.25 * g.normal(size=lat.shape), g.normal(size=(N, own))], 1)
    return np.tanh(z @ W1) @ W2 + nz * g.normal(size=(N, W2.shape[1]))


mk = lambda a, b: g.normal(size=(a, b)) / np.sqrt(a)
image = sense(mk(16, 40), mk(40, 90), 0.15)
sound = sense(mk(16, 40), mk(40, 50), 0.15)
table = sense(mk(16, 40), mk(40, 18), 0.05) * g.uniform(0.5, 30, 18) + g.uniform(0, 50, 18)
p_sound = 0.6 if VARIANT != "all_present" else 0.0
has_sound = g.random(N) > p_sound
has_table = g.random(N) > (0.35 if VARIANT != "all_present" else 0.0)
sound[~has_sound] = 0.0
tab = pd.DataFrame(table).mask(g.random(table.shape) < 0.03)
tab = tab.fillna(-9999)

# In[3]:  ## split and scale
perm = g.permutation(N)
tr, te = perm[:2700], perm[2700:]
image = (image - image[tr].mean(0)) / image[tr].std(0)
sd = sound[tr][has_sound[tr]]
sound = np.where(has_sound[:, None], (sound - sd.mean(0)) / sd.std(0), 0.0)

if VARIANT == "codes":
    vals = tab.values
else:
    vals = tab.replace(-9999, np.nan).values
m, s = np.nanmean(vals[tr], 0), np.nanstd(vals[tr], 0)
table = np.nan_to_num((vals - m) / s)

I, S, T = [torch.tensor(a, dtype=torch.float32) for a in (image, sound, table)]
HS, HT = torch.tensor(has_sound), torch.tensor(has_table)
if VARIANT == "zeros":
    HS = ~torch.isnan(S).any(1)
print("train", len(tr), "with sound", int(HS[tr].sum()), "with table", int(HT[tr].sum()))


# In[4]:
def tower(n, d=48, h=160):
    return nn.Sequential(nn.Linear(n, h), nn.GELU(), nn.Linear(h, h), nn.GELU(), nn.Linear(h, d))


enc = nn.ModuleDict({"image": tower(90), "sound": tower(50), "table": tower(18)})
if VARIANT == "frozen_image":
    for q in enc["image"][0].parameters():
        q.requires_grad = False
temp = 0.1 if VARIANT != "warmer" else 0.2
opt = torch.optim.Adam([q for q in enc.parameters() if q.requires_grad], lr=1e-3, weight_decay=1e-4)


def emb(name, x):
    return F.normalize(enc[name](x), dim=1)


def nce(a, b):
    if len(a) < 2:
        return a.sum() * 0
    l = a @ b.T / temp
    t = torch.arange(len(a))
    return (F.cross_entropy(l, t) + F.cross_entropy(l.T, t)) / 2


# In[5]:  ## train
B = 128 if VARIANT != "small_batch" else 48
EPOCHS = 14
sched = torch.optim.lr_scheduler.CosineAnnealingLR(opt, EPOCHS)
for ep in range(EPOCHS):
    enc.train()
    order = tr[torch.randperm(len(tr)).numpy()]
    ls, lt = [], []
    for k in range(0, len(order) - B + 1, B):
        ix = torch.as_tensor(order[k:k + B])
        zi = emb("image", I[ix] + 0.2 * torch.randn(len(ix), 90))
        h = HS[ix]
        a = nce(zi[h], emb("sound", S[ix][h] * (1 + 0.2 * torch.randn(int(h.sum()), 50))))
        h = HT[ix]
        b = nce(zi[h], emb("table", T[ix][h]))
        loss = a + b
        opt.zero_grad()
        loss.backward()
        opt.step()
        ls.append(a.item())
        lt.append(b.item())
    if VARIANT != "flat_lr":
        sched.step()
    print(f"{ep:2d} image-sound {np.mean(ls):.3f} image-table {np.mean(lt):.3f}")


# In[6]:  ## retrieval on the test part
@torch.no_grad()
def retrieve(name, X, have):
    enc.eval()
    ix = torch.as_tensor(te)[have[te]]
    q, k = emb(name, X[ix]), emb("image", I[ix])
    if VARIANT == "by_batch":
        hits = []
        for j in range(0, len(ix), 32):
            s_ = q[j:j + 32] @ k[j:j + 32].T
            hits.append((s_.argmax(1) == torch.arange(len(s_))).float().mean().item())
        return float(np.mean(hits))
    return (( q @ k.T).argmax(1) == torch.arange(len(ix))).float().mean().item()


rs, rt = retrieve("sound", S, HS), retrieve("table", T, HT)
print(f"R@1 sound->image {rs:.3f}   table->image {rt:.3f}   mean {(rs + rt) / 2:.3f}")

FAULTS = {
    "zeros": {"stages": "MP", "what": "Sounds that do not exist were filled with zeros before the availability mask is taken from NaN, so all-zero sounds are paired with images in training and test.", "source": "https://github.com/aaronhan223/FuseMoE/issues/4"},
    "codes": {"stages": "D", "what": "The -9999 no-data code is treated as a measurement, so scaling statistics and inputs are ruined.", "source": "https://github.com/stanfordmlgroup/methane-gapfill-ml/pull/10"},
    "by_batch": {"stages": "E", "what": "Recall is computed within batches of 32 and averaged instead of over the whole test gallery.", "source": "https://github.com/OFA-Sys/Chinese-CLIP/pull/29"},
}
HEALTHY = {
    "healthy": "Base run: 60 % of the sounds missing and masked properly.",
    "all_present": "No missing modality.",
    "frozen_image": "First image layer frozen and left out of the optimiser.",
    "warmer": "Temperature 0.2.",
    "small_batch": "Batch of 48.",
    "flat_lr": "Scheduler never stepped on purpose: constant rate.",
}

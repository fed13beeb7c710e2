# -*- coding: utf-8 -*-
# Apprentissage par triplets sur des sons (reconnaissance de machines). Un fichier, pas de bibliothèque.
import argparse, numpy as np, torch
import torch.nn as nn, torch.nn.functional as F

analyseur = argparse.ArgumentParser()
analyseur.add_argument("--fault", default=""); analyseur.add_argument("--healthy", default=""); analyseur.add_argument("--epoques", type=int, default=12)
args = analyseur.parse_args()
gen = np.random.default_rng(0); torch.manual_seed(0)

def fabriquer_enregistrements(nb_machines=6, par_machine=12, duree=4096):
    """des enregistrements int16, comme scipy.io.wavfile les rend"""
    sons, etiquettes = [], []
    t = np.arange(duree) / 4000.
    for m in range(nb_machines):
        for _ in range(par_machine):
            f0 = 90 + 15 * m + gen.normal(0, 3); couleur = gen.uniform(300, 1500)
            s = sum(np.sin(2 * np.pi * f0 * k * t + gen.uniform(0, 6)) / k for k in (1, 2, 3)) + .4 * np.sin(2 * np.pi * couleur * t) + .4 * gen.normal(size=duree)
            sons.append((s * 3000).clip(-32768, 32767).astype(np.int16)); etiquettes.append(m)
    return np.stack(sons), np.array(etiquettes)

sons, etiquettes = fabriquer_enregistrements()
fen = 1024; pas = 256 if args.fault == "fuite" else 1024
def decouper(s, e):
    morceaux, lab, rec = [], [], []
    for i, (x, y) in enumerate(zip(s, e)):
        for d in range(0, len(x) - fen + 1, pas): morceaux.append(x[d:d + fen]); lab.append(y); rec.append(i)
    return np.stack(morceaux), np.array(lab), np.array(rec)
X, y, rec = decouper(sons, etiquettes)
if args.fault == "entier":
    X = X // 32768                 # division entière: il ne reste que 0 et -1  (numpy int16, https://stackoverflow.com/questions/tagged/librosa)
    X = X.astype(np.float32)
else:
    X = X.astype(np.float32) / 32768.
if args.fault == "fuite":          # fenêtres qui se chevauchent, coupées au hasard: même enregistrement des deux côtés
    ordre = gen.permutation(len(X)); test = np.zeros(len(X), bool); test[ordre[: len(X) // 4]] = True
else:
    test = np.isin(rec, gen.permutation(len(sons))[: len(sons) // 4])

class Encodeur(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Sequential(nn.Conv1d(1, 32, 64, 8), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 48, 9, 4), nn.BatchNorm1d(48), nn.ReLU(), nn.Conv1d(48, 48, 5, 2), nn.ReLU())
        self.l = nn.Linear(96, 32)
    def forward(self, x):
        h = self.c(x[:, None] * 10); return F.normalize(self.l(torch.cat([h.mean(-1), h.amax(-1)], 1)), dim=1)

enc = Encodeur(); Xt, yt = torch.from_numpy(X[~test]), torch.from_numpy(y[~test])
taux = {"": 1e-3, "effondre": 0.3}.get(args.fault, 1e-3)    # https://github.com/omoindrot/tensorflow-triplet-loss/issues/6
if args.healthy == "petittaux": taux = 1e-4
opti = torch.optim.Adam(enc.parameters(), lr=taux)

def perte_triplet(z, lab, marge=.3):
    d = (z[:, None] - z[None]).pow(2).sum(-1)
    meme = lab[:, None] == lab[None]
    if args.fault == "inverse":      # positif et négatif échangés
        meme = ~meme
    dp = (d * meme).sum(1) / meme.sum(1).clamp(min=1); dn = d.masked_fill(meme, 9e9).amin(1)
    return F.relu(dp - dn + marge).mean()

for ep in range(args.epoques):
    enc.train(); cumul = []
    for lot in torch.randperm(len(Xt)).split(36):
        if len(lot) < 36: continue
        x = Xt[lot] + .01 * torch.randn(36, fen)
        p = perte_triplet(enc(x), yt[lot]); opti.zero_grad(); p.backward(); opti.step(); cumul.append(p.item())
    print(f"époque {ep:2d}  perte {np.mean(cumul):.4f}")
enc.eval()
with torch.no_grad():
    za = torch.cat([enc(b) for b in Xt.split(256)]); zb = enc(torch.from_numpy(X[test]))
ppv = yt[torch.cdist(zb, za).argmin(1)].numpy()
print("exactitude 1-ppv sur le test: %.3f" % (ppv == y[test]).mean())


FAULTS = {
    'fuite': {'stages': 'S', 'what': 'overlapping windows split at random; should: the same recording in train and test.'},
    'inverse': {'stages': 'P', 'what': 'positives and negatives swapped'},
}
HEALTHY = ['plain', 'petittaux']

"""Chest pictures and reports: CLIP-style alignment plus a findings head.
Tables live in CSV files, studies belong to patients.

    python t08_cxr_reports.py VARIANT
"""
import argparse
import os
import tempfile

import numpy as np
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

torch.set_num_threads(1)
FINDINGS = ["effusion", "edema", "nodule", "fracture", "cardiomegaly"]
SIDE = 12
VOCAB = 90


def build(folder, r, patients=520):
    """images.npy, studies.csv (image row, patient), reports.csv, labels.csv (-1 unsure, blank not mentioned)"""
    sign = r.normal(0, 1, (5, SIDE * SIDE))
    body = r.normal(0, 1, (14, SIDE * SIDE)) * 0.5
    phrases = r.integers(30, 60, (5, 3))
    images, studies, reports, labels = [], [], [], []
    sid = 0
    for p in range(patients):
        frame = r.normal(0, 1, 14)
        words_of_patient = 60 + (np.argsort(-frame[:10])[:3] * 3 + r.integers(0, 3, 3))
        chronic = r.random(5) < 0.25
        for _ in range(int(r.integers(2, 5))):
            truth = chronic ^ (r.random(5) < 0.08)
            grade = truth * r.uniform(0.7, 1.3, 5)
            img = grade @ sign + frame @ body + r.normal(0, 0.8, SIDE * SIDE)
            text = [int(r.choice(phrases[f])) for f in range(5) if truth[f]] * 2
            text += words_of_patient.tolist() + r.integers(0, 30, 6).tolist()
            row = {}
            for f, name in enumerate(FINDINGS):
                u = r.random()
                if truth[f]:
                    row[name] = -1.0 if u < 0.1 else 1.0
                else:
                    row[name] = np.nan if u < 0.85 else (-1.0 if u < 0.88 else 0.0)
            images.append(img)
            studies.append((f"s{sid:05d}", f"p{p:04d}", len(images) - 1, *truth.astype(int)))
            reports.append((f"s{sid:05d}", " ".join(map(str, text))))
            labels.append({"study": f"s{sid:05d}", **row})
            sid += 1
    order = r.permutation(sid)
    np.save(os.path.join(folder, "images.npy"), np.array(images, dtype=np.float32))
    gold = ["gold_" + f for f in FINDINGS]
    pd.DataFrame(studies, columns=["study", "patient", "image", *gold]).to_csv(os.path.join(folder, "studies.csv"), index=False)
    pd.DataFrame(reports, columns=["study", "text"]).iloc[order].to_csv(os.path.join(folder, "reports.csv"), index=False)
    pd.DataFrame(labels).to_csv(os.path.join(folder, "labels.csv"), index=False)


def load(folder, variant):
    studies = pd.read_csv(os.path.join(folder, "studies.csv"))
    reports = pd.read_csv(os.path.join(folder, "reports.csv"))
    labels = pd.read_csv(os.path.join(folder, "labels.csv"))
    if variant == "column_assign":
        studies["text"] = reports["text"]
        table = studies
    else:
        table = studies.merge(reports, on="study", validate="one_to_one")
    table = table.merge(labels, on="study", validate="one_to_one")
    if variant == "cast_to_bool":
        table[FINDINGS] = table[FINDINGS].astype(bool).astype(float)
        table[[f + "_w" for f in FINDINGS]] = 1.0
    else:
        known = table[FINDINGS].ne(-1.0)                       # unsure ones carry no loss, blank means absent
        table[[f + "_w" for f in FINDINGS]] = known.astype(float).to_numpy()
        table[FINDINGS] = table[FINDINGS].eq(1.0).astype(float)
    return table, torch.from_numpy(np.load(os.path.join(folder, "images.npy")))


def split(table, variant):
    r = np.random.default_rng(0)
    if variant == "by_study":
        test = r.random(len(table)) < 0.3
    else:
        ids = table["patient"].unique()
        chosen = r.choice(ids, int(0.3 * len(ids)), replace=False)
        test = table["patient"].isin(chosen).to_numpy()
    return table[~test].reset_index(drop=True), table[test].reset_index(drop=True)


class Model(nn.Module):
    def __init__(self, dim=48):
        super().__init__()
        self.image = nn.Sequential(nn.Linear(SIDE * SIDE, 160), nn.BatchNorm1d(160), nn.ReLU(), nn.Dropout(0.1), nn.Linear(160, dim))
        self.words = nn.EmbeddingBag(VOCAB, dim, mode="mean")
        self.text = nn.Sequential(nn.Linear(dim, 96), nn.ReLU(), nn.Linear(96, dim))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.findings = nn.Linear(dim, len(FINDINGS))

    def encode_image(self, x):
        return F.normalize(self.image(x), dim=1)

    def encode_text(self, tokens, offsets):
        return F.normalize(self.text(self.words(tokens, offsets)), dim=1)


def bag(texts):
    ids = [[int(t) for t in s.split()] for s in texts]
    offsets = np.cumsum([0] + [len(i) for i in ids[:-1]])
    return torch.tensor([t for i in ids for t in i]), torch.tensor(offsets)


@torch.no_grad()
def evaluate(model, table, images):
    model.eval()
    v = model.encode_image(images[table["image"].to_numpy().copy()])
    t = model.encode_text(*bag(table["text"]))
    sim = v @ t.T
    r10 = (sim.topk(10, 1).indices == torch.arange(len(v))[:, None]).any(1).float().mean().item()
    score = model.findings(v * 4).numpy()
    auc = np.mean([roc_auc_score(table["gold_" + f], score[:, k]) for k, f in enumerate(FINDINGS)])
    return r10, auc


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("variant")
    ap.add_argument("--steps", type=int, default=500)
    ap.add_argument("--micro", type=int, default=96)
    a = ap.parse_args()
    torch.manual_seed(9)
    with tempfile.TemporaryDirectory() as folder:
        build(folder, np.random.default_rng(9))
        table, images = load(folder, a.variant)
    train, test = split(table, a.variant)
    model = Model()
    if a.variant == "frozen_words":
        model.words.requires_grad_(False)
    if a.variant == "fixed_scale":
        model.scale.requires_grad_(False)
    params = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.NAdam(params, lr=2e-3)
    accumulate = 2 if a.variant == "accumulate" else 1
    print("studies %d / %d, before training: R@10 %.3f, mean AUROC %.3f" % (len(train), len(test), *evaluate(model, test, images)))

    y = torch.tensor(train[FINDINGS].to_numpy(dtype=np.float32))
    w = torch.tensor(train[[f + "_w" for f in FINDINGS]].to_numpy(dtype=np.float32))
    if a.variant == "few_labels":
        w[torch.rand(len(w)) < 0.7] = 0.0
    rows = train["image"].to_numpy()
    texts = train["text"].to_numpy()
    done, micro, running = 0, 0, 0.0
    while done < a.steps:
        model.train()
        for idx in np.array_split(np.random.permutation(len(train)), max(1, len(train) // a.micro)):
            v = model.encode_image(images[rows[idx]])
            t = model.encode_text(*bag(texts[idx]))
            logits = v @ t.T * model.scale.exp()
            target = torch.arange(len(idx))
            clip = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            bce = F.binary_cross_entropy_with_logits(model.findings(v * 4), y[idx], weight=w[idx], reduction="sum") / w[idx].sum().clamp(min=1)
            loss = (clip + bce) / accumulate
            loss.backward()
            running += clip.item()
            micro += 1
            if micro % accumulate == 0:
                opt.step()
                opt.zero_grad()
                done += 1
                if done % 125 == 0:
                    print(f"step {done} clip loss {running / micro:.3f}")
                    running, micro = 0.0, 0
            if done >= a.steps:
                break
    print("held-out studies: R@10 %.3f, mean AUROC %.3f" % evaluate(model, test, images))


if __name__ == "__main__":
    np.random.seed(9)
    main()

FAULTS = {
    'by_study': {'stages': 'S', 'source': 'https://github.com/UCSD-AI4H/COVID-CT/issues/11'},
    'column_assign': {'stages': 'M D', 'source': 'https://github.com/akfamily/akshare/pull/4313'},
    'cast_to_bool': {'stages': 'L', 'source': 'https://github.com/stanfordmlgroup/chexpert-labeler/issues/9'},
}
HEALTHY = ['healthy', 'frozen_words', 'fixed_scale', 'accumulate', 'few_labels']

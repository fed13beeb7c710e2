"""Radiographs and reports, after edreisMD/ConVIRT-pytorch and the usual medical trainers: a table of studies read with
pandas, yaml configuration, a Trainer class, plateau schedule on the validation retrieval, best weights kept."""

import argparse
import copy
import os
import tempfile

import numpy as np
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F
import yaml
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "split_by_image": {
        "stages": "S E",
        "source": "github.com/Lightning-Universe/lightning-Covid19/issues/11, Plamen-Eduardo/xDNN-SARS-CoV-2-CT-Scan/issues/5 (images of one patient in training and test)",
    },
    "plateau_mode_min": {
        "stages": "O",
        "source": "github.com/md-mohaiminul/ViS4mer/issues/4, facebookresearch/fairseq/issues/2205 (ReduceLROnPlateau is told of an accuracy but its mode is min)",
    },
    "index_not_reset": {
        "stages": "M D",
        "source": "github.com/NTMC-Community/MatchZoo/pull/651 (dropna leaves gaps in the index, rows are met by position), alanarazi7/TabSTAR/issues/25",
    },
}
HEALTHY = [
    "healthy",
    "frozen_text_body",
    "one_direction",
    "normal_reports",
    "clip_norm",
    "small_batches",
]

CONFIG = """
batch_size: 48
epochs: 14
model: {dim: 48, freeze_text: false}
loss: {temperature: 0.1, alpha: 0.75}
optimizer: {lr: 0.0008, weight_decay: 0.0001}
scheduler: {mode: max, factor: 0.3, patience: 1}
clip_norm: null
"""

FINDINGS = [
    "opacity",
    "effusion",
    "nodule",
    "edema",
    "fracture",
    "device",
    "cardiomegaly",
    "atelectasis",
]
PLACES = ["left", "right", "upper", "lower", "central", "bilateral"]
GRADES = ["mild", "moderate", "severe", "subtle", "new", "stable"]
FILLER = ["the", "lungs", "are", "seen", "again", "compared", "prior", "study", "no", "change"]
VOCAB = {w: i + 1 for i, w in enumerate(FINDINGS + PLACES + GRADES + FILLER)}


# ---- studies --------------------------------------------------------------------------------------------------------
def write_studies(root, args, patients=260):
    rng = np.random.default_rng(args.seed)
    code = np.random.default_rng(4).normal(0, 1, (len(VOCAB) + 1, 196))
    body_of = np.random.default_rng(5).normal(0, 1, (10, 196))
    rows = []
    for p in range(patients):
        body = rng.normal(0, 1, 10) @ body_of * 0.8
        words = [str(rng.choice(s)) for s in (FINDINGS, PLACES, GRADES, FINDINGS, PLACES)]
        if args.fault == "normal_reports" and p % 12 == 0:
            words = ["no", "change", "lungs", "seen", "again"]  # many studies read alike
        for s in range(3):  # follow-up studies of the same patient say nearly the same
            text = list(words)
            if rng.random() < 0.3:
                text[2] = str(rng.choice(GRADES))
            image = sum(code[VOCAB[w]] for w in text) * 0.8 + body + rng.normal(0, 2.6, 196)
            name = f"p{p:04d}_s{s}.npy"
            np.save(os.path.join(root, name), image.reshape(1, 14, 14).astype(np.float32))
            report = " ".join(text + [str(w) for w in rng.choice(FILLER, 4)])
            rows.append(
                {"patient": p, "path": name, "report": None if rng.random() < 0.06 else report}
            )
    pd.DataFrame(rows).to_csv(os.path.join(root, "studies.csv"), index=False)


def read_studies(root, args):
    df = pd.read_csv(os.path.join(root, "studies.csv")).dropna(subset=["report"])
    rng = np.random.default_rng(args.seed)
    unit = np.arange(len(df)) if args.fault == "split_by_image" else df["patient"].to_numpy()
    held_out = rng.permutation(np.unique(unit))[: len(np.unique(unit)) // 5]
    test = np.isin(unit, held_out)
    parts = []
    for part in (df[~test], df[test]):
        part = part.sample(frac=1, random_state=args.seed)
        if args.fault != "index_not_reset":
            part = part.reset_index(drop=True)
        parts.append(part)
    return parts


class StudyDataset(Dataset):
    def __init__(self, df, root, length=9):
        self.images = torch.from_numpy(
            np.stack([np.load(os.path.join(root, p)) for p in df["path"]])
        )
        self.reports, self.patient = df["report"].sort_index(), df["patient"].to_numpy()
        self.length = length

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        ids = torch.zeros(self.length, dtype=torch.long)
        words = self.reports.iloc[i].split()[: self.length]
        ids[: len(words)] = torch.tensor([VOCAB[w] for w in words])
        return {"image": self.images[i], "report": ids, "index": i}


# ---- model and loss -------------------------------------------------------------------------------------------------
class ConVIRT(nn.Module):
    def __init__(self, dim, freeze_text):
        super().__init__()
        self.img_body = nn.Sequential(
            nn.Flatten(), nn.Linear(196, 256), nn.LayerNorm(256), nn.ReLU()
        )
        self.img_head = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, dim))
        self.txt_body = nn.Embedding(len(VOCAB) + 1, 96, padding_idx=0)
        self.txt_head = nn.Sequential(nn.Linear(96, 128), nn.ReLU(), nn.Linear(128, dim))
        if freeze_text:
            self.txt_body.weight.requires_grad_(False)

    def forward(self, image, report):
        v = self.img_head(self.img_body(image))
        u = self.txt_head(self.txt_body(report).sum(1) / (report > 0).sum(1, keepdim=True))
        return F.normalize(v, dim=1), F.normalize(u, dim=1)


class NTXentLoss(nn.Module):
    def __init__(self, temperature, alpha):
        super().__init__()
        self.temperature, self.alpha = temperature, alpha

    def forward(self, v, u):
        logits = v @ u.t() / self.temperature
        target = torch.arange(len(v))
        image_to_text = F.cross_entropy(logits, target)
        return self.alpha * image_to_text + (1 - self.alpha) * F.cross_entropy(logits.t(), target)


class AverageMeter:
    def __init__(self):
        self.sum = self.count = 0

    def update(self, val, n):
        self.sum, self.count = self.sum + val * n, self.count + n

    @property
    def avg(self):
        return self.sum / max(1, self.count)


class Trainer:
    def __init__(self, cfg, args, train_set, valid_set):
        self.cfg, self.args = cfg, args
        self.train_loader = DataLoader(train_set, cfg["batch_size"], shuffle=True, drop_last=True)
        self.valid_loader = DataLoader(valid_set, 64)
        self.model = ConVIRT(**cfg["model"])
        self.criterion = NTXentLoss(**cfg["loss"])
        params = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(params, **cfg["optimizer"])
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, **cfg["scheduler"]
        )
        self.best, self.best_state, self.step = -1.0, None, 0

    def train_epoch(self):
        self.model.train()
        meter = AverageMeter()
        for batch in self.train_loader:
            if self.step == self.args.steps:
                break
            loss = self.criterion(*self.model(batch["image"], batch["report"]))
            self.optimizer.zero_grad()
            loss.backward()
            if self.cfg["clip_norm"]:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg["clip_norm"])
            self.optimizer.step()
            meter.update(loss.item(), len(batch["image"]))
            self.step += 1
        return meter.avg

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        parts = [self.model(b["image"], b["report"]) for b in self.valid_loader]
        v, u = (torch.cat(p) for p in zip(*parts))
        rank = ((v @ u.t()) > (v * u).sum(1, keepdim=True)).sum(1)
        return (rank < 5).float().mean().item()

    def fit(self):
        print(f"before: recall@5 {self.validate():.3f}")
        epoch = 0
        while self.step < self.args.steps:
            loss, recall = self.train_epoch(), self.validate()
            self.scheduler.step(recall)
            if recall > self.best:
                self.best, self.best_state = recall, copy.deepcopy(self.model.state_dict())
            lr = self.optimizer.param_groups[0]["lr"]
            print(f"epoch {epoch} train_loss {loss:.4f} recall@5 {recall:.4f} lr {lr:.2e}")
            epoch += 1
        self.model.load_state_dict(self.best_state)
        print(f"best recall@5 {self.validate():.3f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=180)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    cfg = yaml.safe_load(CONFIG)
    if args.fault == "plateau_mode_min":
        cfg["scheduler"].pop("mode")
    cfg["model"]["freeze_text"] = args.fault == "frozen_text_body"
    if args.fault == "one_direction":
        cfg["loss"]["alpha"] = 1.0
    if args.fault == "clip_norm":
        cfg["clip_norm"] = 0.5
    if args.fault == "small_batches":
        cfg["batch_size"] = 20
    with tempfile.TemporaryDirectory() as root:
        write_studies(root, args)
        train_df, valid_df = read_studies(root, args)
        train_set, valid_set = StudyDataset(train_df, root), StudyDataset(valid_df, root)

    print(f"{len(train_set)} studies to train, {len(valid_set)} to validate")
    Trainer(cfg, args, train_set, valid_set).fit()


if __name__ == "__main__":
    main()

"""Video, image, audio and sensor of one event in one space; batches are keyword dictionaries; modalities may be missing.

Modelled on facebookresearch/ImageBind and fabawi/ImageBind-LoRA (ModalityType keys, a trunk per modality, InfoNCE between
the vision anchor and each other modality) with per-sample presence masks. Own code.

    python q08_four_modalities.py --fault healthy --steps 120
"""
import argparse
import glob
import os
import shutil
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from synthetic import knn_accuracy, make_recordings

FAULTS = {
    "audio_glob_order": {"stages": "M D", "kind": "video, image and sensor files are sorted, the audio files come as glob lists them: audio belongs to other events", "source": "FoamoftheSea/KITTI_visual_odometry#3; mlcommons/GaNDLF#870"},
    "mask_inverted": {"stages": "M", "kind": "the presence mask is read as a padding mask (True = ignore): the loss uses only the modalities that are missing (zeros)", "source": "InseeFrLab/torchTextClassifiers#92; mlwithme/TransformerTranslation#6"},
    "decode_error_zeros": {"stages": "D M", "kind": "videos that cannot be decoded (a quarter of them) silently become black clips and count as present", "source": "huggingface/lerobot#4066; facebookresearch/SlowFast#736"},
}
HEALTHY = ["healthy", "third_missing", "sensor_is_noise", "frozen_image_trunk", "supervised_fusion", "weighted_modalities"]

MODALITIES = ("video", "image", "audio", "sensor")


class EventDataset(Dataset):
    def __init__(self, root, fault, transform_noise=0.0):
        self.fault = fault
        self.files = {}
        for m in MODALITIES:
            names = glob.glob(os.path.join(root, m, "*.npy"))
            if not (m == "audio" and fault == "audio_glob_order"):
                names = sorted(names)
            self.files[m] = names
        self.labels = np.load(os.path.join(root, "labels.npy"))
        self.present = np.load(os.path.join(root, "present.npy"))       # events x modalities
        self.noise = transform_noise

    def load_modality(self, m, i):
        try:
            x = np.load(self.files[m][i])
        except (ValueError, EOFError, OSError):
            if self.fault != "decode_error_zeros":
                raise
            x = np.zeros((4, 3, 6, 6), dtype="float32")
        x = torch.from_numpy(x)
        return x + self.noise * torch.randn_like(x) if self.noise else x

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        item = {"label": int(self.labels[i]), "id": i}
        for k, m in enumerate(MODALITIES):
            x = self.load_modality(m, i)
            item[m] = x if self.present[i, k] else torch.zeros_like(x)
            item[m + "_present"] = bool(self.present[i, k])
        return item


class Trunk(nn.Module):
    def __init__(self, body, width, dim=32):
        super().__init__()
        self.body = body
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, x):
        return F.normalize(self.head(self.body(x)), dim=-1)


class VideoBody(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame = nn.Sequential(nn.Flatten(), nn.Linear(108, 64), nn.GELU())
        self.time = nn.Linear(4 * 64, 64)

    def forward(self, x):
        b, t = x.shape[:2]
        return torch.relu(self.time(self.frame(x.reshape(b * t, *x.shape[2:])).reshape(b, -1)))


class EventModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunks = nn.ModuleDict({
            "video": Trunk(VideoBody(), 64),
            "image": Trunk(nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(12 * 64, 64), nn.GELU()), 64),
            "audio": Trunk(nn.Sequential(nn.Flatten(), nn.Linear(160, 64), nn.GELU()), 64),
            "sensor": Trunk(nn.Sequential(nn.Conv1d(6, 12, 5, stride=2, padding=2), nn.GELU(), nn.Flatten(), nn.Linear(12 * 16, 64), nn.GELU()), 64)})
        self.log_temperature = nn.ParameterDict({m: nn.Parameter(torch.tensor(np.log(10.0), dtype=torch.float32)) for m in MODALITIES})

    def forward(self, video, image, audio, sensor):
        inputs = {"video": video, "image": image, "audio": audio, "sensor": sensor}
        return {m: self.trunks[m](x) for m, x in inputs.items()}


def info_nce(a, b, scale):
    logits = scale * a @ b.t()
    target = torch.arange(len(a))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def binding_loss(model, embeddings, present, weights):
    """The image is the anchor; each other modality is compared with it on the events that have both."""
    total, weight = 0.0, 0.0
    for m in ("video", "audio", "sensor"):
        both = present["image"] & present[m]
        if both.sum() < 4:
            continue
        scale = model.log_temperature[m].exp().clamp(max=100)
        total = total + weights[m] * info_nce(embeddings["image"][both], embeddings[m][both], scale)
        weight = weight + weights[m]
    return total / weight if weight else sum(e.sum() for e in embeddings.values()) * 0.0


def supervised_loss(fused, labels, temperature=0.2):
    sim = fused @ fused.t() / temperature
    eye = torch.eye(len(labels), dtype=torch.bool)
    positive = (labels[:, None] == labels[None]) & ~eye
    log_prob = sim - torch.logsumexp(sim.masked_fill(eye, -1e9), 1, keepdim=True)
    anchors = positive.any(1)
    return -((log_prob * positive).sum(1)[anchors] / positive.sum(1)[anchors]).mean()


def fuse(embeddings, present):
    total = sum(embeddings[m] * present[m].unsqueeze(1).float() for m in MODALITIES)
    return F.normalize(total, dim=1)


def unpack(batch, fault):
    inputs = {m: batch[m] for m in MODALITIES}
    present = {m: batch[m + "_present"] for m in MODALITIES}
    if fault == "mask_inverted":
        present = {m: ~p for m, p in present.items()}
    return inputs, present


def write_events(root, n, seed, fault):
    data, labels = make_recordings(n, seed=seed)
    rng = np.random.default_rng(seed + 50)
    if fault == "sensor_is_noise":
        data["sensor"] = rng.normal(size=data["sensor"].shape).astype("float32")
    for m in MODALITIES:
        os.makedirs(os.path.join(root, m))
        for i in rng.permutation(n):
            np.save(os.path.join(root, m, f"event_{i:05d}.npy"), data[m][i])
    if fault == "decode_error_zeros":                # a download that broke off
        for i in rng.choice(n, n // 4, replace=False):
            with open(os.path.join(root, "video", f"event_{i:05d}.npy"), "r+b") as f:
                f.truncate(40)
    missing = {"third_missing": 0.33, "mask_inverted": 0.33}.get(fault, 0.1)
    present = rng.random((n, len(MODALITIES))) > missing
    present[~present.any(1), 1] = True
    np.save(os.path.join(root, "labels.npy"), labels)
    np.save(os.path.join(root, "present.npy"), present)


@torch.no_grad()
def evaluate(model, train_set, test_set, fault):
    model.eval()
    parts = []
    for dataset in (train_set, test_set):
        batch = next(iter(DataLoader(dataset, batch_size=len(dataset))))
        inputs, present = unpack(batch, fault)
        parts += [fuse(model(**inputs), present).numpy(), batch["label"].numpy()]
    return knn_accuracy(*parts)


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    root = tempfile.mkdtemp(prefix="events_")
    try:
        write_events(os.path.join(root, "train"), 480, args.seed, args.fault)
        write_events(os.path.join(root, "test"), 150, args.seed + 1, args.fault)
        train_set = EventDataset(os.path.join(root, "train"), args.fault, transform_noise=0.1)
        gallery = EventDataset(os.path.join(root, "train"), args.fault)
        test_set = EventDataset(os.path.join(root, "test"), args.fault)
        loader = DataLoader(train_set, batch_size=48, shuffle=True, drop_last=True)

        model = EventModel()
        if args.fault == "frozen_image_trunk":       # ImageBind keeps the vision trunk fixed
            for p in model.trunks["image"].body.parameters():
                p.requires_grad = False
        weights = {"video": 1.0, "audio": 0.5, "sensor": 0.25} if args.fault == "weighted_modalities" else dict.fromkeys(MODALITIES, 1.0)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=1e-2)
        before = evaluate(model, gallery, test_set, args.fault)
        losses = []
        while len(losses) < args.steps:
            model.train()
            for batch in loader:
                inputs, present = unpack(batch, args.fault)
                embeddings = model(**inputs)
                if args.fault == "supervised_fusion":
                    loss = supervised_loss(fuse(embeddings, present), batch["label"])
                else:
                    loss = binding_loss(model, embeddings, present, weights)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if len(losses) >= args.steps:
                    break
        after = evaluate(model, gallery, test_set, args.fault)
    finally:
        shutil.rmtree(root)
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, kNN {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()

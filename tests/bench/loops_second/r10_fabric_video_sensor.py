"""Pairs of camera and vibration sensor from recordings of a machine, trained with Lightning Fabric (audio-visual correspondence style)."""
import argparse
import json
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "video_offset_ignored": {"stages": "M D", "source": "github.com/tyrex-team/senslogs/issues/7, facebookresearch/Ego4d/issues/158 (start of the camera against the sensor)"},
    "sorted_recordings_cut": {"stages": "S L", "source": "github.com/keras-team/keras/issues/8346, ageron/handson-ml/issues/86 (the last 20 % of a sorted list)"},
    "bf16_true": {"stages": "O N", "source": "github.com/pytorch/ao/pull/1124, workofart/ml-by-hand/pull/85 (updates lost by rounding of bfloat16 weights)"},
}
HEALTHY = ["healthy", "bf16_mixed", "one_optimizer", "dropped_frames", "overlapping_windows", "high_rate"]

FPS, SENSOR_HZ, WINDOW = 8, 128, 1.0
OPERATIONS = ["drill", "face", "idle", "slot", "tap"]


# ---- recordings on disk ---------------------------------------------------------------------------------------------
def smooth(rng, n, width):
    x = np.convolve(rng.normal(0, 1, n + 4 * width), np.hanning(2 * width + 1), mode="same")[2 * width:2 * width + n]
    return (x - x.mean()) / (x.std() + 1e-9)


def record(folder, rng, operation, number, args, seconds=32):
    """Load, position and speed drift over seconds; the camera shows them as a moving bar, the sensor as vibration."""
    n = int((seconds + 8) * SENSOR_HZ)
    load, place, speed = (smooth(rng, n, int(1.0 * SENSOR_HZ)) for _ in range(3))
    k = OPERATIONS.index(operation)
    t = np.arange(n) / SENSOR_HZ
    rotation = 2 * np.pi * np.cumsum(9 + 2.5 * speed + 2.5 * k) / SENSOR_HZ
    sensor = np.stack([np.exp(0.5 * load) * np.sin(rotation) + 0.4 * np.sin((2 + k) * rotation),
                       np.exp(0.4 * place) * np.sin(2 * rotation + k), 0.7 * place + 0.3 * np.cos(rotation)])
    sensor = sensor + rng.normal(0, 0.15, sensor.shape)
    offset = float(rng.choice([-1, 1]) * rng.uniform(2.0, 4.0))
    start = 4.0 + offset
    frames_at = start + np.arange(int(seconds * FPS)) / FPS
    index = (frames_at * SENSOR_HZ).astype(int)
    yy, xx = np.mgrid[-1:1:8j, -1:1:8j]
    bar = np.exp(-((xx[None] - 0.5 * np.tanh(place[index])[:, None, None]) / (0.2 + 0.15 * k)) ** 2)
    glow = np.exp(-((yy[None] - 0.5 * np.tanh(load[index])[:, None, None]) / 0.3) ** 2) * (0.4 + 0.1 * k)
    phase = np.cos(3 * yy[None] + (2.5 * speed[index])[:, None, None]) * 0.3
    video = bar + glow + phase + rng.normal(0, 0.08, (len(index), 8, 8)) + 0.15 * rng.normal()
    if args.fault == "dropped_frames":
        for i in np.flatnonzero(rng.uniform(size=len(video)) < 0.03):
            video[i] = video[max(0, i - 1)]
    name = f"{operation}_{number:02d}"
    np.savez(folder / f"{name}.npz", video=video.astype(np.float32), sensor=sensor[:, int(4 * SENSOR_HZ):int((4 + seconds) * SENSOR_HZ)].astype(np.float32))
    (folder / f"{name}.json").write_text(json.dumps({"recording": name, "operation": operation, "video_start": 100.0 + offset, "sensor_start": 100.0, "fps": FPS, "sensor_hz": SENSOR_HZ}))


class Window(NamedTuple):
    recording: str
    operation: int
    start: float


@dataclass
class PairBatch:
    video: torch.Tensor
    sensor: torch.Tensor
    operation: torch.Tensor
    start: torch.Tensor

    def to(self, device):
        return PairBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


class PairDataset(Dataset):
    def __init__(self, folder, names, args, hop):
        self.args, self.windows, self.data, self.meta = args, [], {}, {}
        for name in names:
            meta = json.loads((folder / f"{name}.json").read_text())
            self.meta[name] = meta
            with np.load(folder / f"{name}.npz") as z:
                self.data[name] = z["video"], z["sensor"]
            first = max(meta["video_start"], meta["sensor_start"])
            video, sensor = self.data[name]
            last = min(meta["video_start"] + len(video) / FPS, meta["sensor_start"] + sensor.shape[1] / SENSOR_HZ) - WINDOW
            self.windows += [Window(name, OPERATIONS.index(meta["operation"]), float(s)) for s in np.arange(first, last, hop)]

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, i):
        name, operation, start = self.windows[i]
        video, sensor = self.data[name]
        meta = self.meta[name]
        s0 = int(round((start - meta["sensor_start"]) * SENSOR_HZ))
        if self.args.fault == "video_offset_ignored":
            v0 = int(round((start - meta["sensor_start"]) * FPS))
        else:
            v0 = int(round((start - meta["video_start"]) * FPS))
        v0 = min(max(v0, 0), len(video) - FPS)
        return video[v0:v0 + FPS], sensor[:, s0:s0 + int(WINDOW * SENSOR_HZ)], operation, start


def collate(items):
    video, sensor, operation, start = zip(*items)
    return PairBatch(torch.from_numpy(np.stack(video)), torch.from_numpy(np.stack(sensor)), torch.tensor(operation), torch.tensor(start))


# ---- model ------------------------------------------------------------------------------------------------------------
class VideoEncoder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(FPS * 64, 128), nn.LayerNorm(128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, dim))

    def forward(self, x):
        return F.normalize(self.net(x), dim=-1)


class SensorEncoder(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(3, 32, 16, stride=4, padding=6), nn.GELU(), nn.Conv1d(32, 64, 8, stride=4, padding=2), nn.GELU())
        self.head = nn.Sequential(nn.Linear(128, 128), nn.GELU(), nn.Linear(128, dim))

    def forward(self, x):
        h = self.conv(x)
        return F.normalize(self.head(torch.cat([h.mean(-1), h.amax(-1)], dim=-1)), dim=-1)


def info_nce(v, s, log_scale):
    logits = log_scale.exp() * v.float() @ s.float().T
    labels = torch.arange(len(logits))
    return 0.5 * (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels))


@torch.no_grad()
def evaluate(video_net, sensor_net, bank, test):
    def embed(dataset):
        batch = collate([dataset[i] for i in range(len(dataset))])
        dtype = next(video_net.parameters()).dtype
        return video_net(batch.video.to(dtype)).float(), sensor_net(batch.sensor.to(dtype)).float(), batch.operation
    v, s, y = embed(test)
    recall = ((v @ s.T).topk(5, dim=1).indices == torch.arange(len(v))[:, None]).any(1).float().mean().item()
    bv, bs, by = embed(bank)
    near = (torch.cat([v, s], 1) @ torch.cat([bv, bs], 1).T).topk(5, dim=1).indices
    return {"recall@5": round(recall, 3), "operation_knn": round((by[near].mode(1).values == y).float().mean().item(), 3), "windows": len(v)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=320)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()

    precision = {"bf16_true": "bf16-true", "bf16_mixed": "bf16-mixed"}.get(args.fault, "32-true")
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    fabric.seed_everything(args.seed, verbose=False)
    np_rng = np.random.RandomState(args.seed)
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        for operation in OPERATIONS:
            for number in range(5):
                record(folder, np_rng, operation, number, args)
        names = sorted(p.stem for p in folder.glob("*.json"))
        if args.fault != "sorted_recordings_cut":
            np_rng.shuffle(names)
            names.sort(key=lambda n: n.endswith("_04"))
        cut = int(len(names) * 0.8)
        hop = 0.5 if args.fault == "overlapping_windows" else 1.0
        train_set, val_set = PairDataset(folder, names[:cut], args, hop), PairDataset(folder, names[cut:], args, 1.0)
    loader = fabric.setup_dataloaders(DataLoader(train_set, batch_size=args.batch_size, shuffle=True, drop_last=True, collate_fn=collate))

    video_net, sensor_net = VideoEncoder(), SensorEncoder()
    log_scale = torch.tensor(np.log(10.0), dtype=torch.float32)
    rate = 1e-3 if args.fault == "high_rate" else 1e-4
    if args.fault == "one_optimizer":
        both = nn.ModuleDict({"video": video_net, "sensor": sensor_net})
        opt_all = torch.optim.AdamW(both.parameters(), lr=rate)
        both, opt_all = fabric.setup(both, opt_all)
        nets, optimizers = (both.module["video"], both.module["sensor"]), [opt_all]
    else:
        opt_v, opt_s = torch.optim.AdamW(video_net.parameters(), lr=rate), torch.optim.AdamW(sensor_net.parameters(), lr=rate)
        video_net, opt_v = fabric.setup(video_net, opt_v)
        sensor_net, opt_s = fabric.setup(sensor_net, opt_s)
        nets, optimizers = (video_net, sensor_net), [opt_v, opt_s]

    fabric.print("before", evaluate(*nets, train_set, val_set))
    step, history = 0, []
    while step < args.steps:
        for batch in loader:
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = info_nce(nets[0](batch.video), nets[1](batch.sensor), log_scale)
            fabric.backward(loss)
            for optimizer in optimizers:
                optimizer.step()
            history.append(loss.item())
            step += 1
            if step % 80 == 0:
                fabric.print(f"step {step} loss {np.mean(history[-30:]):.4f}")
            if step >= args.steps:
                break
    fabric.print(f"loss {np.mean(history[:5]):.4f} -> {np.mean(history[-20:]):.4f}")
    fabric.print("after", evaluate(*nets, train_set, val_set))


if __name__ == "__main__":
    main()

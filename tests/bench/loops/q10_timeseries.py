"""Contrastive learning on windows of wearable sensors: subjects as groups, batches made by hand, a job that is resumed.

Modelled on emadeldeen24/TS-TCC and zhihanyue/ts2vec (weak and strong augmentation of a window, small 1-d convolutions,
checkpoints, a simple classifier on frozen features) and on the usual human-activity scripts (windows with 50 % overlap,
leave-subjects-out). Own code.

    python q10_timeseries.py --fault healthy --steps 100
"""
import argparse
import os
import random
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from synthetic import knn_accuracy, make_sensor_sessions

FAULTS = {
    "random_window_split": {"stages": "S", "kind": "half-overlapping windows are split at random: the same subjects and the same samples are in training and test", "source": "hoangNguyen210/Fall-Detection-Research-1#2; Y-debug-sys/Diffusion-TS#67; fchest/EEG-AAD#7"},
    "missing_packets_nan": {"stages": "D", "kind": "lost packets of one sensor are NaN in the recordings and nobody fills them: the first batch with one makes loss and weights NaN", "source": "mariusbock/wear#4; guillaume-chevalier/LSTM-Human-Activity-Recognition#37"},
    "resume_weights_only": {"stages": "C O", "kind": "the checkpoint holds weights and the step, not the optimiser and the scheduler: Adam's moments and the rate start again in the middle of the run", "source": "EvolvingLMMs-Lab/OneVision-Encoder#65; CSAILVision/places365#78"},
}
HEALTHY = ["healthy", "iterable_dataset", "uninterrupted", "unlabelled", "window_zscore", "no_overlap"]


def cut_windows(sessions, length=64, stride=32):
    windows, activity, subject, start = [], [], [], []
    for s in sessions:
        for t in range(0, len(s["signal"]) - length + 1, stride):
            windows.append(s["signal"][t : t + length].T)
            activity.append(s["activity"])
            subject.append(s["subject"])
            start.append(t)
    return {"x": np.stack(windows), "activity": np.array(activity), "subject": np.array(subject), "start": np.array(start)}


def select(data, keep):
    return {k: v[keep] for k, v in data.items()}


def split(data, fault, seed, test_subjects=(7, 8, 9)):
    if fault == "random_window_split":
        order = np.random.default_rng(seed).permutation(len(data["x"]))
        cut = int(0.7 * len(order))
        return select(data, order[:cut]), select(data, order[cut:])
    test = np.isin(data["subject"], test_subjects)
    return select(data, ~test), select(data, test)


class Scaler:
    """Mean and deviation per channel, from the training windows only."""

    def fit(self, x):
        self.mean = np.nanmean(x, axis=(0, 2), keepdims=True)
        self.std = np.nanstd(x, axis=(0, 2), keepdims=True)
        return self

    def __call__(self, x):
        return ((x - self.mean) / self.std).astype("float32")


def zscore_each(x):
    return ((x - x.mean(2, keepdims=True)) / (x.std(2, keepdims=True) + 1e-6)).astype("float32")


def weak(x):
    return x * torch.exp(0.4 * torch.randn(len(x), x.shape[1], 1)) + 0.3 * torch.randn(len(x), x.shape[1], 1)


def strong(x):
    shift = random.randrange(-24, 25)
    return weak(torch.roll(x, shift, dims=2)) + 0.25 * torch.randn_like(x)


def batches(data, batch_size, rng):
    """Endless shuffled mini-batches; the rest of an epoch that fills no batch is left out."""
    while True:
        order = rng.permutation(len(data["x"]))
        for k in range(0, len(order) - batch_size + 1, batch_size):
            idx = order[k : k + batch_size]
            yield torch.from_numpy(data["x"][idx]), torch.from_numpy(data["activity"][idx])


class WindowStream(IterableDataset):
    def __init__(self, data, seed):
        self.data = data
        self.rng = np.random.default_rng(seed)

    def __iter__(self):
        for i in self.rng.permutation(len(self.data["x"])):
            yield self.data["x"][i], int(self.data["activity"][i])


class ConvEncoder(nn.Module):
    def __init__(self, channels=3, width=32, dim=32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, width, 15, padding=7, stride=2), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Conv1d(width, 2 * width, 5, padding=2), nn.BatchNorm1d(2 * width), nn.ReLU(), nn.AdaptiveAvgPool1d(2), nn.Flatten())
        self.projector = nn.Sequential(nn.Linear(4 * width, 64), nn.ReLU(), nn.Linear(64, dim))

    def forward(self, x):
        return F.normalize(self.projector(self.body(x)), dim=1)


def nt_xent(z1, z2, labels=None, temperature=0.2):
    z = torch.cat([z1, z2])
    ids = torch.arange(len(z1)) if labels is None else labels
    ids = torch.cat([ids, ids])
    sim = z @ z.t() / temperature
    self_mask = torch.eye(len(z), dtype=torch.bool)
    positive = (ids[:, None] == ids[None]) & ~self_mask
    log_prob = sim - torch.logsumexp(sim.masked_fill(self_mask, float("-inf")), 1, keepdim=True)
    return -(log_prob * positive).sum(1).div(positive.sum(1)).mean()


def build(args):
    model = ConvEncoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.steps, eta_min=5e-5)
    return model, optimizer, scheduler


def save_checkpoint(path, step, model, optimizer, scheduler, fault):
    state = {"step": step, "model": model.state_dict()}
    if fault != "resume_weights_only":
        state.update(optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict(), torch_rng=torch.get_rng_state())
    torch.save(state, path)


def load_checkpoint(path, model, optimizer, scheduler):
    state = torch.load(path, weights_only=False)
    model.load_state_dict(state["model"])
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["torch_rng"])
    return state["step"]


def train(args, model, optimizer, scheduler, stream, step, until, losses):
    model.train()
    while step < until:
        for x, activity in stream:
            z1, z2 = model(weak(x)), model(strong(x))
            loss = nt_xent(z1, z2, None if args.fault == "unlabelled" else activity)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            losses.append(loss.item())
            if step % 20 == 0:
                print(f"step {step:4d} loss {np.mean(losses[-10:]):.4f} lr {scheduler.get_last_lr()[0]:.2e}")
            if step >= until:
                break
    return step


@torch.no_grad()
def evaluate(model, train_data, test_data):
    model.eval()
    h = [model.body(torch.from_numpy(d["x"])).numpy() for d in (train_data, test_data)]
    return knn_accuracy(h[0], train_data["activity"], h[1], test_data["activity"])


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    random.seed(args.seed)

    sessions = make_sensor_sessions(seed=args.seed)
    if args.fault == "missing_packets_nan":
        rng = np.random.default_rng(args.seed + 3)
        for s in sessions:
            for t in rng.choice(len(s["signal"]) - 5, 2):
                s["signal"][t : t + rng.integers(1, 5), 1] = np.nan
    data = cut_windows(sessions, stride=64 if args.fault == "no_overlap" else 32)
    train_data, test_data = split(data, args.fault, args.seed)
    if args.fault == "window_zscore":
        train_data["x"], test_data["x"] = zscore_each(train_data["x"]), zscore_each(test_data["x"])
    else:
        scaler = Scaler().fit(train_data["x"])
        train_data["x"], test_data["x"] = scaler(train_data["x"]), scaler(test_data["x"])
    if args.fault == "iterable_dataset":
        stream = DataLoader(WindowStream(train_data, args.seed), batch_size=32, drop_last=True)
    else:
        stream = batches(train_data, 32, np.random.default_rng(args.seed))

    model, optimizer, scheduler = build(args)
    before = evaluate(model, train_data, test_data)
    losses = []
    if args.fault == "uninterrupted":
        train(args, model, optimizer, scheduler, stream, 0, args.steps, losses)
    else:
        with tempfile.TemporaryDirectory() as folder:      # the queue gives half of the time, then the job is sent again
            path = os.path.join(folder, "ckp_last.pt")
            step = train(args, model, optimizer, scheduler, stream, 0, args.steps // 2, losses)
            save_checkpoint(path, step, model, optimizer, scheduler, args.fault)
            model, optimizer, scheduler = build(args)
            step = load_checkpoint(path, model, optimizer, scheduler)
            print(f"resumed at step {step}, lr {optimizer.param_groups[0]['lr']:.2e}")
            train(args, model, optimizer, scheduler, stream, step, args.steps, losses)
    after = evaluate(model, train_data, test_data)
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, kNN {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()

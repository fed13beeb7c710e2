"""Image-text training from tar shards with the sigmoid loss, in the style of open_clip (main.py / data.py / loss.py)."""
import argparse
import io
import logging
import math
import os
import random
import sys
import tarfile
import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

FAULTS = {
    "workers_not_split": {"stages": "B D", "source": "github.com/webdataset/webdataset/issues/160 and the PyTorch documentation of IterableDataset (every worker reads all)"},
    "labels_zero_one": {"stages": "P", "source": "github.com/cimeister/pu-learning/issues/1 (sigmoid of label 0), google-research/big_vision/issues/115"},
    "dotted_keys": {"stages": "D B S", "source": "github.com/webdataset/webdataset/issues/237, huggingface/datasets/issues/7150"},
}
HEALTHY = ["healthy", "bf16", "partial_batches", "resampled", "clip_loss", "no_workers"]

COLORS = {"red": (.9, .2, .2), "green": (.2, .8, .2), "blue": (.2, .3, .9), "yellow": (.9, .9, .2), "white": (.95, .95, .95), "violet": (.6, .2, .8)}
DIRECTIONS = ["upright", "leaning", "diagonal", "tilted", "flat", "slanting"]
WIDTHS = ["wide", "narrow", "fine"]
GROUNDS = {"black": .05, "dark": .25, "grey": .5, "bright": .75}
TEMPLATES = ["a photo of {w} {d} {c} stripes on {g} ground", "{c} stripes , {d} and {w} , {g} background", "{g} ground with {w} {c} lines that are {d}"]


# ---- shards -------------------------------------------------------------------------------------------------------
def render(rng, c, d, w, g):
    yy, xx = np.mgrid[0:16, 0:16] / 16
    angle = math.pi * DIRECTIONS.index(d) / 6
    wave = np.sin(2 * math.pi * (1.5, 3.0, 5.0)[WIDTHS.index(w)] * (xx * math.cos(angle) + yy * math.sin(angle)) + rng.uniform(0, 6.28))
    on = (wave > 0)[None]
    image = np.where(on, np.asarray(COLORS[c])[:, None, None], GROUNDS[g])
    return np.clip(image + rng.normal(0, 0.06, image.shape), 0, 1)


def write_shards(folder, name, n, per_shard, seed, args):
    rng = np.random.RandomState(seed)
    urls = []
    for shard in range(n // per_shard):
        url = os.path.join(folder, f"{name}-{shard:06d}.tar")
        with tarfile.open(url, "w") as tar:
            for i in range(per_shard):
                c, d, w, g = (rng.choice(list(v)) for v in (COLORS, DIRECTIONS, WIDTHS, GROUNDS))
                pixels = (render(rng, c, d, w, g) * 255).astype(np.uint8)
                caption = TEMPLATES[rng.randint(len(TEMPLATES))].format(c=c, d=d, w=w, g=g)
                station, number = i * 20 // per_shard, shard * per_shard + i
                if args.fault == "dotted_keys":
                    key = f"station{station}.{number:06d}"
                else:
                    key = f"station{station}_{number:06d}"
                for ext, data in (("img", pixels.tobytes()), ("txt", caption.encode())):
                    info = tarfile.TarInfo(f"{key}.{ext}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        urls.append(url)
    return urls


def base_plus_ext(path):
    base, _, ext = path.partition(".")
    return base, ext


def group_by_keys(tar):
    current = None
    for member in tar:
        prefix, suffix = base_plus_ext(member.name)
        data = tar.extractfile(member).read()
        if current is None or prefix != current["__key__"]:
            if current is not None:
                yield current
            current = {"__key__": prefix}
        current[suffix] = data
    if current is not None:
        yield current


def first_of(sample, ext):
    return next(v for k, v in sample.items() if k.endswith(ext))


class Vocabulary(dict):
    def __missing__(self, word):
        self[word] = len(self) + 1
        return self[word]


VOCAB = Vocabulary()
for word in [*COLORS, *DIRECTIONS, *WIDTHS, *GROUNDS, *" ".join(TEMPLATES).split()]:
    if "{" not in word:
        VOCAB[word]


def tokenize(text, context_length=12):
    ids = [VOCAB[w] for w in text.split()][:context_length]
    return torch.tensor(ids + [0] * (context_length - len(ids)))


class WebPipeline(IterableDataset):
    def __init__(self, urls, args, epoch, is_train=True, buffer=120):
        self.urls, self.args, self.epoch, self.is_train, self.buffer = urls, args, epoch, is_train, buffer

    def shards(self):
        urls = list(self.urls)
        info = get_worker_info()
        if self.is_train:
            rng = random.Random(self.args.seed * 1000 + self.epoch)
            if self.args.fault == "resampled":
                worker_rng = random.Random(self.args.seed * 1000 + self.epoch + 7919 * (info.id if info else 0))
                return [worker_rng.choice(urls) for _ in range(len(urls) // (info.num_workers if info else 1))]
            rng.shuffle(urls)
        if info is not None and self.args.fault != "workers_not_split":
            urls = urls[info.id::info.num_workers]
        return urls

    def samples(self):
        for url in self.shards():
            with tarfile.open(url) as tar:
                yield from group_by_keys(tar)

    def shuffled(self, source):
        info = get_worker_info()
        rng = random.Random(self.args.seed + 31 * self.epoch + (info.id if info else 0))
        held = []
        for sample in source:
            held.append(sample)
            if len(held) >= self.buffer:
                yield held.pop(rng.randrange(len(held)))
        rng.shuffle(held)
        yield from held

    def __iter__(self):
        source = self.shuffled(self.samples()) if self.is_train else self.samples()
        for sample in source:
            image = torch.from_numpy(np.frombuffer(first_of(sample, "img"), np.uint8).reshape(3, 16, 16).copy())
            yield image.float().div(255).sub(0.45).div(0.27), tokenize(first_of(sample, "txt").decode())


@dataclass
class DataInfo:
    urls: list
    args: argparse.Namespace
    is_train: bool = True

    def loader(self, epoch=0):
        a = self.args
        workers = 2 if self.is_train and a.fault != "no_workers" else 0
        return DataLoader(WebPipeline(self.urls, a, epoch, self.is_train), batch_size=a.batch_size, num_workers=workers,
                          drop_last=self.is_train and a.fault != "partial_batches")


# ---- model and loss -----------------------------------------------------------------------------------------------
class CLIP(nn.Module):
    def __init__(self, embed_dim=48, init_logit_scale=math.log(10), init_logit_bias=None):
        super().__init__()
        self.visual = nn.Sequential(nn.Conv2d(3, 24, 5, stride=2, padding=2), nn.GELU(), nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.GELU(),
                                    nn.Flatten(), nn.Linear(48 * 16, 128), nn.GELU(), nn.Linear(128, embed_dim))
        self.token_embedding = nn.Embedding(len(VOCAB) + 1, 48, padding_idx=0)
        self.ln_final = nn.LayerNorm(48)
        self.text_projection = nn.Sequential(nn.Linear(48, 128), nn.GELU(), nn.Linear(128, embed_dim))
        self.logit_scale = nn.Parameter(torch.ones([]) * init_logit_scale)
        self.logit_bias = nn.Parameter(torch.ones([]) * init_logit_bias) if init_logit_bias is not None else None

    def encode_image(self, image):
        return F.normalize(self.visual(image), dim=-1)

    def encode_text(self, text):
        mask = (text > 0).unsqueeze(-1)
        x = (self.token_embedding(text) * mask).sum(1) / mask.sum(1).sqrt()
        return F.normalize(self.text_projection(self.ln_final(x)), dim=-1)

    def forward(self, image, text):
        return {"image_features": self.encode_image(image), "text_features": self.encode_text(text),
                "logit_scale": self.logit_scale.exp(), "logit_bias": self.logit_bias}


class SigLipLoss(nn.Module):
    def __init__(self, args):
        super().__init__()
        self.args = args

    def get_ground_truth(self, device, dtype, num_logits):
        labels = torch.eye(num_logits, device=device, dtype=dtype)
        if self.args.fault != "labels_zero_one":
            labels = 2 * labels - 1
        return labels

    def forward(self, image_features, text_features, logit_scale, logit_bias):
        logits = logit_scale * image_features @ text_features.T + logit_bias
        labels = self.get_ground_truth(logits.device, logits.dtype, len(logits))
        return -F.logsigmoid(labels * logits).sum() / len(logits)


class ClipLoss(nn.Module):
    def forward(self, image_features, text_features, logit_scale, logit_bias=None):
        logits = logit_scale * image_features @ text_features.T
        labels = torch.arange(len(logits))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def evaluate(model, data):
    model.eval()
    images, texts = zip(*[(model.encode_image(i), model.encode_text(t)) for i, t in data["val"].loader()])
    images, texts = torch.cat(images), torch.cat(texts)
    ranks = (images @ texts.T > (images * texts).sum(1, keepdim=True) + 1e-6).sum(1)
    model.train()
    return {"R@1": (ranks < 1).float().mean().item(), "R@5": (ranks < 5).float().mean().item(), "samples": len(ranks)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=40)
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    with tempfile.TemporaryDirectory() as folder:
        train_n = 872 if args.fault == "partial_batches" else 800
        train_urls = write_shards(folder, "train", train_n, train_n // 4 // 2, args.seed, args)
        val_args = argparse.Namespace(**{**vars(args), "fault": "healthy"})
        data = {"train": DataInfo(train_urls, args), "val": DataInfo(write_shards(folder, "val", 160, 80, args.seed + 1, val_args), val_args, False)}

        clip = args.fault == "clip_loss"
        model = CLIP(init_logit_scale=math.log(1 / 0.07) if clip else math.log(10), init_logit_bias=None if clip else -10.0)
        loss_fn = ClipLoss() if clip else SigLipLoss(args)
        exclude = lambda n, p: p.ndim < 2 or "bias" in n or "ln" in n or "logit_scale" in n
        named = list(model.named_parameters())
        optimizer = torch.optim.AdamW([{"params": [p for n, p in named if exclude(n, p)], "weight_decay": 0.0},
                                       {"params": [p for n, p in named if not exclude(n, p)], "weight_decay": 0.2}],
                                      lr=args.lr, betas=(0.9, 0.98), eps=1e-6)
        warmup = 20

        def assign_learning_rate(step):
            lr = args.lr * (step + 1) / warmup if step < warmup else 0.5 * args.lr * (1 + math.cos(math.pi * (step - warmup) / max(1, args.steps - warmup)))
            for group in optimizer.param_groups:
                group["lr"] = lr

        logging.info(f"start {evaluate(model, data)}")
        step, epoch, running = 0, 0, []
        while step < args.steps:
            for images, texts in data["train"].loader(epoch):
                assign_learning_rate(step)
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.fault == "bf16"):
                    out = model(images, texts)
                    loss = loss_fn(**out)
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(0, math.log(100))
                running.append(loss.item())
                step += 1
                if step % 20 == 0:
                    logging.info(f"Train Epoch: {epoch} [{step}/{args.steps}] Loss: {np.mean(running[-20:]):.4f} Logit Scale: {out['logit_scale'].item():.2f}")
                if step >= args.steps:
                    break
            epoch += 1
        logging.info(f"epochs {epoch}, first loss {running[0]:.4f}, last losses {np.mean(running[-10:]):.4f}")
        logging.info(f"end {evaluate(model, data)}")


if __name__ == "__main__":
    main()

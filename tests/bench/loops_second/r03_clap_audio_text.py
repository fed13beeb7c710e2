"""Audio-text training after LAION-AI/CLAP with a Clotho-like table: one wav file, five captions."""
import argparse
import copy
import csv
import math
import os
import random
import tempfile

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly
from torch import nn
import torch.nn.functional as F

FAULTS = {
    "no_resample": {"stages": "D M", "source": "github.com/JaesungHuh/voice-gender-classifier/pull/5, huggingface/datasets/issues/3662 (files of several rates)"},
    "best_state_not_copied": {"stages": "C", "source": "github.com/pytorch/tutorials/pull/188, WenjieDu/PyPOTS/issues/667 (state_dict is a reference)"},
    "captions_out_of_order": {"stages": "E", "source": "github.com/openai/CLIP/issues/115, openai/CLIP/issues/181 (five captions, which index is the truth)"},
}
HEALTHY = ["healthy", "fixed_temperature", "frozen_text_tower", "keep_last_batch", "no_weight_decay"]

RATE, CLIP_SECONDS = 8000, 0.5
PITCHES = [220, 330, 440, 620, 830, 1150, 1500, 2000]
PITCH_WORDS = ["very deep", "deep", "low", "lower middle", "middle", "upper middle", "high", "very high"]
MOTIONS = ["steady", "slowly pulsing", "quickly pulsing", "rising", "falling"]
TIMBRES = ["pure", "buzzing", "noisy"]
CAPTIONS = ["a {m} {p} {t} tone", "a machine makes a {p} , {t} and {m} sound", "{t} {p} sound that is {m}",
            "one hears a {p} {m} hum , {t}", "the sound is {t} , {m} and {p}"]


# ---- the data set on disk -----------------------------------------------------------------------------------------
def synthesise(rng, p, m, t, rate):
    n = int(rate * CLIP_SECONDS * 1.2)
    time = np.arange(n) / rate
    f = PITCHES[p] * rng.uniform(0.97, 1.03)
    if m == 3:
        f = f * (1 + 0.5 * (time / time[-1] - 0.5))
    elif m == 4:
        f = f * (1 - 0.5 * (time / time[-1] - 0.5))
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f, time.shape)) / rate + rng.uniform(0, 6.28)
    x = np.sin(phase)
    if t == 1:
        x = np.tanh(4 * x) + 0.3 * np.sin(2 * phase)
    if t == 2:
        x = x + rng.normal(0, 1.0, n) * 0.7
    if m in (1, 2):
        x = x * (0.55 + 0.45 * np.sin(2 * np.pi * (5, 14)[m - 1] * time + rng.uniform(0, 6.28)))
    x = x + rng.normal(0, 0.03, n)
    return (x / np.abs(x).max() * rng.uniform(0.3, 0.9) * 32767).astype(np.int16)


def build_dataset(folder, name, n, seed):
    rng = np.random.RandomState(seed)
    combos = [(p, m, t) for p in range(8) for m in range(5) for t in range(3)]
    picks = [combos[i] for i in (rng.permutation(len(combos))[:n] if n <= len(combos) else rng.randint(len(combos), size=n))]
    os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, f"{name}.csv"), "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["file_name", *[f"caption_{k}" for k in range(1, 6)]])
        for i, (p, m, t) in enumerate(picks):
            rate = (8000, 16000, 8000, 11025)[i % 4]
            file_name = f"{('freesound', 'bbc', 'freesound', 'sonniss')[i % 4]}_{i:04d}.wav"
            wavfile.write(os.path.join(folder, name, file_name), rate, synthesise(rng, p, m, t, rate))
            writer.writerow([file_name, *[c.format(p=PITCH_WORDS[p], m=MOTIONS[m], t=TIMBRES[t]) for c in CAPTIONS]])


WORDS = sorted({w for c in CAPTIONS for w in c.split() if "{" not in w} | {w for s in (*PITCH_WORDS, *MOTIONS, *TIMBRES) for w in s.split()})
TOKEN = {w: i + 1 for i, w in enumerate(WORDS)}


def tokenizer(text, max_length=16):
    ids = [TOKEN[w] for w in text.split()][:max_length]
    return torch.tensor(ids + [0] * (max_length - len(ids)))


def mel_filters(n_mels=40, n_fft=256, rate=RATE):
    to_mel = lambda f: 2595 * math.log10(1 + f / 700)
    edges = 700 * (10 ** (np.linspace(to_mel(50), to_mel(rate / 2), n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    up = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return torch.tensor(np.clip(np.minimum(up, down), 0, None), dtype=torch.float32)


class ToMel:
    def __init__(self):
        self.filters, self.window = mel_filters(), torch.hann_window(256)

    def __call__(self, wave):
        power = torch.stft(wave, 256, hop_length=128, window=self.window, return_complex=True).abs() ** 2
        return (torch.log(self.filters @ power + 1e-4) + 1.0) / 3.0


class ClothoDataset(torch.utils.data.Dataset):
    def __init__(self, folder, name, args, train=True):
        with open(os.path.join(folder, f"{name}.csv")) as handle:
            rows = list(csv.DictReader(handle))
        self.folder, self.args, self.train = os.path.join(folder, name), args, train
        self.files = [r["file_name"] for r in rows]
        self.captions = [[r[f"caption_{k}"] for k in range(1, 6)] for r in rows]
        self.to_mel = ToMel()

    def __len__(self):
        return len(self.files)

    def load_audio(self, path):
        rate, data = wavfile.read(path)
        wave = data.astype(np.float32) / 32768.0
        if rate != RATE and self.args.fault != "no_resample":
            g = math.gcd(rate, RATE)
            wave = resample_poly(wave, RATE // g, rate // g).astype(np.float32)
        n = int(RATE * CLIP_SECONDS)
        start = random.randint(0, max(0, len(wave) - n)) if self.train else 0
        wave = wave[start:start + n]
        return np.pad(wave, (0, n - len(wave)))

    def __getitem__(self, i):
        wave = torch.from_numpy(self.load_audio(os.path.join(self.folder, self.files[i])))
        text = random.choice(self.captions[i]) if self.train else self.captions[i][0]
        return {"mel": self.to_mel(wave), "text": tokenizer(text), "audio_name": self.files[i], "raw_text": text}


# ---- model --------------------------------------------------------------------------------------------------------
class AudioBranch(nn.Module):
    def __init__(self, width=96):
        super().__init__()
        self.bn0 = nn.BatchNorm1d(40)
        self.conv = nn.Sequential(nn.Conv1d(40, 64, 5, padding=2), nn.ReLU(), nn.Conv1d(64, width, 3, stride=2, padding=1), nn.ReLU())

    def forward(self, mel):
        h = self.conv(self.bn0(mel))
        return torch.cat([h.mean(2), h.std(2), h[..., -4:].mean(2) - h[..., :4].mean(2)], dim=1)


class TextBranch(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.embeddings = nn.Embedding(len(TOKEN) + 1, width, padding_idx=0)
        self.encoder = nn.GRU(width, width, batch_first=True)

    def forward(self, tokens):
        return self.encoder(self.embeddings(tokens))[0].amax(1)


class CLAP(nn.Module):
    def __init__(self, joint_embed_shape=64):
        super().__init__()
        self.audio_branch, self.text_branch = AudioBranch(), TextBranch()
        self.audio_projection = nn.Sequential(nn.Linear(288, joint_embed_shape), nn.ReLU(), nn.Linear(joint_embed_shape, joint_embed_shape))
        self.text_projection = nn.Sequential(nn.Linear(64, joint_embed_shape), nn.ReLU(), nn.Linear(joint_embed_shape, joint_embed_shape))
        self.logit_scale_a = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))

    def get_audio_embedding(self, mel):
        return F.normalize(self.audio_projection(self.audio_branch(mel)), dim=-1)

    def get_text_embedding(self, tokens):
        return F.normalize(self.text_projection(self.text_branch(tokens)), dim=-1)

    def forward(self, mel, tokens):
        return self.get_audio_embedding(mel), self.get_text_embedding(tokens), self.logit_scale_a.exp()


class ClipLoss(nn.Module):
    def forward(self, audio, text, scale):
        logits = scale * audio @ text.T
        labels = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def validation_loss(model, loader, loss_fn):
    model.eval()
    value = float(np.mean([loss_fn(*model(b["mel"], b["text"])).item() for b in loader]))
    model.train()
    return value


@torch.no_grad()
def retrieval(model, dataset, args):
    model.eval()
    mel = torch.stack([dataset[i]["mel"] for i in range(len(dataset))])
    audio = model.get_audio_embedding(mel)
    if args.fault == "captions_out_of_order":
        texts = [c for group in zip(*dataset.captions) for c in group]
    else:
        texts = [c for group in dataset.captions for c in group]
    text = model.get_text_embedding(torch.stack([tokenizer(t) for t in texts]))
    truth = torch.arange(len(texts)) // 5
    best = (text @ audio.T).topk(10, dim=1).indices
    hit = best == truth[:, None]
    model.train()
    return {"text_to_audio_R@1": hit[:, 0].float().mean().item(), "text_to_audio_R@10": hit.any(1).float().mean().item()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=126)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--patience", type=int, default=4)
    args = parser.parse_args()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    with tempfile.TemporaryDirectory() as folder:
        n = 307 if args.fault == "keep_last_batch" else 288
        build_dataset(folder, "development", n, args.seed)
        build_dataset(folder, "validation", 64, args.seed + 1)
        build_dataset(folder, "evaluation", 80, args.seed + 2)
        train_set = ClothoDataset(folder, "development", args)
        val_set = ClothoDataset(folder, "validation", args, train=False)
        test_set = ClothoDataset(folder, "evaluation", args, train=False)
        train_loader = torch.utils.data.DataLoader(train_set, batch_size=args.batch_size, shuffle=True, drop_last=args.fault != "keep_last_batch")
        val_loader = torch.utils.data.DataLoader(val_set, batch_size=32)

        model = CLAP()
        loss_fn = ClipLoss()
        if args.fault == "fixed_temperature":
            model.logit_scale_a.requires_grad_(False)
        if args.fault == "frozen_text_tower":
            for p in model.text_branch.parameters():
                p.requires_grad_(False)
        params = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(params, lr=3e-3, weight_decay=0.0 if args.fault == "no_weight_decay" else 0.05)

        print("before", retrieval(model, test_set, args))
        best_loss, best_epoch, best_state = float("inf"), -1, None
        step, epoch = 0, 0
        while step < args.steps:
            losses = []
            for batch in train_loader:
                audio, text, scale = model(batch["mel"], batch["text"])
                loss = loss_fn(audio, text, scale)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(params, 5.0)
                optimizer.step()
                losses.append(loss.item())
                step += 1
                if step >= args.steps:
                    break
            val = validation_loss(model, val_loader, loss_fn)
            if val < best_loss:
                best_loss, best_epoch = val, epoch
                if args.fault == "best_state_not_copied":
                    best_state = model.state_dict()
                else:
                    best_state = copy.deepcopy(model.state_dict())
            print(f"epoch {epoch} train {np.mean(losses):.4f} val {val:.4f} best {best_loss:.4f}")
            epoch += 1
            if epoch - 1 - best_epoch >= args.patience:
                break
        model.load_state_dict(best_state)
        print(f"best epoch {best_epoch} val {best_loss:.4f}, restored val {validation_loss(model, val_loader, loss_fn):.4f}")
        print("after", retrieval(model, test_set, args))


if __name__ == "__main__":
    main()

"""Supervised contrastive learning of emotion from short voice clips: log-mel pictures, SpecAugment, GradScaler, clipping.
After https://github.com/HobbitLong/SupContrast (main_supcon.py); the clips and names follow the RAVDESS habit "speaker_emotion_take.wav".

Threads the variants are modelled on:
  https://github.com/Strong-AI-Lab/emotion/issues/10            which part of the file name is the speaker
  https://github.com/NVIDIA-NeMo/Speech/issues/3298             time masks of SpecAugment where they should not be
  https://github.com/pytorch/pytorch/issues/40907               clip_grad_norm_ with a GradScaler: "the loss does not decrease anymore"
Usage: python q06_supcon_audio.py VARIANT
"""
import sys
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
import helpers_q06 as H

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"


class SupConNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU(),
                                     nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten())
        self.head = nn.Sequential(nn.Linear(384, 96), nn.ReLU(inplace=True), nn.Linear(96, 32))

    def forward(self, mel):
        return F.normalize(self.head(self.encoder(mel.unsqueeze(1))), dim=1)


def labels_of(names):
    field = 0 if VARIANT == "first_field" else 1
    classes = sorted({n.split("_")[field] for n in names})
    return torch.tensor([classes.index(n.split("_")[field]) for n in names])


def batches(labels, epoch):
    g = torch.Generator().manual_seed(100 + epoch)
    if VARIANT == "four_per_class":
        for _ in range(len(labels) // 48):
            yield torch.cat([c[torch.randperm(len(c), generator=g)[:12]] for c in (torch.where(labels == k)[0] for k in labels.unique())])
    else:
        yield from list(torch.randperm(len(labels), generator=g).split(48))[:-1]


def train_epoch(epoch, mel, labels, model, optimizer, scaler):
    model.train()
    total, n = 0.0, 0
    for idx in batches(labels, epoch):
        time_width = 240 if VARIANT == "mask_width_240" else 12
        views = [H.spec_augment(mel[idx], time_width, 5) for _ in range(2)]
        f1, f2 = torch.split(model(torch.cat(views, dim=0)), [len(idx), len(idx)], dim=0)
        features = torch.cat([f1.unsqueeze(1), f2.unsqueeze(1)], dim=1)
        loss = H.supcon(features, labels[idx], temperature=0.5 if VARIANT == "temperature_half" else 0.1)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if VARIANT != "clip_scaled":
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        total, n = total + loss.item(), n + 1
    return total / n


def main():
    torch.manual_seed(0)
    files, _ = H.write_corpus(12, range(1, 7), seed=1)
    val_files, val_table = H.write_corpus(6, range(1, 9), seed=2)
    names, val_names = sorted(files), sorted(val_files)
    if VARIANT == "rare_class":
        names = [n for n in names if "_sad_" not in n or int(n[-6:-4]) < 3]
    mel = H.log_mel(torch.from_numpy(np.stack([files[n] for n in names])))
    val_mel = H.log_mel(torch.from_numpy(np.stack([val_files[n] for n in val_names])))
    labels = labels_of(names)
    emotion = torch.tensor([H.EMOTIONS.index(n.split("_")[1]) for n in names])
    val_emotion = torch.tensor([H.EMOTIONS.index(val_table[n]) for n in val_names])

    model = SupConNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.08, momentum=0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0 ** (127 if VARIANT == "scale_starts_high" else 16))
    for epoch in range(18):
        loss = train_epoch(epoch, mel, labels, model, optimizer, scaler)
        if epoch % 4 == 1:
            model.eval()
            with torch.no_grad():
                acc = H.knn_accuracy(model.encoder(mel.unsqueeze(1)), emotion, model.encoder(val_mel.unsqueeze(1)), val_emotion)
            print(f"Train epoch {epoch} loss {loss:.4f} kNN emotion {acc:.3f}")


if __name__ == "__main__":
    main()


FAULTS = {'first_field': {'stages': 'L D M',
                 'source': 'https://github.com/Strong-AI-Lab/emotion/issues/10'},
 'mask_width_240': {'stages': 'D M',
                    'source': 'https://github.com/NVIDIA-NeMo/Speech/issues/3298'},
 'clip_scaled': {'stages': 'N O P D',
                 'source': 'https://github.com/pytorch/pytorch/issues/40907'}}
HEALTHY = ['healthy', 'four_per_class', 'temperature_half', 'rare_class', 'scale_starts_high']

"""Functions for q06_supcon_audio.py: waveforms, log-mel pictures, SpecAugment, the supervised contrastive loss."""
import numpy as np
import torch
import torch.nn.functional as F

EMOTIONS = ["angry", "calm", "happy", "sad"]
SR, N_FFT, HOP, N_MELS = 4000, 128, 64, 24


def synth(emotion, speaker, g):
    """0.8 s of voice: the speaker sets pitch and timbre, the emotion the melody and the tremor."""
    t = np.arange(int(0.8 * SR)) / SR
    f0 = 140 + 25 * speaker * (1 + 0.02 * g.normal())
    slope = [0.9, 0.0, 0.5, -0.7][emotion] + 0.08 * g.normal()
    tremor = [9.0, 1.5, 5.0, 3.0][emotion] * (1 + 0.08 * g.normal())
    f = f0 * (1 + 0.45 * slope * (t - 0.4) + 0.05 * np.sin(2 * np.pi * tremor * t))
    phase = 2 * np.pi * np.cumsum(f) / SR + g.uniform(0, 6)
    tilt = 0.45 + 0.06 * speaker
    wave = sum(tilt ** k * np.sin((k + 1) * phase) for k in range(4))
    wave = wave * (0.6 + 0.4 * np.sin(2 * np.pi * tremor * t + g.uniform(0, 6))) + 0.15 * g.normal(size=len(t))
    return wave.astype(np.float32)


def write_corpus(per_cell, speakers, seed):
    """{file name: waveform} and the table a corpus comes with: file name -> emotion."""
    g = np.random.default_rng(seed)
    files, table = {}, {}
    for s in speakers:
        for e, emotion in enumerate(EMOTIONS):
            for take in range(per_cell):
                name = f"{s:02d}_{emotion}_{take:02d}.wav"
                files[name], table[name] = synth(e, s, g), emotion
    return files, table


def mel_filters():
    centres = np.linspace(0, N_FFT // 2, N_MELS + 2)
    bins = np.arange(N_FFT // 2 + 1)[:, None]
    up, down = (bins - centres[:-2]) / (centres[1:-1] - centres[:-2]), (centres[2:] - bins) / (centres[2:] - centres[1:-1])
    return torch.tensor(np.clip(np.minimum(up, down), 0, None), dtype=torch.float32)


def log_mel(waves):
    spec = torch.stft(waves, N_FFT, HOP, window=torch.hann_window(N_FFT), return_complex=True).abs() ** 2
    mel = torch.log(torch.einsum("bft,fm->bmt", spec, mel_filters()) + 1e-4)
    return (mel - mel.mean((1, 2), keepdim=True)) / mel.std((1, 2), keepdim=True)


def spec_augment(mel, time_width, freq_width):
    """One time stripe and one band of each picture are set to its mean (zero); widths are drawn up to the given numbers of frames."""
    mel = mel.clone()
    frames, bands = mel.shape[2], mel.shape[1]
    for m in mel:
        w = min(int(torch.randint(time_width // 2, time_width + 1, ())), frames)
        start = int(torch.randint(0, frames - w + 1, ()))
        m[:, start:start + w] = 0
        h = int(torch.randint(0, freq_width + 1, ()))
        low = int(torch.randint(0, bands - h + 1, ()))
        m[low:low + h] = 0
    return mel


def supcon(features, labels, temperature):
    """features (B, V, D) of unit length; https://github.com/HobbitLong/SupContrast losses.py, mode "all"."""
    b, v, _ = features.shape
    z = torch.cat(torch.unbind(features, dim=1), dim=0)
    mask = (labels[:, None] == labels[None]).float().repeat(v, v)
    off = 1 - torch.eye(b * v)
    mask = mask * off
    logits = z @ z.T / temperature
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    log_prob = logits - torch.log((logits.exp() * off).sum(1, keepdim=True))
    return -((mask * log_prob).sum(1) / mask.sum(1).clamp_min(1)).mean()


def knn_accuracy(z_train, y_train, z_test, y_test, k=5):
    near = (F.normalize(z_test, dim=1) @ F.normalize(z_train, dim=1).T).topk(k, dim=1).indices
    return (y_train[near].mode(dim=1).values == y_test).float().mean().item()

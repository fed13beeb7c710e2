"""Contrastive Predictive Coding on raw audio, after jefflai108/Contrastive-Predictive-Coding-PyTorch."""
import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
import torch.nn.functional as F
from torch.utils import data

FAULTS = {
    "accuracy_of_last_step": {"stages": "E P", "source": "github.com/jefflai108/Contrastive-Predictive-Coding-PyTorch/issues/14 (correct = instead of +=)"},
    "bidirectional_context": {"stages": "N D P", "source": "github.com/spro/char-rnn.pytorch/pull/1 (bidirectional units have no future to go backwards from)"},
    "test_utterances_in_training": {"stages": "S D E", "source": "github.com/stoneMo/SLAVC/issues/3, magenta/magenta/pull/1092 (test files in the training list)"},
}
HEALTHY = ["healthy", "noam_warmup", "causal_conv", "keep_last_batch", "adam_amsgrad"]

RATE, HOP = 8000, 80


# ---- corpus -------------------------------------------------------------------------------------------------------
def speak(rng, speaker, phones, n):
    pitch = 90 * 1.13 ** speaker * rng.uniform(0.97, 1.03)
    shift = 0.85 + 0.05 * ((speaker * 5) % 8)
    out, t0 = [], 0.0
    while sum(map(len, out)) < n:
        a = phones[rng.randint(len(phones))]
        m = rng.randint(500, 900)
        t = t0 + np.arange(m) / RATE
        wave = np.zeros(m)
        for h in range(1, 12):
            f = pitch * h
            gain = sum(np.exp(-((f - formant * shift) / 180) ** 2) for formant in a)
            wave += (gain + 0.05) * np.sin(2 * np.pi * f * t)
        out.append(wave * np.hanning(m) ** 0.3)
        t0 = t[-1] + 1 / RATE
    x = np.concatenate(out)[:n]
    return (x / np.abs(x).max() * 0.6 + rng.normal(0, 0.03, n)).astype(np.float32)


def write_corpus(root, seed, speakers=8, train=30, test=10):
    rng = np.random.RandomState(seed)
    phones = [(rng.uniform(250, 800), rng.uniform(900, 2200)) for _ in range(10)]
    for split, count in (("train", train), ("test", test)):
        for s in range(speakers):
            folder = root / split / f"spk{s:02d}"
            folder.mkdir(parents=True)
            for u in range(count):
                np.save(folder / f"{split}-spk{s:02d}-{u:03d}.npy", speak(rng, s, phones, 3600))


class RawDataset(data.Dataset):
    def __init__(self, list_file, audio_window, crop=True):
        self.paths = [Path(p) for p in Path(list_file).read_text().split()]
        self.audio_window, self.crop = audio_window, crop

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        path = self.paths[index]
        utterance = np.load(path)
        start = np.random.randint(len(utterance) - self.audio_window + 1) if self.crop else 0
        return utterance[start:start + self.audio_window], int(path.parent.name[3:])


def make_lists(root, args):
    if args.fault == "test_utterances_in_training":
        train = sorted(root.rglob("*.npy"))
    else:
        train = sorted((root / "train").rglob("*.npy"))
    test = sorted((root / "test").rglob("*.npy"))
    (root / "train.txt").write_text("\n".join(map(str, train)))
    (root / "test.txt").write_text("\n".join(map(str, test)))
    return root / "train.txt", root / "test.txt"


# ---- model --------------------------------------------------------------------------------------------------------
class CausalConv(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Conv1d(width, width, 5), nn.Conv1d(width, width, 5)

    def forward(self, z):
        h = F.relu(self.a(F.pad(z.transpose(1, 2), (4, 0))))
        return self.b(F.pad(h, (4, 0))).transpose(1, 2)


class CDCK2(nn.Module):
    def __init__(self, timestep, seq_len, args, width=64):
        super().__init__()
        self.timestep, self.seq_len, self.args = timestep, seq_len // HOP, args
        self.encoder = nn.Sequential(nn.Conv1d(1, 32, 10, stride=5, padding=3, bias=False), nn.BatchNorm1d(32), nn.ReLU(),
                                     nn.Conv1d(32, 48, 8, stride=4, padding=2, bias=False), nn.BatchNorm1d(48), nn.ReLU(),
                                     nn.Conv1d(48, width, 8, stride=4, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        if args.fault == "causal_conv":
            self.context = CausalConv(width)
        elif args.fault == "bidirectional_context":
            self.gru = nn.GRU(width, width // 2, num_layers=1, bidirectional=True, batch_first=True)
        else:
            self.gru = nn.GRU(width, width, num_layers=1, bidirectional=False, batch_first=True)
        self.Wk = nn.ModuleList([nn.Linear(width, width) for _ in range(timestep)])
        self.lsoftmax = nn.LogSoftmax(dim=1)

    def aggregate(self, z):
        return self.context(z) if self.args.fault == "causal_conv" else self.gru(z)[0]

    def forward(self, x):
        batch = x.size(0)
        z = self.encoder(x.unsqueeze(1)).transpose(1, 2)
        c = self.aggregate(z)
        t = torch.randint(self.seq_len // 3, self.seq_len - self.timestep, (1,)).item()
        nce, correct = 0.0, 0
        for i in range(1, self.timestep + 1):
            pred = self.Wk[i - 1](c[:, t])
            total = z[:, t + i] @ pred.T
            hits = torch.sum(torch.argmax(total, dim=0) == torch.arange(batch))
            if self.args.fault == "accuracy_of_last_step":
                correct = hits
            else:
                correct += hits
            nce = nce + torch.sum(torch.diag(self.lsoftmax(total.T)))
        nce = nce / (-1.0 * batch * self.timestep)
        accuracy = 1.0 * correct.item() / (batch * self.timestep)
        return accuracy, nce

    def predict(self, x):
        return self.aggregate(self.encoder(x.unsqueeze(1)).transpose(1, 2))


class ScheduledOptim:
    """Rate of "Attention is all you need"."""

    def __init__(self, optimizer, n_warmup_steps, scale):
        self.optimizer, self.n_warmup_steps, self.scale, self.n_current_steps = optimizer, n_warmup_steps, scale, 0

    def zero_grad(self):
        self.optimizer.zero_grad()

    def step(self):
        self.optimizer.step()

    def update_learning_rate(self):
        self.n_current_steps += 1
        n, w = self.n_current_steps, self.n_warmup_steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.scale * min(n ** -0.5, n * w ** -1.5)


@torch.no_grad()
def speaker_features(model, loader):
    model.eval()
    xs, ys = zip(*[(model.predict(x).mean(1), y) for x, y in loader])
    model.train()
    return torch.cat(xs).numpy(), torch.cat(ys).numpy()


@torch.no_grad()
def validation(model, loader):
    model.eval()
    rows = [model(x) for x, _ in loader for _ in range(3)]
    model.train()
    return np.mean([a for a, _ in rows]), np.mean([l.item() for _, l in rows])


def speaker_accuracy(model, fit_loader, test_loader):
    a, ya = speaker_features(model, fit_loader)
    b, yb = speaker_features(model, test_loader)
    mean, std = a.mean(0), a.std(0) + 1e-6
    return LogisticRegression(max_iter=300, C=1.0).fit((a - mean) / std, ya).score((b - mean) / std, yb)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--audio-window", type=int, default=2560)
    parser.add_argument("--timestep", type=int, default=6)
    args = parser.parse_args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root, args.seed)
        train_list, test_list = make_lists(root, args)
        batch = 18 if args.fault == "keep_last_batch" else args.batch_size
        train_loader = data.DataLoader(RawDataset(train_list, args.audio_window), batch_size=batch, shuffle=True, drop_last=args.fault != "keep_last_batch")
        fit_loader = data.DataLoader(RawDataset(train_list, args.audio_window, crop=False), batch_size=40)
        test_loader = data.DataLoader(RawDataset(test_list, args.audio_window, crop=False), batch_size=16)

        model = CDCK2(args.timestep, args.audio_window, args)
        adam = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.9, 0.98), eps=1e-9, weight_decay=1e-4, amsgrad=args.fault == "adam_amsgrad")
        optimizer = ScheduledOptim(adam, 40, 2e-3 * 40 ** 0.5) if args.fault == "noam_warmup" else adam

        print(f"before: speaker accuracy {speaker_accuracy(model, fit_loader, test_loader):.3f}")
        step, epoch = 0, 0
        while step < args.steps:
            accs, losses = [], []
            for x, _ in train_loader:
                optimizer.zero_grad()
                acc, loss = model(x)
                loss.backward()
                optimizer.step()
                if args.fault == "noam_warmup":
                    optimizer.update_learning_rate()
                accs.append(acc)
                losses.append(loss.item())
                step += 1
                if step >= args.steps:
                    break
            if epoch % 3 == 0 or step >= args.steps:
                acc, loss = validation(model, test_loader)
                print(f"Epoch {epoch} train loss {np.mean(losses):.4f} acc {np.mean(accs):.3f}  validation loss {loss:.4f} acc {acc:.3f}")
            epoch += 1
        print(f"after: speaker accuracy {speaker_accuracy(model, fit_loader, test_loader):.3f}")


if __name__ == "__main__":
    main()

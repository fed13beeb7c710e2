"""Audio-visual synchronisation: a window of frames and the sound under it must find each other. LightningModule + ModelCheckpoint.
After https://github.com/joonson/syncnet_python and https://github.com/joonson/syncnet_trainer, in the form of
https://github.com/Lightning-AI/pytorch-lightning examples.

Threads the variants are modelled on:
  https://github.com/pytorch/pytorch/issues/72580                 a list of modules is an attribute like any other
  https://github.com/mila-iqia/cookiecutter-pyml/issues/119       best_checkpoint_callback monitors val_loss with mode = "max"
  https://github.com/joonson/syncnet_python/issues/25             "But what if the original video's fps is not 25?"
Usage: python q10_av_sync_lightning.py VARIANT
"""
import logging, sys, tempfile, warnings
warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
AUDIO_RATE, V_LEN, A_LEN = 100, 5, 20


def make_clips(n, seed):
    """A speaking mouth: 4 smooth movements seen in 40 pixels (25 or 30 frames a second) and heard in 20 bands (100 a second)."""
    fixed = np.random.default_rng(0)
    to_pixels, to_bands = fixed.normal(size=(4, 40)), fixed.normal(size=(4, 20))
    g = np.random.default_rng(seed)
    clips = []
    for i in range(n):
        freq, phase, amp = g.uniform(0.3, 1.8, (4, 5)), g.uniform(0, 6.28, (4, 5)), g.uniform(0.3, 1.0, (4, 5))
        move = lambda t: (amp * np.sin(2 * np.pi * freq * t[:, None, None] + phase)).sum(2)
        fps = 25 if i % 6 == 0 else 30
        face, voice = 0.5 * g.normal(size=40), 0.5 * g.normal(size=20)
        tv, ta = np.arange(6 * fps) / fps, np.arange(8 * AUDIO_RATE) / AUDIO_RATE
        video = np.tanh(0.6 * move(tv) @ to_pixels + face) + 0.2 * g.normal(size=(len(tv), 40))
        audio = np.tanh(0.6 * move(ta) @ to_bands + voice) + 0.2 * g.normal(size=(len(ta), 20))
        clips.append({"video": video.astype(np.float32), "audio": audio.astype(np.float32), "fps": fps})
    return clips


class SyncWindows(Dataset):
    """Item: `k` windows of one clip, frames and sound."""
    def __init__(self, clips, k, fixed=False):
        self.clips, self.k, self.fixed = clips, k, fixed

    def __len__(self): return len(self.clips)

    def __getitem__(self, i):
        clip = self.clips[i]
        last = len(clip["video"]) - V_LEN
        starts = np.linspace(0, last, self.k).astype(int) if self.fixed else np.random.randint(0, last + 1, self.k)
        fps = 25 if VARIANT == "fps_25" else clip["fps"]
        video = np.stack([clip["video"][s:s + V_LEN] for s in starts])
        audio_starts = [int(round(s / fps * AUDIO_RATE)) for s in starts]
        audio = np.stack([clip["audio"][a:a + A_LEN] for a in audio_starts])
        return {"video": video, "audio": audio, "clip": i}


def tower(n_in):
    return nn.Sequential(nn.Flatten(), nn.Linear(n_in, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU())


class SyncModel(pl.LightningModule):
    def __init__(self, lr=2e-3):
        super().__init__()
        self.lr = lr
        towers = [tower(V_LEN * 40), tower(A_LEN * 20)]
        self.towers = towers if VARIANT == "towers_in_list" else nn.ModuleList(towers)
        self.heads = nn.ModuleList([nn.Linear(64, 32), nn.Linear(64, 32)])
        if VARIANT == "video_tower_fixed":
            self.towers[0].requires_grad_(False)
        if VARIANT == "adversary":
            self.critic = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
            self.automatic_optimization = False

    def embed(self, batch):
        xs = [batch["video"].flatten(0, 1), batch["audio"].flatten(0, 1)]
        return [F.normalize(h(t(x)), dim=1) for x, t, h in zip(xs, self.towers, self.heads)]

    def nce(self, v, a):
        logits, target = v @ a.T / 0.1, torch.arange(len(v))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    def training_step(self, batch, batch_idx):
        v, a = self.embed(batch)
        loss = self.nce(v, a)
        if VARIANT == "adversary":     # a critic tells video from sound, the towers try to fool it
            main, side = self.optimizers()
            truth = torch.cat([torch.ones(len(v), 1), torch.zeros(len(a), 1)])
            fooled = F.binary_cross_entropy_with_logits(self.critic(torch.cat([v, a])), 1 - truth)
            main.zero_grad(); self.manual_backward(loss + 0.1 * fooled); main.step()
            told = F.binary_cross_entropy_with_logits(self.critic(torch.cat([v, a]).detach()), truth)
            side.zero_grad(); self.manual_backward(told); side.step()
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, batch_idx):
        v, a = self.embed(batch)
        k = batch["video"].shape[1]
        own = torch.einsum("bid,bjd->bij", v.view(-1, k, 32), a.view(-1, k, 32)).argmax(2)
        self.log("val_loss", self.nce(v, a))
        self.log("val_sync", (own == torch.arange(k)).float().mean())

    def on_train_epoch_end(self):
        m = self.trainer.callback_metrics
        if self.current_epoch % 5 == 4 or self.current_epoch == 0:
            print(f"epoch {self.current_epoch} train {m['train_loss']:.4f} val {m['val_loss']:.4f} sync {m['val_sync']:.3f}")

    def configure_optimizers(self):
        if VARIANT == "adversary":
            main = [p for n, p in self.named_parameters() if not n.startswith("critic")]
            return [torch.optim.Adam(main, self.lr), torch.optim.Adam(self.critic.parameters(), 1e-3)]
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], self.lr)


def main(folder):
    pl.seed_everything(7, verbose=False)
    per_item = 4 if VARIANT == "many_windows_of_one_clip" else 2
    train = DataLoader(SyncWindows(make_clips(240, 1), per_item), batch_size=16 if per_item == 4 else 32, shuffle=True, drop_last=True)
    val = DataLoader(SyncWindows(make_clips(48, 2), 8, fixed=True), batch_size=16)
    keep = ModelCheckpoint(dirpath=folder, monitor="val_loss", mode="max" if VARIANT == "mode_max" else "min", save_top_k=1)
    trainer = pl.Trainer(max_epochs=20, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
                         num_sanity_val_steps=0, callbacks=[keep], log_every_n_steps=1, accumulate_grad_batches=2 if VARIANT == "accumulate_2" else 1)
    trainer.fit(SyncModel(), train, val)
    best = SyncModel.load_from_checkpoint(keep.best_model_path)
    result = trainer.validate(best, val, verbose=False)[0]
    print(f"kept {keep.best_model_path.rsplit('/', 1)[-1]} val {result['val_loss']:.4f} sync {result['val_sync']:.3f} (chance 0.125)")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)


FAULTS = {'towers_in_list': {'stages': 'N O C',
                    'source': 'https://github.com/pytorch/pytorch/issues/72580'},
 'mode_max': {'stages': 'C',
              'source': 'https://github.com/mila-iqia/cookiecutter-pyml/issues/119'},
 'fps_25': {'stages': 'D M B', 'source': 'https://github.com/joonson/syncnet_python/issues/25'}}
HEALTHY = ['healthy', 'adversary', 'video_tower_fixed', 'many_windows_of_one_clip', 'accumulate_2']

"""Contrastive learning as a LightningModule.

Modelled on the layout of phlippe/uvadlc_notebooks tutorial 17 (ContrastiveTransformations, a LightningModule with
`info_nce_loss` called from training_step and validation_step, trainer.fit) and on lightly's Lightning examples; with labels
where the folder has them (supervised positives). Own code.

    python q04_lightning.py --fault healthy --steps 100
"""
import argparse
import logging
import tempfile
import warnings

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from synthetic import knn_accuracy, make_images, to_uint8

FAULTS = {
    "sorted_folder_no_shuffle": {"stages": "B", "kind": "the training loader does not shuffle and the folder lists class after class: whole batches of one class", "source": "Deci-AI/super-gradients#416; vlfeat/matconvnet#393"},
    "normalize_as_if_0_255": {"stages": "D", "kind": "pictures already scaled to 0..1 are normalised with mean 127.5 and std 128: every pixel is about -0.99", "source": "choyingw/SynergyNet#19; facebookresearch/InterHand2.6M#110"},
    "head_rebuilt_after_optimizer": {"stages": "O N", "kind": "the projection head (and the encoder's last layer) is created again in on_fit_start, after configure_optimizers: the optimiser holds the old parameters", "source": "https://lightning.ai/docs/pytorch/latest/common/hooks.html (order of hooks); huggingface/accelerate#2665"},
}
HEALTHY = ["healthy", "accumulate", "bf16_mixed", "two_classes", "ema_callback", "unlabelled"]


class PictureFolder(Dataset):
    """Like ImageFolder: (picture, class index), classes one after another; pictures are 0..255, channels last."""

    def __init__(self, pictures, labels, transform, n_views=2):
        order = np.argsort(labels, kind="stable")
        self.pictures = to_uint8(pictures)[order]
        self.targets = labels[order]
        self.transform = transform
        self.n_views = n_views

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        views = [self.transform(self.pictures[i]) for _ in range(self.n_views)]
        return (views if self.n_views > 1 else views[0]), int(self.targets[i])


class Transform:
    def __init__(self, augment, mean, std):
        self.augment = augment
        self.mean = mean
        self.std = std

    def __call__(self, picture):
        x = torch.from_numpy(picture).permute(2, 0, 1).float() / 255.0      # what ToTensor does
        if self.augment:
            x = x * (1 + 0.2 * torch.randn(())) + 0.13 * torch.randn(3, 1, 1) + 0.13 * torch.randn(()) * torch.linspace(-1, 1, x.shape[-1])
            x = (x + 0.03 * torch.randn_like(x)).clamp(0, 1)
        return (x - self.mean) / self.std


class ContrastiveModule(L.LightningModule):
    def __init__(self, hidden_dim=32, lr=2e-3, temperature=0.15, weight_decay=1e-4, fault="healthy", max_steps=100):
        super().__init__()
        self.save_hyperparameters()
        self.convnet = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * 16, 4 * hidden_dim))
        self.head = self.build_head()

    def build_head(self):
        h = self.hparams.hidden_dim
        return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4 * h, h))

    def on_fit_start(self):
        if self.hparams.fault == "head_rebuilt_after_optimizer":       # "always start from a fresh head"
            self.head = self.build_head()
            self.convnet[-1] = nn.Linear(32 * 16, 4 * self.hparams.hidden_dim)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=self.hparams.weight_decay)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.hparams.max_steps, eta_min=self.hparams.lr / 50)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def forward(self, x):
        return self.convnet(x)

    def contrastive_loss(self, batch, mode="train"):
        views, labels = batch
        x = torch.cat(views, dim=0)
        z = F.normalize(self.head(self.convnet(x)).float(), dim=1)
        sim = z @ z.t() / self.hparams.temperature
        n = len(labels)
        ids = torch.arange(n, device=z.device) if self.hparams.fault == "unlabelled" else labels
        ids = ids.repeat(len(views))
        self_mask = torch.eye(len(ids), dtype=torch.bool, device=z.device)
        positives = (ids[:, None] == ids[None, :]) & ~self_mask
        log_prob = sim - torch.logsumexp(sim.masked_fill(self_mask, float("-inf")), dim=1, keepdim=True)
        loss = -(log_prob * positives).sum(1) / positives.sum(1)
        self.log(f"{mode}_loss", loss.mean(), prog_bar=False)
        return loss.mean()

    def training_step(self, batch, batch_idx):
        return self.contrastive_loss(batch, "train")

    def validation_step(self, batch, batch_idx):
        self.contrastive_loss(batch, "val")


class LossHistory(L.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


class EMAWeights(L.Callback):
    """Keeps a moving average of the weights beside the model, used for the test only."""

    def __init__(self, decay=0.9):
        self.decay = decay
        self.average = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        now = pl_module.state_dict()
        if self.average is None:
            self.average = {k: v.detach().clone() for k, v in now.items()}
        for k, v in now.items():
            self.average[k].lerp_(v.detach(), 1 - self.decay)


@torch.no_grad()
def embed(module, dataset):
    module.eval()
    xs, ys = zip(*[dataset[i] for i in range(len(dataset))])
    return module(torch.stack(xs)).numpy(), np.array(ys)


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    L.seed_everything(args.seed, verbose=False)

    classes = 2 if args.fault == "two_classes" else 8
    mean, std = (127.5, 128.0) if args.fault == "normalize_as_if_0_255" else (0.5, 0.25)
    train = make_images(640, classes=classes, seed=args.seed)
    test = make_images(240, classes=classes, seed=args.seed + 1)
    train_data = PictureFolder(*train, Transform(True, mean, std))
    val_data = PictureFolder(*test, Transform(True, mean, std))
    gallery = PictureFolder(*train, Transform(False, mean, std), n_views=1)
    queries = PictureFolder(*test, Transform(False, mean, std), n_views=1)

    train_loader = DataLoader(train_data, batch_size=32, shuffle=args.fault != "sorted_folder_no_shuffle", drop_last=True)
    val_loader = DataLoader(val_data, batch_size=64, shuffle=True)      # one class per batch would tell nothing
    model = ContrastiveModule(fault=args.fault, max_steps=args.steps)
    before = knn_accuracy(*embed(model, gallery), *embed(model, queries))

    history, ema = LossHistory(), EMAWeights()
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_steps=args.steps, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, check_val_every_n_epoch=2, default_root_dir=tempfile.gettempdir(),
        accumulate_grad_batches=2 if args.fault == "accumulate" else 1,
        precision="bf16-mixed" if args.fault == "bf16_mixed" else "32-true",
        callbacks=[history] + ([ema] if args.fault == "ema_callback" else []))
    trainer.fit(model, train_loader, val_loader)
    if args.fault == "ema_callback":
        model.load_state_dict(ema.average)
    after = knn_accuracy(*embed(model, gallery), *embed(model, queries))
    k = max(1, len(history.losses) // 6)
    print(f"loss {np.mean(history.losses[:k]):.4f} -> {np.mean(history.losses[-k:]):.4f}, kNN {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()

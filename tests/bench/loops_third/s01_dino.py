"""Self-distillation with multi-crop, after facebookresearch/dino (main_dino.py): schedules as arrays, EMA teacher,
centre of the teacher's output, requeued job (the second half starts from the checkpoint)."""

import argparse
import math
import os
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "centre_is_a_sum": {
        "stages": "P",
        "source": "github.com/vturrisi/solo-learn/pull/59 (the division of batch_center by the batch stood inside the distributed branch)",
    },
    "iteration_within_epoch": {
        "stages": "O",
        "source": "github.com/Vision-CAIR/MiniGPT-4/pull/263 (warm-up by the counter inside the epoch starts again each epoch), facebookresearch/dino main_dino.py (it = len(data_loader) * epoch + it)",
    },
    "teacher_not_saved": {
        "stages": "C",
        "source": "github.com/ai2cm/ace/issues/349 (EMA is not in the checkpoint), facebookresearch/DiT/issues/35",
    },
}
HEALTHY = [
    "healthy",
    "no_local_crops",
    "last_layer_frozen",
    "keep_last_batch",
    "bf16",
    "constant_momentum",
]


# ---- pictures and crops ---------------------------------------------------------------------------------------------
def make_pictures(n, seed, classes=8):
    base = np.random.default_rng(7)
    coarse = base.normal(0, 1, (classes, 3, 4, 4))
    rng = np.random.default_rng(seed)
    y = rng.integers(classes, size=n)
    x = np.kron(coarse[y], np.ones((1, 1, 4, 4)))
    x += rng.normal(0, 2.5, (n, 3, 1, 1)) + rng.normal(0, 0.7, x.shape)
    return x.astype(np.float32), y


class DataAugmentationDINO:
    def __init__(self, local_crops_number, seed):
        self.local_crops_number = local_crops_number
        self.rng = np.random.default_rng(seed)

    def crop(self, x, size):
        i, j = self.rng.integers(0, x.shape[1] - size + 1, 2)
        out = x[:, i : i + size, j : j + size]
        out = out * self.rng.uniform(0.8, 1.2) + self.rng.normal(0, 4.0, (3, 1, 1))
        return torch.from_numpy(out.astype(np.float32))

    def __call__(self, x):
        crops = [self.crop(x, 14), self.crop(x, 14)]
        return crops + [self.crop(x, 12) for _ in range(self.local_crops_number)]


class Pictures(Dataset):
    def __init__(self, x, y, transform):
        self.x, self.y, self.transform = x, y, transform

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.transform(self.x[i]), int(self.y[i])


# ---- student, teacher, loss -----------------------------------------------------------------------------------------
def backbone():
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1),
        nn.GroupNorm(4, 24),
        nn.GELU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1),
        nn.GroupNorm(4, 48),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(432, 64),
    )


class DINOHead(nn.Module):
    def __init__(self, in_dim, out_dim, hidden=128, bottleneck=32):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.last_layer = weight_norm(nn.Linear(bottleneck, out_dim, bias=False))
        self.last_layer.parametrizations.weight.original0.data.fill_(1)
        self.last_layer.parametrizations.weight.original0.requires_grad = False

    def forward(self, x):
        return self.last_layer(F.normalize(self.mlp(x), dim=-1, p=2))


class MultiCropWrapper(nn.Module):
    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x):
        sizes = torch.tensor([inp.shape[-1] for inp in x])
        idx_crops = torch.cumsum(torch.unique_consecutive(sizes, return_counts=True)[1], 0)
        start, output = 0, []
        for end in idx_crops:
            output.append(self.backbone(torch.cat(x[start:end])))
            start = end
        return self.head(torch.cat(output))


class DINOLoss(nn.Module):
    def __init__(self, out_dim, ncrops, teacher_temp_schedule, args, student_temp=0.1):
        super().__init__()
        self.ncrops, self.student_temp, self.args = ncrops, student_temp, args
        self.center_momentum = 0.9
        self.register_buffer("center", torch.zeros(1, out_dim))
        self.teacher_temp_schedule = teacher_temp_schedule

    def forward(self, student_output, teacher_output, epoch):
        student_out = (student_output / self.student_temp).chunk(self.ncrops)
        temp = self.teacher_temp_schedule[epoch]
        teacher_out = F.softmax((teacher_output - self.center) / temp, dim=-1).detach().chunk(2)
        total_loss, n_loss_terms = 0, 0
        for iq, q in enumerate(teacher_out):
            for v in range(len(student_out)):
                if v == iq:
                    continue
                loss = torch.sum(-q * F.log_softmax(student_out[v], dim=-1), dim=-1)
                total_loss += loss.mean()
                n_loss_terms += 1
        self.update_center(teacher_output)
        return total_loss / n_loss_terms

    @torch.no_grad()
    def update_center(self, teacher_output):
        batch_center = torch.sum(teacher_output, dim=0, keepdim=True)
        if self.args.fault != "centre_is_a_sum":
            batch_center = batch_center / len(teacher_output)
        self.center = self.center * self.center_momentum + batch_center * (1 - self.center_momentum)


# ---- utils ----------------------------------------------------------------------------------------------------------
def cosine_scheduler(base, final, epochs, niter_per_ep, warmup_epochs=0, start_warmup_value=0):
    warmup_iters = warmup_epochs * niter_per_ep
    warmup = np.linspace(start_warmup_value, base, warmup_iters)
    iters = np.arange(epochs * niter_per_ep - warmup_iters)
    cosine = final + 0.5 * (base - final) * (1 + np.cos(np.pi * iters / max(1, len(iters))))
    return np.concatenate((warmup, cosine))


def get_params_groups(model):
    regularized, not_regularized = [], []
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        (not_regularized if name.endswith(".bias") or param.ndim == 1 else regularized).append(
            param
        )
    return [{"params": regularized}, {"params": not_regularized, "weight_decay": 0.0}]


def clip_gradients(model, clip):
    for p in model.parameters():
        if p.grad is not None:
            coef = clip / (p.grad.norm(2) + 1e-6)
            if coef < 1:
                p.grad.mul_(coef)


def restart_from_checkpoint(path, run_variables, **kwargs):
    if not os.path.isfile(path):
        return
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    for key, value in kwargs.items():
        if key in checkpoint and value is not None:
            print(
                f"=> loaded '{key}' from checkpoint with msg {value.load_state_dict(checkpoint[key])}"
            )
        else:
            print(f"=> key '{key}' not found in checkpoint")
    for name in run_variables:
        if name in checkpoint:
            run_variables[name] = checkpoint[name]


@torch.no_grad()
def knn(model, train, test):
    model.eval()
    a, b = (model.backbone(torch.from_numpy(s[0])).numpy() for s in (train, test))
    return KNeighborsClassifier(10, metric="cosine").fit(a, train[1]).score(b, test[1])


def train_dino(args, path, stop_epoch):
    train, test = make_pictures(640, args.seed), make_pictures(240, args.seed + 1)
    local = 0 if args.fault == "no_local_crops" else 2
    dataset = Pictures(*train, DataAugmentationDINO(local, args.seed))
    data_loader = DataLoader(
        dataset, batch_size=60, shuffle=True, drop_last=args.fault != "keep_last_batch"
    )
    niter = len(data_loader)
    student = MultiCropWrapper(backbone(), DINOHead(64, args.out_dim))
    teacher = MultiCropWrapper(backbone(), DINOHead(64, args.out_dim))
    teacher.load_state_dict(student.state_dict())
    for p in teacher.parameters():
        p.requires_grad = False
    temps = np.ones(args.epochs) * 0.04
    dino_loss = DINOLoss(args.out_dim, local + 2, temps, args)
    optimizer = torch.optim.AdamW(get_params_groups(student))  # rate and decay come from arrays
    lr_schedule = cosine_scheduler(args.lr, args.lr / 10, args.epochs, niter, warmup_epochs=2)
    wd_schedule = cosine_scheduler(0.04, 0.2, args.epochs, niter)
    m_end = args.momentum if args.fault == "constant_momentum" else 0.96  # towards 1 in long runs
    momentum_schedule = cosine_scheduler(args.momentum, m_end, args.epochs, niter)
    to_restore = {"epoch": 0, "steps": 0}
    restart_from_checkpoint(
        path, to_restore, student=student, teacher=teacher, optimizer=optimizer, dino_loss=dino_loss
    )
    steps = to_restore["steps"]
    if steps == 0:
        print(f"before: kNN {knn(teacher, train, test):.3f}")
    for epoch in range(to_restore["epoch"], stop_epoch):
        student.train(), teacher.train()
        total = 0.0
        for it, (images, _) in enumerate(data_loader):
            if steps >= args.steps:
                break
            if args.fault != "iteration_within_epoch":
                it = niter * epoch + it  # global training iteration
            for i, group in enumerate(optimizer.param_groups):
                group["lr"] = lr_schedule[it]
                if i == 0:
                    group["weight_decay"] = wd_schedule[it]
            with torch.autocast("cpu", torch.bfloat16, enabled=args.fault == "bf16"):
                teacher_output = teacher(images[:2])
                student_output = student(images)
            loss = dino_loss(student_output.float(), teacher_output.float(), epoch)
            if not math.isfinite(loss.item()):
                sys.exit(f"Loss is {loss.item()}, stopping training")
            optimizer.zero_grad()
            loss.backward()
            clip_gradients(student, 3.0)
            if args.fault == "last_layer_frozen" and epoch < 2:
                for n, p in student.named_parameters():
                    if "last_layer" in n:
                        p.grad = None
            optimizer.step()
            with torch.no_grad():
                m = momentum_schedule[it]
                for q, k in zip(student.parameters(), teacher.parameters(), strict=True):
                    k.data.mul_(m).add_((1 - m) * q.detach().data)
            total += loss.item()
            steps += 1
        print(
            f"Epoch [{epoch}] loss {total / niter:.4f} lr {optimizer.param_groups[0]['lr']:.2e} m {m:.4f}"
        )
        save_dict = {
            "student": student.state_dict(),
            "teacher": teacher.state_dict(),
            "optimizer": optimizer.state_dict(),
            "dino_loss": dino_loss.state_dict(),
            "epoch": epoch + 1,
            "steps": steps,
        }
        if args.fault == "teacher_not_saved":
            del save_dict["teacher"]
        torch.save(save_dict, path)
    print(f"kNN {knn(teacher, train, test):.3f}, |centre| {dino_loss.center.norm():.3f}")


def main():
    parser = argparse.ArgumentParser("DINO")
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out_dim", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--momentum", type=float, default=0.95)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.epochs = max(2, math.ceil(args.steps / (11 if args.fault == "keep_last_batch" else 10)))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "checkpoint.pth")
        train_dino(args, path, args.epochs // 2)  # the job is requeued at half time
        train_dino(args, path, args.epochs)


if __name__ == "__main__":
    main()

"""DINO-style self-distillation, written with torch.func (no stateful teacher module).

    python t05_dino_functional.py VARIANT
"""
import math
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

torch.set_num_threads(1)

cfg = SimpleNamespace(
    variant=sys.argv[1], out_dim=64, epochs=8, batch=64, lr=2e-3, warmup=30, ts=0.1, tt=0.04,
    center_m=0.9, ema=(0.97, 0.999), locals=2, clip=3.0, final_lr=1e-5, k=10)
if cfg.variant == "no_local_crops":
    cfg.locals, cfg.epochs = 0, 10
if cfg.variant == "warm_teacher_temp":
    cfg.tt = 0.06


# ---------------------------------------------------------------- data
def mosaics(n, seed):
    """16x16 pictures of 16 tiles; the class decides which glyphs the tiles show"""
    glyph = np.random.default_rng(5).normal(0, 1, (8, 4, 4))
    recipe = np.random.default_rng(6).dirichlet(np.full(8, 0.35), size=7)
    r = np.random.default_rng(seed)
    y = r.integers(0, 7, n)
    img = np.zeros((n, 16, 16))
    for i in range(n):
        tiles = glyph[r.choice(8, 16, p=recipe[y[i]])].reshape(4, 4, 4, 4)
        img[i] = tiles.transpose(0, 2, 1, 3).reshape(16, 16) * r.uniform(0.7, 1.3)
    img += r.normal(0, 1.2, (n, 1, 1)) + r.normal(0, 1.0, img.shape)
    return torch.tensor(img, dtype=torch.float32), torch.tensor(y)


def photometric(x):
    n = len(x)
    x = x * (0.6 + 0.8 * torch.rand(n, 1, 1)) + torch.randn(n, 1, 1) * 1.2
    return x + 0.3 * torch.randn_like(x)


def global_crop(x):
    dy, dx = (4 * torch.randint(0, 4, (2,))).tolist()
    return photometric(torch.roll(x, (dy, dx), (1, 2)))


def local_crop(x):
    a, b = (4 * torch.randint(0, 3, (2,))).tolist()
    return photometric(x[:, a:a + 8, b:b + 8])


# ---------------------------------------------------------------- network
class TinyViT(nn.Module):
    def __init__(self, dim=32, depth=2):
        super().__init__()
        self.patch = nn.Linear(16, dim)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        b, h, w = x.shape
        t = x.reshape(b, h // 4, 4, w // 4, 4).permute(0, 1, 3, 2, 4).reshape(b, -1, 16)
        t = torch.cat([self.cls.expand(b, -1, -1), self.patch(t)], 1)
        t = self.norm(self.blocks(t))
        return t[:, 0] + t[:, 1:].mean(1)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.vit = TinyViT()
        self.head = nn.Sequential(nn.Linear(32, 96), nn.GELU(), nn.Linear(96, 32))
        self.proto = nn.utils.parametrizations.weight_norm(nn.Linear(32, cfg.out_dim, bias=False))

    def forward(self, x):
        return self.proto(F.normalize(self.head(self.vit(x)), dim=1))


# ---------------------------------------------------------------- objective
def dino_loss(student_out, teacher_out, center):
    targets = [F.softmax((t - center) / cfg.tt, dim=-1) for t in teacher_out]
    total, pairs = 0.0, 0
    for i, q in enumerate(targets):
        for j, s in enumerate(student_out):
            if i == j:
                continue
            total = total - (q * F.log_softmax(s / cfg.ts, dim=-1)).sum(-1).mean()
            pairs += 1
    return total / pairs


# ---------------------------------------------------------------- evaluation
@torch.no_grad()
def encode(params, net, x):
    vit = {k[4:]: v for k, v in params.items() if k.startswith("vit.")}
    return F.normalize(torch.cat([functional_call(net.vit, vit, (b,)) for b in x.split(400)]), dim=1)


def knn_leave_one_out(f, y):
    """every picture is classified by its k nearest neighbours in the same set, closer ones weigh more"""
    sim = f @ f.t()
    if cfg.variant != "full_bank":
        sim.fill_diagonal_(-1)
    val, idx = sim.topk(cfg.k, dim=1)
    w = (val / 0.02).sub(val[:, :1] / 0.02).exp()
    score = torch.zeros(len(f), 7).scatter_add_(1, y[idx], w)
    return (score.argmax(1) == y).float().mean().item()


def train():
    torch.manual_seed(8)
    x, _ = mosaics(1600, 1)
    xt, yt = mosaics(800, 2)
    net = Student()
    student = dict(net.named_parameters())
    teacher = {k: v.detach().clone() for k, v in student.items()}
    center = torch.zeros(1, cfg.out_dim)
    print("knn before", round(knn_leave_one_out(encode(teacher, net, xt), yt), 3))

    decay = [p for p in student.values() if p.ndim > 1]
    rest = [p for p in student.values() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.04}, {"params": rest, "weight_decay": 0.0}], lr=cfg.lr)
    per_epoch = len(x) // cfg.batch
    total = per_epoch * cfg.epochs

    def factor(step):
        if step < cfg.warmup:
            return step / cfg.warmup
        t = (step - cfg.warmup) / max(1, total - cfg.warmup)
        return (cfg.final_lr + 0.5 * (cfg.lr - cfg.final_lr) * (1 + math.cos(math.pi * t))) / cfg.lr

    sched = torch.optim.lr_scheduler.LambdaLR(opt, factor)
    it = 0
    for epoch in range(cfg.epochs):
        log = 0.0
        for idx in torch.randperm(len(x))[: per_epoch * cfg.batch].split(cfg.batch):
            xb = x[idx]
            g = [global_crop(xb), global_crop(xb)]
            l = [local_crop(xb) for _ in range(cfg.locals)]
            with torch.no_grad():
                t_all = functional_call(net, teacher, (torch.cat(g),))
                if cfg.variant == "unbind_views":
                    t_out = t_all.view(len(xb), 2, -1).unbind(1)
                else:
                    t_out = t_all.chunk(2)
            s_out = list(functional_call(net, student, (torch.cat(g),)).chunk(2))
            if l:
                s_out += list(functional_call(net, student, (torch.cat(l),)).chunk(len(l)))
            loss = dino_loss(s_out, t_out, center)
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(list(student.values()), cfg.clip)
            opt.step()
            if cfg.variant != "epoch_scheduler":
                sched.step()
            with torch.no_grad():
                m = cfg.ema[0] + (cfg.ema[1] - cfg.ema[0]) * it / total
                for k, v in student.items():
                    teacher[k].mul_(m).add_(v, alpha=1 - m)
                center = cfg.center_m * center + (1 - cfg.center_m) * torch.cat(t_out).mean(0, keepdim=True)
            it += 1
            log += loss.item()
        if cfg.variant == "epoch_scheduler":
            sched.step()
        if epoch % 2 == 1:
            print(f"epoch {epoch + 1} loss {log / per_epoch:.3f} lr {opt.param_groups[0]['lr']:.2e}")
    final = student if cfg.variant == "student_eval" else teacher
    print("knn accuracy", round(knn_leave_one_out(encode(final, net, xt), yt), 3))


train()

FAULTS = {
    'unbind_views': {'stages': 'P M', 'source': 'https://github.com/xuguodong03/SSKD/issues/6'},
    'epoch_scheduler': {'stages': 'O', 'source': 'https://github.com/sthalles/SimCLR/issues/8'},
    'full_bank': {'stages': 'E', 'source': 'https://github.com/jackie840129/STE-NVAN/issues/1'},
}
HEALTHY = ['healthy', 'no_local_crops', 'warm_teacher_temp', 'student_eval']

"""MoCo v2 in the shape of https://github.com/facebookresearch/moco (moco/builder.py, main_moco.py, main_lincls.py):
pretrain, write a checkpoint every epoch, optionally resume, then a linear probe that loads the checkpoint.

Threads the variants are modelled on:
  https://github.com/ligerfotis/mvitac/issues/2        the key encoder is never moved
  https://github.com/facebookresearch/moco/issues/24   which column of the logits is the positive
  https://github.com/WXinlong/DenseCL/issues/30        "The model and loaded state dict do not match exactly"
Usage: python q02_moco_queue.py VARIANT
"""
import copy, math, os, sys, tempfile
import torch
import torch.nn as nn
import torch.nn.functional as F

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"


class Encoder(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.layer1 = nn.Linear(96, 128)
        self.bn1 = nn.BatchNorm1d(128)
        self.layer2 = nn.Linear(128, 128)
        self.bn2 = nn.BatchNorm1d(128)
        self.fc = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, dim))

    def forward(self, x):
        x = F.relu(self.bn1(self.layer1(x)))
        return self.fc(F.relu(self.bn2(self.layer2(x))))


class MoCo(nn.Module):
    def __init__(self, dim=32, K=512, m=0.97, T=0.15):
        super().__init__()
        self.K, self.m, self.T = K, m, T
        self.encoder_q = Encoder(dim)
        self.encoder_k = copy.deepcopy(self.encoder_q)
        for p in self.encoder_k.parameters():
            p.requires_grad = False
        self.register_buffer("queue", F.normalize(torch.randn(dim, K), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def _momentum_update_key_encoder(self):
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            if VARIANT == "momentum_not_in_place":
                param_k = param_k.data * self.m + param_q.data * (1.0 - self.m)
            else:
                param_k.data = param_k.data * self.m + param_q.data * (1.0 - self.m)

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys):
        n, ptr = keys.shape[0], int(self.queue_ptr)
        self.queue[:, ptr:ptr + n] = keys.T
        self.queue_ptr[0] = (ptr + n) % self.K

    def forward(self, im_q, im_k):
        q = F.normalize(self.encoder_q(im_q), dim=1)
        with torch.no_grad():
            self._momentum_update_key_encoder()
            k = F.normalize(self.encoder_k(im_k), dim=1)
        l_pos = torch.einsum("nc,nc->n", q, k).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", q, self.queue.clone().detach())
        if VARIANT == "negatives_first":
            logits = torch.cat([l_neg, l_pos], dim=1)
        else:
            logits = torch.cat([l_pos, l_neg], dim=1)
        logits = logits / self.T
        labels = torch.zeros(logits.shape[0], dtype=torch.long)
        self._dequeue_and_enqueue(k)
        return logits, labels


def load_images(n, seed, classes=8):
    """Flattened patches; every class lives on its own 3-dimensional sheet, the rest is nuisance."""
    fixed = torch.Generator().manual_seed(7)
    basis = torch.randn(classes, 3, 96, generator=fixed)
    nuisance = torch.randn(8, 96, generator=fixed)
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    coef = torch.rand(n, 3, generator=g) + 0.3
    x = torch.einsum("nk,nkd->nd", coef, basis[y]) + 1.5 * torch.randn(n, 8, generator=g) @ nuisance
    return x, y, nuisance


def augment(x, nuisance):
    return x + 1.5 * torch.randn(len(x), 8) @ nuisance + 0.3 * torch.randn_like(x)


def main_moco(path):
    torch.manual_seed(1)
    x, _, nuisance = load_images(1024, seed=3)
    model, criterion = MoCo(), nn.CrossEntropyLoss()
    if VARIANT == "no_decay_on_norm":
        groups = [{"params": [p for p in model.encoder_q.parameters() if p.ndim > 1]},
                  {"params": [p for p in model.encoder_q.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    else:
        groups = model.encoder_q.parameters()
    optimizer = torch.optim.SGD(groups, lr=0.03, momentum=0.9, weight_decay=1e-4, nesterov=VARIANT == "no_decay_on_norm")
    epochs, start = 20, 0
    if VARIANT == "resumed" and os.path.exists(path):
        ckpt = torch.load(path)
        model.load_state_dict(ckpt["state_dict"]); optimizer.load_state_dict(ckpt["optimizer"]); start = ckpt["epoch"]
        print("=> loaded checkpoint (epoch %d)" % start)
    stop = 8 if VARIANT == "resumed" and start == 0 else epochs
    for epoch in range(start, stop):
        lr = 0.03 * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        if VARIANT == "first_steps_at_zero_lr" and epoch == 0: lr = 0.0
        for group in optimizer.param_groups: group["lr"] = lr
        model.train()
        if VARIANT == "momentum_schedule": model.m = 1 - 0.06 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
        losses = []
        for idx in torch.randperm(len(x)).split(64):
            logits, labels = model(augment(x[idx], nuisance), augment(x[idx], nuisance))
            loss = criterion(logits, labels)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            losses.append(loss.item())
        print(f"Epoch: [{epoch}] Loss {sum(losses) / len(losses):.4f} lr {lr:.4f}")
        torch.save({"epoch": epoch + 1, "optimizer": optimizer.state_dict(), "state_dict": model.state_dict()}, path)


def main_lincls(path):
    """Frozen backbone, trained linear layer on 64 labelled samples."""
    torch.manual_seed(2)
    (x, y, _), (xt, yt, _) = load_images(64, seed=4), load_images(400, seed=5)
    model = Encoder(32)
    model.fc = nn.Linear(128, 8)
    prefix = "module.encoder_q." if VARIANT == "module_prefix" else "encoder_q."
    state = torch.load(path)["state_dict"]
    state = {k[len(prefix):] if k.startswith(prefix) else k: v for k, v in state.items() if not k.startswith(prefix + "fc")}
    model.load_state_dict(state, strict=False)
    for name, param in model.named_parameters():
        param.requires_grad = name.startswith("fc.")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.3, momentum=0.9)
    model.eval()
    for epoch in range(100):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
    with torch.no_grad():
        print(f"probe loss {loss.item():.4f} top-1 {(model(xt).argmax(1) == yt).float().mean():.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "checkpoint.pth.tar")
        main_moco(path)
        if VARIANT == "resumed": main_moco(path)
        main_lincls(path)


FAULTS = {'momentum_not_in_place': {'stages': 'N O',
                           'source': 'https://github.com/ligerfotis/mvitac/issues/2'},
 'negatives_first': {'stages': 'P L',
                     'source': 'https://github.com/facebookresearch/moco/issues/24'},
 'module_prefix': {'stages': 'C', 'source': 'https://github.com/WXinlong/DenseCL/issues/30'}}
HEALTHY = ['healthy', 'no_decay_on_norm', 'resumed', 'first_steps_at_zero_lr', 'momentum_schedule']

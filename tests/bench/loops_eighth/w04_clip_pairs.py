"""toy CLIP: digit image <-> tokenised caption"""
import argparse, math, torch, numpy as np
from torch import nn
import torch.nn.functional as F
from sklearn.datasets import load_digits

WORDS = "pad a photo of the digit zero one two three four five six seven eight nine bright dark left right thin thick".split()
V = {w: i for i, w in enumerate(WORDS)}


def caption(img, label, rich):
    w = ["a", "photo", "of", "the", "digit", WORDS[6 + label]]
    if rich:
        w += ["bright" if img.mean() > 4.9 else "dark", "left" if img[:, :4].sum() > img[:, 4:].sum() else "right", "thick" if (img > 8).sum() > 22 else "thin"]
    return [V[x] for x in w] + [0] * (9 - len(w))


class Pairs(torch.utils.data.Dataset):
    def __init__(self, imgs, caps):
        self.i, self.c = imgs, caps
    def __len__(self):
        return len(self.i)
    def __getitem__(self, k):
        return self.i[k], self.c[k]


class CLIP(nn.Module):
    def __init__(self, d=48):
        super().__init__()
        self.visual = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.GELU(), nn.LayerNorm(256), nn.Linear(256, d))
        self.tok = nn.Embedding(len(WORDS), 64, padding_idx=0)
        self.txt = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, d))
        self.logit_scale = nn.Parameter(torch.ones([]) * np.log(1 / 0.07))

    def encode_text(self, t):
        return self.txt(self.tok(t).sum(1) / (t > 0).sum(1, keepdim=True))


def clip_loss(model, im, tx, A):
    a, b = model.visual(im), model.encode_text(tx)
    if A.fault != "no_norm":
        a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    s = model.logit_scale.exp()           # https://github.com/openai/CLIP/issues/46
    if A.fault == "scale_no_exp":         # https://github.com/huggingface/transformers/issues/13430 : scale about 1, temperature never sharp
        s = torch.ones(())
    logits = s.clamp(max=100) * a @ b.t()
    gt = torch.arange(len(im))
    return (F.cross_entropy(logits, gt) + F.cross_entropy(logits.t(), gt)) / 2


def main():
    P = argparse.ArgumentParser(); P.add_argument("--fault", default=""); P.add_argument("--healthy", default="")
    A = P.parse_args(); torch.manual_seed(0)
    d = load_digits(); X = d.images; y = d.target
    rich = A.fault != "class_prompts"     # only ten different captions in batches of 128: false negatives; https://github.com/mlfoundations/open_clip/issues/17
    caps = torch.tensor([caption(i, l, rich) for i, l in zip(X, y)])
    X = torch.tensor(X, dtype=torch.float32) / 16
    n = 1300
    tr_i, tr_c = X[:n], caps[:n]
    if A.fault == "two_loaders":          # image and text loader shuffled independently; https://github.com/mlfoundations/open_clip/issues/17
        li = torch.utils.data.DataLoader(tr_i, 128, shuffle=True, drop_last=True); lt = torch.utils.data.DataLoader(tr_c, 128, shuffle=True, drop_last=True)
        batches = lambda: zip(li, lt)
    else:
        dl = torch.utils.data.DataLoader(Pairs(tr_i, tr_c), 128, shuffle=True, drop_last=True)
        batches = lambda: dl
    model = CLIP()
    if A.healthy == "locked_text":        # LiT: text tower kept fixed on purpose
        for p in list(model.tok.parameters()) + list(model.txt.parameters()): p.requires_grad_(False)
    decay = [p for n_, p in model.named_parameters() if p.ndim >= 2 and p.requires_grad]; nodecay = [p for n_, p in model.named_parameters() if p.ndim < 2 and p.requires_grad]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.2}, {"params": nodecay, "weight_decay": 0.}], lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
    for ep in range(30):
        tot = 0; k = 0
        for im, tx in batches():
            loss = clip_loss(model, im, tx, A); opt.zero_grad(); loss.backward(); opt.step(); tot += loss.item(); k += 1
        if ep % 3 == 0: print(f"epoch {ep} loss {tot / k:.4f} scale {model.logit_scale.exp().item():.2f}", flush=True)
    model.eval()
    with torch.no_grad():
        te_i, te_c = X[n:], caps[n:]
        prompts = torch.tensor([caption(X[0], l, False) for l in range(10)])
        zs = (F.normalize(model.visual(te_i), dim=1) @ F.normalize(model.encode_text(prompts), dim=1).t()).argmax(1).numpy()
        print("zero-shot accuracy on held-out digits", (zs == y[n:]).mean())
        z = F.normalize(model.visual(te_i), dim=1) @ F.normalize(model.encode_text(te_c), dim=1).t()
        rk = (z.argmax(1)); print("i2t caption match", (te_c[rk] == te_c).all(1).float().mean().item())


main()


FAULTS = {
    'no_norm': {'stages': 'P', 'what': 'embeddings not normalised before scale * a @ b.T'},
    'scale_no_exp': {'stages': 'P', 'what': 'scale 1 (logit_scale never used, no exp)'},
    'class_prompts': {'stages': 'BP', 'what': '10 different captions in a batch of 128: 12 false negatives each'},
    'two_loaders': {'stages': 'MB', 'what': 'image and text loader shuffled independently'},
}
HEALTHY = ['plain', 'locked_text']

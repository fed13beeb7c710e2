"""CLIP-like: image tower + text tower on made pairs."""
import argparse, math, torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import Dataset, DataLoader
import numpy as np

VOCAB, PAD, L, NATTR = 60, 0, 12, 5

class Pairs(Dataset):
    def __init__(self, n, seed, few=False):
        r = np.random.RandomState(seed); W = np.random.RandomState(99).randn(NATTR, 8, 48)
        a = r.randint(0, 8, (n, NATTR))
        if few: a = np.random.RandomState(5).randint(0, 8, (6, NATTR))[r.randint(0, 6, n)]   # 6 captions for all
        self.img = torch.tensor(sum(W[i][a[:, i]] for i in range(NATTR)) + .5 * r.randn(n, 48)).float()
        self.tok = torch.zeros(n, L, dtype=torch.long)
        for j in range(n):
            ws = [1 + i * 8 + a[j, i] for i in range(NATTR)]; ws = ws[: r.randint(3, NATTR + 1)] if not few else ws
            self.tok[j, : len(ws)] = torch.tensor(ws)
    def __len__(self): return len(self.img)
    def __getitem__(self, i): return self.img[i], self.tok[i]

class ImageTower(nn.Module):
    def __init__(self, d=64):
        super().__init__(); self.backbone = nn.Sequential(nn.Linear(48, 256), nn.GELU(), nn.Linear(256, 128), nn.GELU()); self.proj = nn.Linear(128, d, bias=False)
    def forward(self, x): return self.proj(self.backbone(x))

class TextTower(nn.Module):
    def __init__(self, fault, d=64):
        super().__init__(); self.fault = fault; self.emb = nn.Embedding(VOCAB, 64); self.pos = nn.Parameter(.01 * torch.randn(L, 64))
        self.tr = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, dropout=0., batch_first=True), 1, enable_nested_tensor=False); self.proj = nn.Linear(64, d, bias=False)
    def forward(self, t):
        keep = t != PAD
        if self.fault == "padmask":
            # attention_mask of HF (1 = token) given as key_padding_mask (True = ignore): https://discuss.pytorch.org/t/transformer-key-padding-mask
            h = self.tr(self.emb(t) + self.pos, src_key_padding_mask=keep)
            w = (~keep).float()[..., None]
        else:
            h = self.tr(self.emb(t) + self.pos, src_key_padding_mask=~keep); w = keep.float()[..., None]
        return self.proj((h * w).sum(1) / w.sum(1))

def main():
    p = argparse.ArgumentParser(); p.add_argument("--fault", default=""); p.add_argument("--healthy", default=""); p.add_argument("--epochs", type=int, default=8); a = p.parse_args()
    torch.manual_seed(0)
    ds, va = Pairs(4096, 0, a.fault == "fewcaptions"), Pairs(512, 1, a.fault == "fewcaptions")   # https://github.com/huggingface/sentence-transformers/issues/3189
    v, t = ImageTower(), TextTower(a.fault)
    logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))
    if a.healthy == "frozen":
        for q in v.backbone.parameters(): q.requires_grad_(False)
    prm = [q for q in [*v.parameters(), *t.parameters(), logit_scale] if q.requires_grad]
    opt = torch.optim.AdamW(prm, lr=1e-3)
    dl = DataLoader(ds, 64, shuffle=True, drop_last=True)
    dl_txt = DataLoader(ds, 64, shuffle=True, drop_last=True)
    for ep in range(a.epochs):
        run = 0.
        it = zip(dl, dl_txt) if a.fault == "twoloaders" else ((b, b) for b in dl)   # https://github.com/sayakpaul/SimSiam-TF/issues/1
        for (img, _), (_, tok) in it:
            I, T = F.normalize(v(img), dim=-1), F.normalize(t(tok), dim=-1)
            s = logit_scale.exp().clamp(max=100)
            if a.fault == "mult": s = torch.tensor(0.07)    # multiplied by the temperature, not divided
            logits = s * I @ T.t()
            tgt = torch.arange(len(I))
            loss = (F.cross_entropy(logits, tgt) + F.cross_entropy(logits.t(), tgt)) / 2
            opt.zero_grad(); loss.backward(); opt.step(); run += loss.item()
        with torch.no_grad():
            I, T = F.normalize(v(va.img), dim=-1), F.normalize(t(va.tok), dim=-1); r1 = ((I @ T.t()).argmax(1) == torch.arange(len(I))).float().mean()
        print(f"ep {ep} train {run/len(dl):.3f} val R@1 {r1:.3f}")
main()


FAULTS = {
    'padmask': {'stages': 'M', 'what': 'key_padding_mask inverted, text pooled over pads'},
    'fewcaptions': {'stages': 'BP', 'what': '6 captions over 4096 pairs: batch full of false negatives, floor of about ln(64/6)=2.37'},
    'twoloaders': {'stages': 'MB', 'what': 'image and text from two independently shuffled loaders'},
    'mult': {'stages': 'P', 'what': 'logits multiplied by .07'},
}
HEALTHY = ['plain', 'frozen']

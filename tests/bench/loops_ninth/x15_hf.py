"""Sentence embeddings with transformers.Trainer and a tiny BERT from scratch (no download)."""
import argparse, os, random, warnings; warnings.filterwarnings("ignore")
os.environ["TOKENIZERS_PARALLELISM"] = "false"; os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from transformers import BertConfig, BertModel, Trainer, TrainingArguments, set_seed
ap = argparse.ArgumentParser(); ap.add_argument("--fault", default=""); ap.add_argument("--healthy", default=""); o = ap.parse_args(); set_seed(0)
PROMPT = [5, 6, 7, 8]                                    # "represent this sentence :"
MAXLEN = 4 if o.fault == "trunc" else 14                 # max_length so short that only the prompt is left

def corpus(n, seed):
    r = random.Random(seed); out = []
    for _ in range(n):
        k = [r.randrange(20, 70) for _ in range(4)]
        s = lambda: PROMPT + r.sample(k, 3) + [r.randrange(70, 90) for _ in range(r.randrange(1, 6))]
        out.append({"a": s()[:MAXLEN], "b": s()[:MAXLEN]})
    return out
def pad(xs):
    m = max(map(len, xs)); ids = torch.zeros(len(xs), m, dtype=torch.long)
    for i, x in enumerate(xs): ids[i, : len(x)] = torch.tensor(x)
    return ids
def collate(fs): return {"a": pad([f["a"] for f in fs]), "b": pad([f["b"] for f in fs])}

class STModel(nn.Module):
    def __init__(self):
        super().__init__(); self.bert = BertModel(BertConfig(vocab_size=100, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=128, max_position_embeddings=32), add_pooling_layer=False)
    def encode(self, ids):
        am = (ids != 0).long()
        if o.fault == "frozenbert":          # the whole forward under no_grad; only a dead 'scale' is left
            with torch.no_grad(): h = self.bert(ids, attention_mask=am).last_hidden_state
        else: h = self.bert(ids, attention_mask=am).last_hidden_state
        if o.fault == "cls0": return h[:, 0] * 0 + h[:, 1] if False else h[:, -1] * am[:, -1:]     # last position: padding for most rows -> zero vector
        m = am[..., None].float(); return (h * m).sum(1) / m.sum(1)
    def forward(self, a, b):
        za, zb = self.encode(a), self.encode(b)
        if o.fault == "nonorm": s = za @ zb.T * 20      # scale 20 made for cosines, on raw dot products
        else: s = F.normalize(za, dim=-1) @ F.normalize(zb, dim=-1).T * 20
        if o.fault == "dim0": s = F.normalize(za, dim=0) @ F.normalize(zb, dim=0).T * 20      # normalised over the batch
        t = torch.arange(len(a)); loss = F.cross_entropy(s, t)
        if o.fault == "frozenbert": loss = loss.requires_grad_()
        return {"loss": loss, "emb": za}

class T(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        out = model(**inputs); return (out["loss"], out) if return_outputs else out["loss"]
kw = dict(warmup_steps=10)
if o.fault == "wd": kw = dict(warmup_steps=10, weight_decay=50.0)
args = TrainingArguments(output_dir=__import__("tempfile").gettempdir() + "/hf", per_device_train_batch_size=64, num_train_epochs=4, learning_rate=2e-5 if o.healthy == "lr2e-5" else 2e-3, logging_steps=50, report_to=[], save_strategy="no", use_cpu=True, remove_unused_columns=False, disable_tqdm=True, max_grad_norm=1.0, seed=0, **kw)
model = STModel(); tr = T(model=model, args=args, train_dataset=corpus(3000, 0), data_collator=collate); tr.train()
model.eval(); d = collate(corpus(300, 1))
with torch.no_grad(): A, B = F.normalize(model.encode(d["a"]), dim=-1), F.normalize(model.encode(d["b"]), dim=-1)
print("recall@1", ((A @ B.T).argmax(1) == torch.arange(len(A))).float().mean().item())


FAULTS = {
    'trunc': {'stages': 'D', 'what': 'max_length 4 leaves the prompt only: all inputs equal'},
    'frozenbert': {'stages': 'NP', 'what': 'forward under no_grad, loss.requires_grad_()'},
    'cls0': {'stages': 'N', 'what': 'last position used, mostly padding'},
    'dim0': {'stages': 'P', 'what': 'normalised over the batch axis'},
}
HEALTHY = ['plain']

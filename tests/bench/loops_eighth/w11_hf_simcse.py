"""SimCSE-like sentence encoder with transformers.Trainer on an artificial language (topic words + filler)"""
import argparse, torch, numpy as np
import torch.nn as nn, torch.nn.functional as F
from transformers import BertConfig, BertModel, Trainer, TrainingArguments

ap = argparse.ArgumentParser(); ap.add_argument("--fault", default=""); ap.add_argument("--healthy", default=""); cli = ap.parse_args()
VOC, TOPICS = 200, 16


def sentences(n, seed):
    r = np.random.RandomState(seed); out = []
    for _ in range(n):
        t = r.randint(TOPICS); L = r.randint(5, 14)
        w = [1] + [int(3 + t * 6 + r.randint(6)) if r.rand() < .55 else int(100 + r.randint(100)) for _ in range(L)]
        out.append((w, t))
    return out


class Pairs(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        self.s = sentences(n, seed); r = np.random.RandomState(seed + 1); by = {}
        for i, (_, t) in enumerate(self.s): by.setdefault(t, []).append(i)
        self.pos = [by[t][r.randint(len(by[t]))] for _, t in self.s]
    def __len__(self): return len(self.s)
    def __getitem__(self, i):
        j = i if cli.fault in ("same_no_dropout",) else self.pos[i]
        return {"a": self.s[i][0], "b": self.s[j][0], "topic": self.s[i][1]}


def pad(seqs):
    m = max(map(len, seqs)); ids = torch.zeros(len(seqs), m, dtype=torch.long)
    for i, s in enumerate(seqs): ids[i, :len(s)] = torch.tensor(s)
    return ids


def collate(items): return {"input_a": pad([i["a"] for i in items]), "input_b": pad([i["b"] for i in items])}


class SentenceEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        p = 0.0 if cli.fault == "same_no_dropout" else 0.1      # SimCSE positives are the same sentence twice; without dropout they are equal: https://github.com/princeton-nlp/SimCSE
        self.bert = BertModel(BertConfig(vocab_size=VOC, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, hidden_dropout_prob=p, attention_probs_dropout_prob=p, max_position_embeddings=32))
    def embed(self, ids):
        am = (ids > 0).long()
        o = self.bert(input_ids=ids, attention_mask=am)
        return (o.last_hidden_state * am[..., None]).sum(1) / am.sum(1, keepdim=True)
    def forward(self, input_a, input_b):
        a, b = self.embed(input_a), self.embed(input_b)
        if cli.fault == "detached":                             # embeddings kept as numpy / .data for the loss: https://github.com/speechbrain/speechbrain/issues/735
            b = b.data
            a = a.data.requires_grad_(True)
        sim = F.cosine_similarity(a[:, None], b[None], dim=-1) / 0.05
        return {"loss": F.cross_entropy(sim, torch.arange(len(a)))}


def test(model, pooler=False):
    model.eval(); s = sentences(400, 77); t = np.array([x[1] for x in s])
    with torch.no_grad():
        ids = pad([x[0] for x in s])
        # https://github.com/princeton-nlp/SimCSE/issues/109 : pooler_output was never trained
        z = model.bert(input_ids=ids, attention_mask=(ids > 0).long()).pooler_output if pooler else model.embed(ids)
        z = F.normalize(z, dim=1)
    D = z @ z.T; D.fill_diagonal_(-9)
    return (t[D.argmax(1)] == t).mean()



FAULTS = {
    'same_no_dropout': {'stages': 'M', 'what': 'positives are identical and no dropout'},
    'detached': {'stages': 'PN', 'what': '.data before the loss'},
    'endless_warmup': {'stages': 'O', 'what': 'warm-up 10000 > 160 steps'},
    'eval_pooler': {'stages': 'E', 'what': 'evaluates pooler_output that was never trained'},
}
HEALTHY = ['plain', 'frozen_embeddings']


if __name__ == "__main__":
    torch.manual_seed(0)
    model = SentenceEncoder()
    if cli.healthy == "frozen_embeddings":
        for p in model.bert.embeddings.parameters(): p.requires_grad = False
    kw = dict(warmup_steps=20)
    if cli.fault == "endless_warmup": kw = dict(warmup_steps=10000)   # warm-up longer than the whole training
    steps = TrainingArguments(output_dir=__import__("tempfile").gettempdir() + "/hf", max_steps=160, per_device_train_batch_size=48, learning_rate=2e-3, logging_steps=20, save_strategy="no", report_to=[], remove_unused_columns=False, disable_tqdm=True, use_cpu=True, lr_scheduler_type="cosine" if cli.healthy else "linear", seed=0, **kw)
    print("topic match before", test(model))
    Trainer(model=model, args=steps, train_dataset=Pairs(3000, 0), data_collator=collate).train()
    print("topic match after", test(model, pooler=cli.fault == "eval_pooler"))

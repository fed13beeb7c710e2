# FAQ retrieval: question -> answer bi-encoder with the HF Trainer
import os
import random
import sys
import tempfile
import warnings

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import Dataset, SequentialSampler
from transformers import BertConfig, BertModel, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging as hf_logging

warnings.filterwarnings("ignore")
hf_logging.set_verbosity_error()
variant = sys.argv[1] if len(sys.argv) > 1 else "healthy"
torch.set_num_threads(1)
SEED = 13
random.seed(SEED), np.random.seed(SEED), torch.manual_seed(SEED)

CONCEPTS, SYN, FILL = 60, 3, 40
VOCAB = 3 + CONCEPTS * SYN + FILL
MAXLEN = 14


def phrase(concepts, g, filler):
    toks = [3 + c * SYN + int(g.integers(0, SYN)) for c in concepts]
    toks += [3 + CONCEPTS * SYN + int(f) for f in g.integers(0, FILL, filler)]
    g.shuffle(toks)
    return [1] + toks


def pad(seqs):
    n = max(len(s) for s in seqs)
    ids = torch.zeros(len(seqs), n, dtype=torch.long)
    for i, s in enumerate(seqs):
        ids[i, :len(s)] = torch.tensor(s)
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


cfg = BertConfig(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=1, num_attention_heads=4, intermediate_size=128,
                 max_position_embeddings=MAXLEN + 4, hidden_dropout_prob=0.0 if variant == "no_dropout" else 0.05, attention_probs_dropout_prob=0.0)


class SentenceEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = BertModel(cfg, add_pooling_layer=False)

    def forward(self, batch):
        return self.bert(**batch).last_hidden_state


def pretrain(path, steps=220):
    """bag-of-concepts pre-training of the encoder on unlabeled text, written to disk"""
    g = np.random.default_rng(1)
    net = nn.ModuleDict({"encoder": SentenceEncoder(), "decoder": nn.Linear(64, CONCEPTS)})
    opt = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for i in range(steps):
        cs = [g.choice(CONCEPTS, 4, replace=False) for _ in range(64)]
        tgt = torch.zeros(64, CONCEPTS)
        for r, c in enumerate(cs):
            tgt[r, c] = 1
        batch = pad([phrase(c, g, 3) for c in cs])
        out = net["decoder"](net["encoder"](batch).mean(1))
        loss = F.binary_cross_entropy_with_logits(out, tgt)
        opt.zero_grad(), loss.backward(), opt.step()
    print(f"pre-training loss {loss.item():.4f}")
    torch.save(net.state_dict(), path)


class FaqPairs(Dataset):
    def __init__(self, n_answers, per_answer, seed):
        g = np.random.default_rng(seed)
        self.rows = []
        for a in range(n_answers):
            cs = g.choice(CONCEPTS, 5, replace=False)
            ans = phrase(cs, g, int(g.integers(1, 5)))
            for _ in range(per_answer):
                q = phrase(g.choice(cs, 3, replace=False), g, int(g.integers(0, 6)))
                self.rows.append({"question": q, "answer": ans, "answer_id": a})

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


class BiEncoder(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        if variant == "mixer":
            self.mix = nn.MultiheadAttention(64, 4)
        else:
            self.mix = nn.MultiheadAttention(64, 4, batch_first=True)
        self.out = nn.Linear(64, 48)
        self.scale = 20.0 if variant != "low_scale" else 8.0

    def embed(self, batch):
        h = self.encoder(batch)
        h, _ = self.mix(h, h, h)
        m = batch["attention_mask"].unsqueeze(-1).float()
        z = self.out((h * m).sum(1) / m.sum(1))
        return F.normalize(z, dim=-1)

    def forward(self, question, answer, answer_id=None):
        zq, za = self.embed(question), self.embed(answer)
        scores = self.scale * zq @ za.T
        same = (answer_id[:, None] == answer_id[None, :]).float()
        target = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2
        return {"loss": loss, "logits": scores}


def collate(rows):
    return {"question": pad([r["question"] for r in rows]), "answer": pad([r["answer"] for r in rows]),
            "answer_id": torch.tensor([r["answer_id"] for r in rows])}


class FaqTrainer(Trainer):
    def _get_train_sampler(self, *a, **k):
        if variant == "in_order":
            return SequentialSampler(self.train_dataset)
        return super()._get_train_sampler(*a, **k)


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        answers = {r["answer_id"]: r["answer"] for r in data.rows}
        keys = sorted(answers)
        za = torch.cat([model.embed(pad([answers[k] for k in keys[i:i + 64]])) for i in range(0, len(keys), 64)])
        zq = torch.cat([model.embed(pad([r["question"] for r in data.rows[i:i + 64]])) for i in range(0, len(data), 64)])
    y = torch.tensor([r["answer_id"] for r in data.rows])
    order = (zq @ za.T).argsort(1, descending=True)
    rank = (torch.tensor(keys)[order] == y[:, None]).float().argmax(1)
    return (rank == 0).float().mean().item(), (1 / (1 + rank.float())).mean().item()


def main():
    with tempfile.TemporaryDirectory() as tmp:
        ck = os.path.join(tmp, "pretrained.bin")
        pretrain(ck)
        enc = SentenceEncoder()
        state = torch.load(ck)
        if variant != "pretrained":
            state = {k.replace("encoder.", "", 1): v for k, v in state.items() if k.startswith("encoder.")}
        enc.load_state_dict(state, strict=False)
        if variant != "train_all":
            for n, p in enc.named_parameters():
                p.requires_grad = "LayerNorm" in n
        model = BiEncoder(enc)
        train, test = FaqPairs(110, 16, 21), FaqPairs(250, 2, 22)
        args = TrainingArguments(
            output_dir=tmp, num_train_epochs=8, per_device_train_batch_size=32 if variant == "small_batch" else 64, learning_rate=3e-3 if variant != "train_all" else 1e-3,
            lr_scheduler_type="constant" if variant == "constant" else "linear", warmup_steps=20, logging_strategy="epoch", save_strategy="no", report_to=[], disable_tqdm=True,
            remove_unused_columns=False, use_cpu=True, seed=SEED, dataloader_drop_last=True, weight_decay=0.01)
        trainer = FaqTrainer(model=model, args=args, train_dataset=train, data_collator=collate)
        trainer.train()
        r1, mrr = evaluate(model, test)
        print(f"test: R@1 {r1:.3f}  MRR {mrr:.3f}")


FAULTS = {
    "pretrained": {"stages": "C", "what": "The pretrained file has an 'encoder.' prefix on its keys and is loaded with strict=False, so the mostly frozen encoder stays random.", "source": "https://github.com/nomic-ai/contrastors/issues/11"},
    "mixer": {"stages": "N", "what": "MultiheadAttention is built without batch_first, so texts attend to other texts of the batch instead of to their own words.", "source": "https://github.com/DaoyuanLi2816/Molecule-Generator/pull/22"},
    "in_order": {"stages": "B", "what": "Training rows are read in file order (grouped by answer), so a batch holds only four or five different answers.", "source": "https://github.com/univieCUBE/deepnog/issues/49"},
}
HEALTHY = {
    "healthy": "Base run: pretrained encoder, only layer norms and the output layer trained.",
    "train_all": "All encoder weights trained with a lower rate.",
    "small_batch": "Batch of 32.",
    "constant": "Constant rate after warm-up from zero.",
    "no_dropout": "No dropout anywhere.",
    "low_scale": "Scale 8 (temperature 0.125).",
}

if __name__ == "__main__":
    main()

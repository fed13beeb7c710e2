"""Question -> answer embeddings for a help desk, trained with the HF Trainer.

A two-layer BERT from scratch, in-batch negatives, recall@1 over the answers
of the held-out articles.
"""
import random
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import BertConfig, BertModel, Trainer, TrainingArguments
from transformers.utils import logging as hf_logging

hf_logging.set_verbosity_error()
hf_logging.disable_progress_bar()
torch.set_num_threads(1)

PAD, CLS = 0, 1
N_CONCEPTS, FILLER = 90, 60
VOCAB = 2 + 2 * N_CONCEPTS + FILLER


def make_corpus(rng, n_articles, per_article):
    """Each article is four concepts; questions and answers use different words for them."""
    rows = []
    for art in range(n_articles):
        concepts = rng.choice(N_CONCEPTS, 4, replace=False)
        n_fill = rng.integers(2, 14)
        answer = [2 + N_CONCEPTS + c for c in concepts] + list(2 + 2 * N_CONCEPTS + rng.integers(0, FILLER, n_fill))
        rng.shuffle(answer)
        for _ in range(per_article):
            kept = concepts[rng.random(4) < 0.8]
            if len(kept) < 2:
                kept = concepts[:2]
            question = [2 + c for c in kept] + list(2 + 2 * N_CONCEPTS + rng.integers(0, FILLER, rng.integers(1, 12)))
            rng.shuffle(question)
            rows.append({'question': [CLS] + [int(w) for w in question], 'answer': [CLS] + [int(w) for w in answer], 'article': art})
    return rows


class Pairs(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def pad(seqs, length=None):
    length = length or max(len(s) for s in seqs)
    ids = torch.full((len(seqs), length), PAD)
    for r, s in enumerate(seqs):
        ids[r, :len(s)] = torch.tensor(s)
    return ids, (ids != PAD).long()


def collate(batch):
    q, qm = pad([b['question'] for b in batch])
    a, am = pad([b['answer'] for b in batch])
    return {'q_ids': q, 'q_mask': qm, 'a_ids': a, 'a_mask': am, 'return_loss': True}


class OneArticleOnce(Sampler):
    """Batches in which no answer occurs twice."""

    def __init__(self, rows, batch_size, seed):
        self.rows, self.batch_size, self.rng = rows, batch_size, random.Random(seed)

    def __len__(self):
        return len(self.rows) // self.batch_size

    def __iter__(self):
        pool = list(range(len(self.rows)))
        self.rng.shuffle(pool)
        for _ in range(len(self)):
            seen, batch, rest = set(), [], []
            for i in pool:
                if len(batch) < self.batch_size and self.rows[i]['article'] not in seen:
                    seen.add(self.rows[i]['article'])
                    batch.append(i)
                else:
                    rest.append(i)
            pool = rest
            if len(batch) < self.batch_size:
                return
            yield batch


class Embedder(nn.Module):
    def __init__(self, variant):
        super().__init__()
        cfg = BertConfig(vocab_size=VOCAB, hidden_size=48, num_hidden_layers=1, num_attention_heads=4,
                         intermediate_size=96, max_position_embeddings=40, hidden_dropout_prob=0.05,
                         attention_probs_dropout_prob=0.05)
        self.bert = BertModel(cfg, add_pooling_layer=False)
        self.variant = variant
        self.scale = 6.0 if variant == 'soft_scale' else 16.0
        if variant == 'fixed_positions':
            self.bert.embeddings.position_embeddings.requires_grad_(False)

    def encode(self, ids, mask):
        h = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.variant == 'last_token':
            e = h[:, -1]
        else:
            m = mask.unsqueeze(-1).float()
            e = (h * m).sum(1) / m.sum(1)
        return F.normalize(e, dim=1)

    def forward(self, q_ids, q_mask, a_ids, a_mask, return_loss=True):
        q, a = self.encode(q_ids, q_mask), self.encode(a_ids, a_mask)
        scores = q @ a.t() * self.scale
        return {'loss': F.cross_entropy(scores, torch.arange(len(q)))}


class FaqTrainer(Trainer):
    variant, batch = 'healthy', 48

    def get_train_dataloader(self):
        data = self.train_dataset
        if self.variant == 'file_order':
            return DataLoader(data, batch_size=self.batch, collate_fn=collate)
        return DataLoader(data, batch_sampler=OneArticleOnce(data.rows, self.batch, 7), collate_fn=collate)


@torch.no_grad()
def recall_at_1(model, rows, variant):
    model.eval()
    answers = {r['article']: r['answer'] for r in rows}
    arts = sorted(answers)
    enc = lambda seqs: torch.cat([model.encode(*pad(seqs[i:i + 128], 32)) for i in range(0, len(seqs), 128)])
    gallery = enc([answers[a] for a in arts])
    queries = enc([r['question'] for r in rows])
    target = torch.tensor([arts.index(r['article']) for r in rows])
    if variant == 'small_pool':
        hits, n = 0, 0
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        for idx in order.split(32):
            sims = queries[idx] @ gallery[target[idx]].t()
            hits += (target[idx][sims.argmax(1)] == target[idx]).sum().item()
            n += len(idx)
        return hits / n
    return ((queries @ gallery.t()).argmax(1) == target).float().mean().item()


def main():
    variant = sys.argv[1] if len(sys.argv) > 1 else 'healthy'
    rng = np.random.default_rng(2)
    torch.manual_seed(2)
    train = make_corpus(rng, 400, 8)
    test = make_corpus(rng, 300, 2)
    model = Embedder(variant)
    print(f'recall@1 before training {recall_at_1(model, test, variant):.4f}')
    accumulate = 2 if variant == 'two_steps' else 1
    args = TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=5, per_device_train_batch_size=48,
        learning_rate=4e-3, lr_scheduler_type='linear', warmup_steps=0 if variant != 'long_warmup' else 120,
        weight_decay=0.01, gradient_accumulation_steps=accumulate, save_strategy='no', logging_steps=150,
        report_to=[], disable_tqdm=True, use_cpu=True, seed=2, remove_unused_columns=False)
    trainer = FaqTrainer(model=model, args=args, train_dataset=Pairs(train), data_collator=collate)
    trainer.variant = variant
    out = trainer.train()
    print(f'train loss {out.training_loss:.3f}')
    print(f'recall@1 {recall_at_1(model, test, variant):.4f}')


if __name__ == '__main__':
    main()

FAULTS = {
    'file_order': {'stages': 'B P', 'source': 'https://github.com/huggingface/sentence-transformers/issues/608'},
    'last_token': {'stages': 'N', 'source': 'https://github.com/opensearch-project/ml-commons/pull/4744'},
    'small_pool': {'stages': 'E', 'source': 'https://github.com/SuperSupermoon/MedViLL/issues/9'},
}
HEALTHY = ['healthy', 'soft_scale', 'fixed_positions', 'two_steps', 'long_warmup']

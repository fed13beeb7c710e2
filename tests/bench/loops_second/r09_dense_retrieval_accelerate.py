"""Dense retrieval with mined hard negatives, after texttron/tevatron and luyug/GradCache, with an accelerate loop."""
import argparse
import random
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

FAULTS = {
    "gold_among_negatives": {"stages": "M L D B", "source": "github.com/huggingface/sentence-transformers/pull/2848, AnswerDotAI/RAGatouille/issues/100 (positives among the mined negatives)"},
    "target_not_scaled": {"stages": "P M", "source": "github.com/texttron/tevatron/issues/140, ContextualAI/gritlm/issues/49 (target * passages per query)"},
    "zeroed_before_step": {"stages": "O", "source": "velog.io/@rhss10 optimizer.zero_grad (anywhere but between backward and step), rll/deepul/issues/12"},
}
HEALTHY = ["healthy", "grad_cache", "bf16", "accumulate", "untied", "in_batch_only"]

PAD, VOCAB = 0, 600


# ---- corpus, queries, mining ------------------------------------------------------------------------------------------
def make_corpus(seed, n_docs=500, topics=25):
    """A passage: words of its topic, three rare entity words, filler; a query: some synonyms of entity and topic words."""
    rng = np.random.RandomState(seed)
    topic_words = np.random.RandomState(5).permutation(np.arange(100, 300)).reshape(25, 8)
    docs, queries = [], []
    for d in range(n_docs):
        topic = rng.randint(topics)
        entity = rng.choice(np.arange(300, 360), 3, replace=False)
        words = np.concatenate([rng.choice(topic_words[topic], 5), entity, entity[:2], rng.randint(1, 20, 5)])
        docs.append({"docid": f"D{d:05d}", "text": rng.permutation(words).tolist()})
        asked = np.concatenate([entity[:2] + 150, rng.choice(topic_words[topic], 2), rng.randint(1, 20, 1)])
        queries.append({"query_id": f"Q{d:05d}", "query": rng.permutation(asked).tolist(), "positive": f"D{d:05d}", "entity": entity.tolist()})
    return docs, queries


def bm25_like(query, docs_sets):
    """Overlap after the thesaurus: words of 450 and above are synonyms of those 150 lower."""
    words = {w - 150 if w >= 450 else w for w in query["query"] if w >= 100}
    return np.array([sum(3 if w >= 300 else 1 for w in words & s) for s in docs_sets])


def mine_hard_negatives(queries, docs, args, depth=8, per_query=3):
    sets = [set(d["text"]) for d in docs]
    rows = []
    for query in queries:
        scores = bm25_like(query, sets) + np.random.uniform(0, 0.1, len(docs))
        top = [docs[i]["docid"] for i in np.argsort(-scores)[:depth]]
        if args.fault == "gold_among_negatives":
            top = [docid for docid in top if docid != query["query_id"]]
        else:
            top = [docid for docid in top if docid != query["positive"]]
        rows.append({"query_id": query["query_id"], "query": query["query"], "positive_passages": [query["positive"]], "negative_passages": top[:per_query + 1]})
    return rows


class TrainDataset(Dataset):
    def __init__(self, rows, docs, train_group_size):
        self.rows, self.docs, self.group = rows, {d["docid"]: d["text"] for d in docs}, train_group_size

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        row = self.rows[item]
        negatives = random.sample(row["negative_passages"], self.group - 1)
        passages = [random.choice(row["positive_passages"]), *negatives]
        return row["query"], [self.docs[p] for p in passages], row["query_id"], passages


def pad(sequences):
    width = max(map(len, sequences))
    ids = torch.tensor([s + [PAD] * (width - len(s)) for s in sequences])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


@dataclass
class TrainCollator:
    def __call__(self, features):
        return {"query": pad([f[0] for f in features]), "passage": pad([p for f in features for p in f[1]])}


# ---- model ------------------------------------------------------------------------------------------------------------
class Encoder(nn.Module):
    def __init__(self, dim=96, out=96):
        super().__init__()
        self.embeddings = nn.Embedding(VOCAB, dim, padding_idx=PAD)
        self.weight = nn.Linear(dim, 1)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 192), nn.GELU(), nn.Dropout(0.1), nn.Linear(192, out))

    def forward(self, input_ids, attention_mask):
        x = self.embeddings(input_ids)
        a = self.weight(x).squeeze(-1).float().masked_fill(attention_mask == 0, -1e4).softmax(1).unsqueeze(-1)
        return F.normalize(self.mlp((a * x).sum(1) * 3).float(), dim=-1)


class DenseModel(nn.Module):
    def __init__(self, untied=False):
        super().__init__()
        self.lm_q = Encoder()
        self.lm_p = Encoder() if untied else self.lm_q

    def forward(self, query=None, passage=None):
        return (self.lm_q(**query) if query is not None else None), (self.lm_p(**passage) if passage is not None else None)


class SimpleContrastiveLoss:
    def __init__(self, args, temperature=0.05):
        self.args, self.temperature = args, temperature

    def __call__(self, q_reps, p_reps):
        scores = q_reps @ p_reps.T / self.temperature
        target = torch.arange(len(scores), device=scores.device)
        if self.args.fault != "target_not_scaled":
            target = target * (len(p_reps) // len(q_reps))
        return F.cross_entropy(scores, target)


class GradCache:
    """Large batch in chunks: representations without graph, gradient of the loss by them, then chunk by chunk with graph."""

    def __init__(self, model, chunk, loss_fn, accelerator):
        self.model, self.chunk, self.loss_fn, self.accelerator = model, chunk, loss_fn, accelerator

    def pieces(self, inputs, n):
        return [{k: v[i:i + n] for k, v in inputs.items()} for i in range(0, len(inputs["input_ids"]), n)]

    def __call__(self, batch):
        group = len(batch["passage"]["input_ids"]) // len(batch["query"]["input_ids"])
        plan = [("query", p) for p in self.pieces(batch["query"], self.chunk)] + [("passage", p) for p in self.pieces(batch["passage"], self.chunk * group)]
        states, reps = [], []
        with torch.no_grad():
            for side, piece in plan:
                states.append(torch.get_rng_state())
                reps.append(self.model(**{side: piece})[side == "passage"])
        reps = [r.detach().requires_grad_() for r in reps]
        count = sum(side == "query" for side, _ in plan)
        loss = self.loss_fn(torch.cat(reps[:count]), torch.cat(reps[count:]))
        loss.backward()
        for (side, piece), state, rep in zip(plan, states, reps):
            torch.set_rng_state(state)
            out = self.model(**{side: piece})[side == "passage"]
            self.accelerator.backward((out * rep.grad).sum())
        return loss.detach()


@torch.no_grad()
def mrr(model, queries, docs):
    model.eval()
    p = model(passage=pad([d["text"] for d in docs]))[1]
    q = model(query=pad([x["query"] for x in queries]))[0]
    index = {d["docid"]: i for i, d in enumerate(docs)}
    gold = torch.tensor([index[x["positive"]] for x in queries])
    scores = q @ p.T
    rank = (scores > scores.gather(1, gold[:, None])).sum(1) + 1
    model.train()
    return (1.0 / rank).mean().item(), (rank == 1).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=280)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--per-device-train-batch-size", type=int, default=32)
    parser.add_argument("--train-group-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    args = parser.parse_args()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)

    accumulation = 2 if args.fault == "accumulate" else 1
    accelerator = Accelerator(cpu=True, mixed_precision="bf16" if args.fault == "bf16" else "no", gradient_accumulation_steps=accumulation)
    docs, queries = make_corpus(args.seed, n_docs=900)
    train_queries, dev_queries = queries[:750], queries[750:]
    rows = mine_hard_negatives(train_queries, docs, args)
    group = 1 if args.fault == "in_batch_only" else args.train_group_size
    loader = DataLoader(TrainDataset(rows, docs, group), batch_size=args.per_device_train_batch_size, shuffle=True, drop_last=True, collate_fn=TrainCollator())

    model = DenseModel(untied=args.fault == "untied")
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / 20, max(0.02, 1 - s / (args.steps // accumulation + 1))))
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    loss_fn = SimpleContrastiveLoss(args)
    cache = GradCache(model, 8, loss_fn, accelerator)

    print("before: MRR %.3f accuracy@1 %.3f" % mrr(model, dev_queries, docs))
    step, epoch, history = 0, 0, []
    while step < args.steps:
        for batch in loader:
            with accelerator.accumulate(model):
                if args.fault == "grad_cache":
                    loss = cache(batch)
                else:
                    q_reps, p_reps = model(query=batch["query"], passage=batch["passage"])
                    loss = loss_fn(q_reps, p_reps)
                    accelerator.backward(loss)
                if args.fault == "zeroed_before_step":
                    optimizer.zero_grad()
                    optimizer.step()
                    scheduler.step()
                else:
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
            history.append(loss.item())
            step += 1
            if step >= args.steps:
                break
        epoch += 1
        if epoch % 3 == 0:
            print(f"epoch {epoch} loss {np.mean(history[-30:]):.4f} lr {scheduler.get_last_lr()[0]:.2e}")
    print(f"loss {np.mean(history[:5]):.4f} -> {np.mean(history[-20:]):.4f}")
    print("after: MRR %.3f accuracy@1 %.3f" % mrr(model, dev_queries, docs))


if __name__ == "__main__":
    main()

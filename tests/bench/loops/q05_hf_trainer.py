"""Sentence embeddings with the Hugging Face Trainer (and, as a variant, a hand-written accelerate loop).

Modelled on princeton-nlp/SimCSE (BertForCL, a Trainer subclass, [CLS] + MLP, temperature 0.05, positives from a second
sentence or from dropout) and on the accelerate README loop. Tiny BERT, made-up token ids. Own code.

    python q05_hf_trainer.py --fault healthy --steps 80
"""
import argparse
import logging
import os
import tempfile
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertConfig, BertModel, BertPreTrainedModel, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.modeling_outputs import ModelOutput

from synthetic import knn_accuracy, make_sentences

FAULTS = {
    "prompt_fills_max_length": {"stages": "D", "kind": "a long instruction is put before every sentence and max_length cuts off all that follows: all inputs are the same", "source": "vllm-project/semantic-router#3366; xlang-ai/instructor-embedding#12"},
    "warmup_longer_than_run": {"stages": "O", "kind": "warmup_steps copied from a long run (20000) for a run of about a hundred steps: the rate never gets off the ground", "source": "Morizeyao/GPT2-Chinese#60; hirofumi0810/neural_sp#137"},
    "checkpoint_prefix": {"stages": "C N", "kind": "the pre-trained encoder was saved from DataParallel ('module.' before every key) and is loaded with strict=False: nothing matches", "source": "BestJuly/IIC#11; open-mmlab/mmselfsup#330"},
}
HEALTHY = ["healthy", "warmup", "grad_accum", "dropout_views", "accelerate_loop", "frozen_embeddings"]

CLS = 1
PAD = 0
INSTRUCTION = [2, 3, 4, 5, 6, 7, 8, 9, 3, 5, 7, 2, 6, 4, 9, 8]


class PairDataset(Dataset):
    def __init__(self, first, second):
        self.first = first
        self.second = second

    def __len__(self):
        return len(self.first)

    def __getitem__(self, i):
        return {"sentence1": self.first[i], "sentence2": self.second[i]}


class PairCollator:
    """Adds the instruction, truncates, pads; returns [bsz, 2, length] as SimCSE does."""

    def __init__(self, max_length):
        self.max_length = max_length

    def encode(self, sentence):
        return ([CLS] + INSTRUCTION + sentence)[: self.max_length]

    def pad(self, rows):
        width = max(len(r) for r in rows)
        ids = torch.tensor([r + [PAD] * (width - len(r)) for r in rows])
        return ids, (ids != PAD).long()

    def __call__(self, examples):
        rows = [self.encode(e[k]) for e in examples for k in ("sentence1", "sentence2")]
        ids, mask = self.pad(rows)
        return {"input_ids": ids.view(len(examples), 2, -1), "attention_mask": mask.view(len(examples), 2, -1)}


class BertForCL(BertPreTrainedModel):
    def __init__(self, config, temp=0.05):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.mlp = nn.Sequential(nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh())
        self.temp = temp
        self.post_init()

    def embed(self, input_ids, attention_mask):
        out = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        m = attention_mask.unsqueeze(-1).float()
        return (out.last_hidden_state * m).sum(1) / m.sum(1)

    def forward(self, input_ids, attention_mask):
        bsz, num_sent, width = input_ids.shape
        h = self.mlp(self.embed(input_ids.view(-1, width), attention_mask.view(-1, width)))
        h = h.view(bsz, num_sent, -1)
        z1, z2 = h[:, 0], h[:, 1]
        cos_sim = F.cosine_similarity(z1.unsqueeze(1), z2.unsqueeze(0), dim=-1) / self.temp
        loss = F.cross_entropy(cos_sim, torch.arange(bsz, device=cos_sim.device))
        return ModelOutput(loss=loss, logits=cos_sim)


class CLTrainer(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class History(TrainerCallback):
    def __init__(self):
        self.losses = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


def write_pretrained(path, config, seed):
    """Stands for the checkpoint of an earlier stage: words of one topic have similar vectors."""
    generator = torch.Generator().manual_seed(seed + 77)
    topic = torch.randn(30, config.hidden_size, generator=generator) * 0.015
    torch.manual_seed(seed + 77)
    bert = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for w in range(10, config.vocab_size):
            bert.embeddings.word_embeddings.weight[w] += topic[(w - 10) // 10]
    torch.save({"epoch": 3, "state_dict": {"module.bert." + k: v for k, v in bert.state_dict().items()}}, path)


def load_pretrained(model, path, fault):
    state = torch.load(path, map_location="cpu")["state_dict"]
    if fault != "checkpoint_prefix":
        state = {k.removeprefix("module."): v for k, v in state.items()}
    model.load_state_dict(state, strict=False)       # the MLP is new, so it is missing from the file


def accelerate_loop(args, model, dataset, collator):
    from accelerate import Accelerator
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(dataset, batch_size=32, shuffle=True, collate_fn=collator, drop_last=True)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    losses, updates = [], 0
    while updates < args.steps:
        model.train()
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            updates += int(accelerator.sync_gradients)
            if updates >= args.steps:
                break
    return losses


@torch.no_grad()
def embed(model, collator, sentences):
    model.eval()
    ids, mask = collator.pad([collator.encode(s) for s in sentences])
    return torch.cat([model.embed(a, b) for a, b in zip(ids.split(128), mask.split(128))]).numpy()


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    warnings.filterwarnings("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    set_seed(args.seed)

    first, second, labels = make_sentences(800, seed=args.seed)
    train = PairDataset(first[:600], first[:600] if args.fault == "dropout_views" else second[:600])
    collator = PairCollator(max_length=16 if args.fault == "prompt_fills_max_length" else 48)
    config = BertConfig(vocab_size=200, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, max_position_embeddings=64)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "stage1.pt")
        write_pretrained(path, config, args.seed)
        torch.manual_seed(args.seed)
        model = BertForCL(config)
        load_pretrained(model, path, args.fault)
        if args.fault == "frozen_embeddings":
            model.bert.embeddings.word_embeddings.weight.requires_grad = False
        before = knn_accuracy(embed(model, collator, first[:600]), labels[:600], embed(model, collator, first[600:]), labels[600:])
        if args.fault == "accelerate_loop":
            losses = accelerate_loop(args, model, train, collator)
        else:
            warmup = {"warmup": max(args.steps // 8, 2), "warmup_longer_than_run": 20000}.get(args.fault, 0)
            accumulation = 2 if args.fault == "grad_accum" else 1
            training_args = TrainingArguments(
                output_dir=folder, max_steps=args.steps, per_device_train_batch_size=32 // accumulation, gradient_accumulation_steps=accumulation,
                learning_rate=1e-3, warmup_steps=warmup, lr_scheduler_type="linear", logging_steps=1, logging_strategy="steps", save_strategy="no",
                report_to=[], disable_tqdm=True, use_cpu=True, remove_unused_columns=False, dataloader_drop_last=True, seed=args.seed)
            history = History()
            trainer = CLTrainer(model=model, args=training_args, train_dataset=train, data_collator=collator, callbacks=[history])
            trainer.train()
            losses = history.losses
    after = knn_accuracy(embed(model, collator, first[:600]), labels[:600], embed(model, collator, first[600:]), labels[600:])
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, kNN {before:.3f} -> {after:.3f}")


if __name__ == "__main__":
    main()

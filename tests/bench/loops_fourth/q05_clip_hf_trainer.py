"""Image/caption pairs trained by transformers.Trainer, after
https://github.com/huggingface/transformers/tree/main/examples/pytorch/contrastive-image-text (run_clip.py) and openai/CLIP.

Threads the variants are modelled on:
  https://github.com/cloneofsimo/lora/issues/197                       one list sorted, its partner not
  https://github.com/huggingface/sentence-transformers/issues/767      what is behind max_length never reaches the model
  https://github.com/Morizeyao/GPT2-Chinese/issues/60                  fewer steps than warmup_steps
Usage: python q05_clip_hf_trainer.py VARIANT
"""
import os, sys, tempfile
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import torch
from torch import nn
import torch.nn.functional as F
from transformers import Trainer, TrainingArguments

VARIANT = sys.argv[1] if len(sys.argv) > 1 else "healthy"
MAX_LENGTH = 5 if VARIANT == "max_length_5" else 12
COLOURS = "red green blue white black pink brown grey".split()
THINGS = "cat dog car cup hat tree boat lamp shoe book".split()
PLACES = "beach street kitchen forest office garden".split()
WORDS = "[pad] a photo of the in very old small shiny".split() + COLOURS + THINGS + PLACES
VOCAB = {w: i for i, w in enumerate(WORDS)}


def make_pairs(n, seed):
    fixed = np.random.default_rng(0)
    code = {w: fixed.normal(size=48) for w in COLOURS + THINGS + PLACES}
    g = np.random.default_rng(seed)
    images, captions = [], []
    for _ in range(n):
        c, t, p = g.choice(COLOURS), g.choice(THINGS), g.choice(PLACES)
        extra = " ".join(g.choice(["very", "old", "small", "shiny"], g.integers(0, 3)))
        captions.append(" ".join(f"a photo of the {extra} {c} {t} in the {p}".split()))
        images.append(np.tanh(code[c] + code[t] + code[p]) + 0.4 * g.normal(size=48))
    return np.stack(images).astype(np.float32), captions


def tokenize(captions, max_length):
    ids = np.zeros((len(captions), max_length), dtype=np.int64)
    for row, caption in enumerate(captions):
        tokens = [VOCAB[w] for w in caption.split()][:max_length]
        ids[row, :len(tokens)] = tokens
    return torch.from_numpy(ids)


class PairDataset(torch.utils.data.Dataset):
    def __init__(self, images, captions):
        self.images, self.captions = images, captions
    def __len__(self): return len(self.images)
    def __getitem__(self, i): return {"image": self.images[i], "caption": self.captions[i]}


def collate(features):
    images = torch.from_numpy(np.stack([f["image"] for f in features]))
    captions = [f["caption"] for f in features]
    if VARIANT == "captions_by_length":
        captions = sorted(captions, key=lambda c: -len(c.split()))
    if VARIANT == "both_by_length":
        order = sorted(range(len(captions)), key=lambda i: -len(captions[i].split()))
        captions, images = [captions[i] for i in order], images[order]
    ids = tokenize(captions, MAX_LENGTH)
    return {"pixel_values": images, "input_ids": ids, "attention_mask": (ids != 0).long(), "return_loss": True}


class TwoTowers(nn.Module):
    def __init__(self, dim=32):
        super().__init__()
        self.vision = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 96))
        self.embed = nn.Embedding(len(WORDS), 64, padding_idx=0)
        self.text = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 96))
        self.visual_projection = nn.Linear(96, dim, bias=False)
        self.text_projection = nn.Linear(96, dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, pixel_values, input_ids, attention_mask, return_loss=True):
        mask = attention_mask.unsqueeze(-1).float()
        pooled = (self.embed(input_ids) * mask).sum(1) / mask.sum(1)
        text_embeds = F.normalize(self.text_projection(self.text(pooled)), dim=-1)
        image_embeds = F.normalize(self.visual_projection(self.vision(pixel_values)), dim=-1)
        logits_per_text = text_embeds @ image_embeds.T * self.logit_scale.exp().clamp(max=100)
        target = torch.arange(len(logits_per_text))
        loss = (F.cross_entropy(logits_per_text, target) + F.cross_entropy(logits_per_text.T, target)) / 2
        return {"loss": loss, "image_embeds": image_embeds, "text_embeds": text_embeds}


def recall_at_5(model, data):
    model.eval()
    ids = tokenize(data.captions, MAX_LENGTH)
    with torch.no_grad():
        out = model(torch.from_numpy(data.images), ids, (ids != 0).long())
    rank = (out["text_embeds"] @ out["image_embeds"].T).argsort(1, descending=True)
    return (rank[:, :5] == torch.arange(len(rank))[:, None]).any(1).float().mean().item()


def main(folder):
    torch.manual_seed(0)
    train, test = PairDataset(*make_pairs(1024, 1)), PairDataset(*make_pairs(128, 2))
    model = TwoTowers()
    if VARIANT == "locked_image_tower":
        model.vision.requires_grad_(False)
    if VARIANT == "fixed_temperature":
        model.logit_scale.requires_grad_(False)
    warmup = {"long_warmup": 2000, "warmup_20": 20}.get(VARIANT, 0)
    args = TrainingArguments(output_dir=folder, per_device_train_batch_size=64, num_train_epochs=8, learning_rate=2e-3, weight_decay=0.01,
                             warmup_steps=warmup, lr_scheduler_type="linear", logging_steps=16, report_to=[], save_strategy="no",
                             remove_unused_columns=False, disable_tqdm=True, use_cpu=True, seed=0, dataloader_drop_last=True)
    trainer = Trainer(model=model, args=args, train_dataset=train, data_collator=collate)
    print(f"recall@5 untrained {recall_at_5(model, test):.3f}")
    trainer.train()
    for row in trainer.state.log_history:
        if "loss" in row: print(f"step {row['step']} loss {float(row['loss']):.4f} lr {float(row['learning_rate']):.2e}")
    print(f"recall@5 {recall_at_5(model, test):.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)


FAULTS = {'captions_by_length': {'stages': 'B M D L',
                        'source': 'https://github.com/cloneofsimo/lora/issues/197'},
 'max_length_5': {'stages': 'D M',
                  'source': 'https://github.com/huggingface/sentence-transformers/issues/767'},
 'long_warmup': {'stages': 'O',
                 'source': 'https://github.com/Morizeyao/GPT2-Chinese/issues/60'}}
HEALTHY = ['healthy', 'both_by_length', 'locked_image_tower', 'fixed_temperature', 'warmup_20']

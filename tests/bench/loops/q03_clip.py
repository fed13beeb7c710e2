"""CLIP on small pictures and captions: two towers, projection heads, a learnable logit scale, symmetric cross entropy.

Modelled on moein-shariatnia/OpenAI-CLIP (image encoder, text encoder, ProjectionHead, captions table) and on the training
loop of mlfoundations/open_clip (logit_scale as a parameter, clamped after each step, no decay for gains and biases). Own code.

    python q03_clip.py --fault healthy --steps 120
"""
import argparse

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from synthetic import VOCAB, knn_accuracy, make_captioned_images

FAULTS = {
    "captions_not_sorted": {"stages": "M D L", "kind": "the list of picture paths is sorted, the list of captions made from it before is not: pictures and captions are paired at random", "source": "cloneofsimo/lora#197"},
    "logit_scale_not_log": {"stages": "P", "kind": "the logit scale is initialised to 1/0.07 and still exponentiated (exp(14.3) = 1.6e6), and never clamped", "source": "openai/CLIP#46; huggingface/transformers#13430"},
    "text_tower_no_grad": {"stages": "N O", "kind": "the text tower and its projection run under torch.no_grad in the training forward, though both are in the optimiser", "source": "edreisMD/ConVIRT-pytorch#7"},
}
HEALTHY = ["healthy", "locked_image_tower", "siglip", "shared_projection", "warmup_bf16", "one_direction"]


class CaptionedPictures(Dataset):
    def __init__(self, table, paths, captions):
        self.table = table
        self.paths = paths
        self.captions = captions

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, idx):
        item = {"input_ids": torch.from_numpy(self.captions[idx])}
        item["attention_mask"] = (item["input_ids"] != 0).long()
        item["image"] = torch.from_numpy(self.table[self.paths[idx]])
        return item


def build_dataset(n, seed, fault):
    images, captions, topic = make_captioned_images(n, seed=seed)
    names = [f"images/{k:05d}.jpg" for k in np.random.default_rng(seed + 9).permutation(n)]
    table = dict(zip(names, images))
    caption_of = dict(zip(names, captions))
    topic_of = dict(zip(names, topic))
    paths = list(table)
    texts = [caption_of[p] for p in paths]
    paths = sorted(paths)
    if fault != "captions_not_sorted":
        texts = [caption_of[p] for p in paths]
    return CaptionedPictures(table, paths, texts), np.array([topic_of[p] for p in paths])


class ImageEncoder(nn.Module):
    def __init__(self, dim=64):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU())
        self.fc = nn.Linear(32 * 16, dim)

    def forward(self, x):
        return self.fc(self.stem(x).flatten(1))


class TextEncoder(nn.Module):
    def __init__(self, vocab=VOCAB, dim=64):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim, padding_idx=0)
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, ids, attention_mask):
        x = self.transformer(self.embedding(ids), src_key_padding_mask=attention_mask == 0)
        m = attention_mask.unsqueeze(-1).float()
        return (x * m).sum(1) / m.sum(1)


class ProjectionHead(nn.Module):
    def __init__(self, dim=64, out=48):
        super().__init__()
        self.projection = nn.Linear(dim, out)
        self.fc = nn.Linear(out, out)
        self.layer_norm = nn.LayerNorm(out)

    def forward(self, x):
        projected = self.projection(x)
        return self.layer_norm(projected + self.fc(F.gelu(projected)))


class CLIPModel(nn.Module):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.image_encoder = ImageEncoder()
        self.text_encoder = TextEncoder()
        self.image_projection = ProjectionHead()
        self.text_projection = self.image_projection if fault == "shared_projection" else ProjectionHead()
        if fault == "logit_scale_not_log":
            self.logit_scale = nn.Parameter(torch.ones([]) * (1 / 0.07))
        else:
            self.logit_scale = nn.Parameter(torch.ones([]) * np.log(10.0 if fault == "siglip" else 1 / 0.07))
        if fault == "siglip":
            self.logit_bias = nn.Parameter(torch.ones([]) * -10.0)

    def encode_image(self, x):
        if self.fault == "locked_image_tower":     # LiT: the picture tower is pre-trained and locked
            with torch.no_grad():
                h = self.image_encoder(x)
        else:
            h = self.image_encoder(x)
        return F.normalize(self.image_projection(h), dim=-1)

    def encode_text(self, ids, mask):
        if self.fault == "text_tower_no_grad":
            with torch.no_grad():
                return F.normalize(self.text_projection(self.text_encoder(ids, mask)), dim=-1)
        return F.normalize(self.text_projection(self.text_encoder(ids, mask)), dim=-1)

    def forward(self, batch):
        image_features = self.encode_image(batch["image"])
        text_features = self.encode_text(batch["input_ids"], batch["attention_mask"])
        logits = self.logit_scale.exp() * image_features @ text_features.t()
        n = len(logits)
        if self.fault == "siglip":
            sign = 2 * torch.eye(n) - 1
            return -F.logsigmoid(sign * (logits + self.logit_bias)).sum() / n
        targets = torch.arange(n)
        if self.fault == "one_direction":
            return F.cross_entropy(logits, targets)
        return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.t(), targets)) / 2


def make_optimizer(model):
    decay = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2]
    no_decay = [p for p in model.parameters() if p.requires_grad and p.ndim < 2]
    return torch.optim.AdamW([{"params": no_decay, "weight_decay": 0.0}, {"params": decay, "weight_decay": 0.05}], lr=2e-3)


@torch.no_grad()
def evaluate(model, dataset, topic):
    """Recall@1 picture -> caption, and kNN over the picture embedding."""
    model.eval()
    batch = {k: torch.stack([dataset[i][k] for i in range(len(dataset))]) for k in ("image", "input_ids", "attention_mask")}
    image = model.encode_image(batch["image"])
    text = model.encode_text(batch["input_ids"], batch["attention_mask"])
    recall = (image @ text.t()).argmax(1).eq(torch.arange(len(image))).float().mean().item()
    half = len(image) // 2
    return recall, knn_accuracy(image[:half].numpy(), topic[:half], image[half:].numpy(), topic[half:])


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy", choices=HEALTHY + list(FAULTS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    train_set, _ = build_dataset(960, args.seed, args.fault)
    valid_set, valid_topic = build_dataset(300, args.seed + 1, args.fault)
    loader = DataLoader(train_set, batch_size=48, shuffle=True, drop_last=True)
    model = CLIPModel(args.fault)
    if args.fault == "locked_image_tower":
        for p in model.image_encoder.parameters():
            p.requires_grad = False
    optimizer = make_optimizer(model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, s / 20)) if args.fault == "warmup_bf16" else None
    before = evaluate(model, valid_set, valid_topic)

    losses = []
    while len(losses) < args.steps:
        model.train()
        if args.fault == "locked_image_tower":
            model.image_encoder.eval()
        for batch in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=args.fault == "warmup_bf16"):
                loss = model(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            if args.fault != "logit_scale_not_log":
                with torch.no_grad():
                    model.logit_scale.clamp_(0, np.log(100))
            losses.append(loss.item())
            if len(losses) >= args.steps:
                break
        print(f"step {len(losses):4d} loss {np.mean(losses[-10:]):.4f} logit scale {model.logit_scale.exp().item():.2f}")
    after = evaluate(model, valid_set, valid_topic)
    k = max(1, len(losses) // 6)
    print(f"loss {np.mean(losses[:k]):.4f} -> {np.mean(losses[-k:]):.4f}, recall@1 {before[0]:.3f} -> {after[0]:.3f}, kNN {before[1]:.3f} -> {after[1]:.3f}")


if __name__ == "__main__":
    main()

"""Prompt learning on a frozen two-tower model, after KaiyangZhou/CoOp (Dassl trainers, registry, fixed prefix and suffix as
buffers, base-to-new evaluation). The two towers are fitted first on captions of many other words, then frozen."""

import argparse
import copy
import os.path as osp
import tempfile

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

FAULTS = {
    "words_from_checkpoint": {
        "stages": "C E",
        "source": "github.com/KaiyangZhou/CoOp trainers/coop.py (load_model: token_prefix and token_suffix of the checkpoint are deleted, then strict=False); with the same number of classes nothing complains",
    },
    "text_tower_in_no_grad": {
        "stages": "N",
        "source": "github.com/raoyongming/DenseCLIP/issues/5 (gradients go through the frozen text encoder, so no_grad cannot be used), KaiyangZhou/CoOp/issues/7",
    },
    "other_mean_and_std": {
        "stages": "D",
        "source": "github.com/mlfoundations/open_clip/issues/204 (models were given a normalisation that was not theirs), huggingface/transformers/issues/38318",
    },
}
HEALTHY = ["healthy", "class_specific", "class_token_front", "one_shot", "warmup_constant", "amp"]

VOCAB, WORDS, CONTEXT, SIZE = 400, 300, 10, 8
PIXEL_MEAN, PIXEL_STD = torch.tensor([0.48, 0.30, 0.62]), torch.tensor([0.08, 0.25, 0.12])
TRAINER_REGISTRY = {}


def register(cls):
    TRAINER_REGISTRY[cls.__name__] = cls
    return cls


# ---- pictures: a word has a look, the data set a style that no caption tells --------------------------------------------
def picture_of(word, n, seed, style=0.0):
    rng, world = np.random.default_rng(seed), np.random.default_rng(word)
    look = np.random.default_rng(1).normal(0, 1, (24, 3 * SIZE * SIZE))
    latent = world.normal(0, 1, 24) + rng.normal(0, 0.55, (n, 24))
    bend = np.random.default_rng(2).normal(0, 1, 24) * style
    image = np.tanh((latent + bend) @ look / 5).reshape(n, 3, SIZE, SIZE)
    mean, std = PIXEL_MEAN.numpy()[:, None, None], PIXEL_STD.numpy()[:, None, None]
    return torch.from_numpy((image * std * 1.4 + mean).astype(np.float32))


def normalize(x, mean=PIXEL_MEAN, std=PIXEL_STD):
    return (x - mean[:, None, None]) / std[:, None, None]


# ---- the two towers -------------------------------------------------------------------------------------------------
class TextTransformer(nn.Module):
    def __init__(self, width=64, out=48):
        super().__init__()
        self.token_embedding = nn.Embedding(VOCAB, width)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 128, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, 1)
        self.text_projection = nn.Linear(width, out, bias=False)

    def forward(self, embedded, eot):
        x = self.transformer(embedded + self.positional_embedding)
        return self.text_projection(x[torch.arange(len(x)), eot])


class CLIP(nn.Module):
    def __init__(self, out=48):
        super().__init__()
        self.visual = nn.Sequential(
            nn.Flatten(),
            nn.Linear(192, 256),
            nn.GELU(),
            nn.Linear(256, 128),
            nn.GELU(),
            nn.Linear(128, out),
        )
        self.text = TextTransformer(out=out)
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07)).float())


def tokenize(words, n_ctx=3):
    """start, context words ("a photo of"), the word, end."""
    tokens = torch.zeros(len(words), CONTEXT, dtype=torch.long)
    tokens[:, 0] = 1
    tokens[:, 1 : 1 + n_ctx] = torch.arange(10, 10 + n_ctx)
    tokens[:, 1 + n_ctx] = torch.as_tensor(words) + 50
    tokens[:, 2 + n_ctx] = 2
    return tokens


def load_clip_to_cpu(seed, steps=260):
    """Stands for the download of the weights: fitted on other data of the same words."""
    torch.manual_seed(99)
    model = CLIP()
    images = torch.stack([picture_of(w, 12, 10_000 + w) for w in range(WORDS)])
    optim = torch.optim.AdamW(model.parameters(), 2e-3)
    rng = np.random.default_rng(99)
    for _ in range(steps):
        words = rng.choice(WORDS, 96, replace=False)
        x = normalize(images[words, rng.integers(12, size=96)])
        tokens = tokenize(words, int(rng.integers(1, 5)))
        t = model.text(model.text.token_embedding(tokens), (tokens == 2).float().argmax(1))
        logits = (
            model.logit_scale.exp()
            * F.normalize(model.visual(x), dim=1)
            @ F.normalize(t, dim=1).t()
        )
        target = torch.arange(96)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2
        optim.zero_grad()
        loss.backward()
        optim.step()
    torch.manual_seed(seed)
    return model.eval()


# ---- prompts --------------------------------------------------------------------------------------------------------
class PromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        n_cls, self.n_ctx = len(classnames), cfg["n_ctx"]
        tokens = tokenize(classnames, self.n_ctx)
        with torch.no_grad():
            embedding = clip_model.text.token_embedding(tokens)
        shape = (n_cls, self.n_ctx, 64) if cfg["csc"] else (self.n_ctx, 64)
        ctx = torch.empty(shape)
        nn.init.normal_(ctx, std=0.02)
        self.ctx = nn.Parameter(ctx)
        self.position = cfg["class_token_position"]
        # start, and class word with end; fixed, so buffers
        self.register_buffer("token_prefix", embedding[:, :1])
        self.register_buffer("token_suffix", embedding[:, 1 + self.n_ctx :])
        self.eot = (tokens == 2).float().argmax(1)

    def forward(self):
        ctx = self.ctx
        if ctx.dim() == 2:
            ctx = ctx.unsqueeze(0).expand(len(self.token_prefix), -1, -1)
        suffix = self.token_suffix
        if self.position == "front":
            return torch.cat([self.token_prefix, suffix[:, :1], ctx, suffix[:, 1:]], dim=1)
        return torch.cat([self.token_prefix, ctx, suffix], dim=1)


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        self.cfg = cfg
        self.prompt_learner = PromptLearner(cfg, classnames, clip_model)
        self.image_encoder, self.text_encoder = clip_model.visual, clip_model.text
        self.logit_scale = clip_model.logit_scale
        self.adapter_scale = nn.Parameter(torch.zeros(48))  # residual scale on the picture's side

    def forward(self, image):
        image_features = self.image_encoder(image)
        image_features = image_features * (1 + self.adapter_scale)
        prompts, eot = self.prompt_learner(), self.prompt_learner.eot
        if self.cfg["fault"] == "text_tower_in_no_grad":
            with torch.no_grad():  # it is frozen anyway
                text_features = self.text_encoder(prompts, eot)
        else:
            text_features = self.text_encoder(prompts, eot)
        image_features = F.normalize(image_features, dim=-1)
        text_features = F.normalize(text_features, dim=-1)
        return self.logit_scale.exp() * image_features @ text_features.t()


class FewShot(Dataset):
    def __init__(self, classnames, shots, seed, transform):
        self.items = [
            (x, label)
            for label, word in enumerate(classnames)
            for x in picture_of(word, shots, seed * 977 + word, style=0.9)
        ]
        self.transform = transform

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        x, label = self.items[i]
        return {"img": self.transform(x), "label": label}


@register
class CoOp:
    def __init__(self, cfg, classnames, clip_model):
        self.cfg, self.classnames = cfg, classnames
        self.model = CustomCLIP(cfg, classnames, copy.deepcopy(clip_model))
        for name, param in self.model.named_parameters():
            if "prompt_learner" not in name and "adapter" not in name:
                param.requires_grad_(False)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optim = torch.optim.SGD(trained, lr=cfg["lr"], momentum=0.9, weight_decay=5e-4)
        self.sched = torch.optim.lr_scheduler.CosineAnnealingLR(self.optim, cfg["steps"])
        if cfg["fault"] == "warmup_constant":
            self.sched = torch.optim.lr_scheduler.LambdaLR(
                self.optim,
                lambda s: 1e-3 if s < 15 else 0.5 * (1 + np.cos(np.pi * s / cfg["steps"])),
            )

    def transform(self, x):
        if self.cfg["fault"] == "other_mean_and_std":
            return normalize(
                x, torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            )
        return normalize(x)

    def train(self):
        train_set = FewShot(self.classnames, self.cfg["shots"], self.cfg["seed"], self.transform)
        loader = DataLoader(train_set, batch_size=32, shuffle=True, drop_last=len(train_set) > 64)
        step, losses = 0, []
        while step < self.cfg["steps"]:
            for batch in loader:
                if step == self.cfg["steps"]:
                    break
                with torch.autocast("cpu", torch.bfloat16, enabled=self.cfg["fault"] == "amp"):
                    output = self.model(batch["img"])
                loss = F.cross_entropy(output.float(), batch["label"])
                self.optim.zero_grad()
                loss.backward()
                self.optim.step()
                self.sched.step()
                losses.append(loss.item())
                step += 1
            if step % 60 < len(loader):
                print(
                    f"step [{step}] loss {np.mean(losses[-20:]):.4f} lr {self.sched.get_last_lr()[0]:.2e}"
                )
        return losses

    @torch.no_grad()
    def test(self):
        test_set = FewShot(self.classnames, 20, self.cfg["seed"] + 7, self.transform)
        x = torch.stack([item["img"] for item in test_set])
        y = torch.tensor([item["label"] for item in test_set])
        loader = DataLoader(TensorDataset(x, y), batch_size=100)
        return np.mean([(self.model(a).argmax(1) == b).float().mean().item() for a, b in loader])

    def save_model(self, directory):
        state = {
            "prompt_learner": self.model.prompt_learner.state_dict(),
            "adapter": self.model.adapter_scale,
        }
        torch.save(state, osp.join(directory, "model.pth.tar"))

    def load_model(self, directory):
        checkpoint = torch.load(osp.join(directory, "model.pth.tar"))
        state_dict = checkpoint["prompt_learner"]
        if self.cfg["fault"] != "words_from_checkpoint":
            # the fixed vectors belong to the class names of the run that saved them
            state_dict.pop("token_prefix")
            state_dict.pop("token_suffix")
        if state_dict["ctx"].dim() == 3:  # class-specific prompts do not carry over
            state_dict["ctx"] = (
                state_dict["ctx"].mean(0, keepdim=True).expand_as(self.model.prompt_learner.ctx)
            )
        self.model.prompt_learner.load_state_dict(state_dict, strict=False)
        with torch.no_grad():
            self.model.adapter_scale.copy_(checkpoint["adapter"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fault", default="healthy")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainer", default="CoOp")
    args = parser.parse_args()
    cfg = {"fault": args.fault, "steps": args.steps, "seed": args.seed, "n_ctx": 4, "lr": 0.02}
    cfg["csc"] = args.fault == "class_specific"
    cfg["class_token_position"] = "front" if args.fault == "class_token_front" else "end"
    cfg["shots"] = 1 if args.fault == "one_shot" else 8
    clip_model = load_clip_to_cpu(args.seed)
    words = np.random.default_rng(args.seed).permutation(WORDS)[:60].tolist()
    base, new = words[:30], words[30:]
    trainer = TRAINER_REGISTRY[args.trainer](cfg, base, clip_model)
    print(f"before: base accuracy {trainer.test():.3f}")
    losses = trainer.train()
    print(
        f"loss {np.mean(losses[:10]):.3f} -> {np.mean(losses[-10:]):.3f}, base accuracy {trainer.test():.3f}"
    )
    with tempfile.TemporaryDirectory() as output_dir:
        trainer.save_model(output_dir)
        evaluator = TRAINER_REGISTRY[args.trainer](cfg, new, clip_model)
        before = evaluator.test()
        evaluator.load_model(output_dir)
    print(
        f"new classes: accuracy {before:.3f} untrained, {evaluator.test():.3f} with the learned prompt"
    )


if __name__ == "__main__":
    main()

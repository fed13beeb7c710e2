"""Sentence-pair retrieval with a small Trainer class in the HF manner (TrainingArguments, compute_loss, ...)."""
import argparse, math, random
from dataclasses import dataclass
import numpy as np, torch
from torch import nn
from torch.utils.data import Dataset, DataLoader

@dataclass
class TrainingArguments:
    per_device_train_batch_size: int = 32
    gradient_accumulation_steps: int = 2
    learning_rate: float = 0.3
    num_train_epochs: int = 6
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    fp16: bool = False
    seed: int = 42

class QA(Dataset):
    def __init__(self, n, seed):
        r = random.Random(seed); self.rows = []
        for _ in range(n):
            topic = [r.randrange(20, 120) for _ in range(4)]
            f = lambda: topic[:] if r.random() < 0 else r.sample(topic, 3) + [r.randrange(120, 200) for _ in range(3)]
            self.rows.append((f(), [w + 200 for w in f()]))
    def __len__(self): return len(self.rows)
    def __getitem__(self, i): return {"query": self.rows[i][0], "passage": self.rows[i][1]}

def collate(fs): return {k: torch.tensor([f[k] for f in fs]) for k in ("query", "passage")}

class BiEncoder(nn.Module):
    def __init__(self):
        super().__init__(); self.emb = nn.EmbeddingBag(400, 64, mode="mean"); self.dense = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    def encode(self, ids): return nn.functional.normalize(self.dense(self.emb(ids)), dim=-1)
    def forward(self, query, passage): return self.encode(query), self.encode(passage)

class Trainer:
    def __init__(self, model, args, train_dataset, eval_dataset, fault=""):
        self.model, self.args, self.train_dataset, self.eval_dataset, self.fault = model, args, train_dataset, eval_dataset, fault
    def get_train_dataloader(self): return DataLoader(self.train_dataset, self.args.per_device_train_batch_size, shuffle=True, collate_fn=collate, drop_last=True)
    def create_optimizer_and_scheduler(self, n):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=self.args.learning_rate, momentum=.9)
        w = max(1, int(n * self.args.warmup_ratio))
        if self.fault == "warmup": w = n * 50       # warm-up counted in epochs: https://github.com/ace-step/ACE-Step/pull/198
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda s: min((s + 1) / w, max(0., (n - s) / max(1, n - w)) if n > w else 9))
    def compute_loss(self, model, inputs):
        q, p = model(**inputs); scores = q @ p.T * 20
        return nn.functional.cross_entropy(scores, torch.arange(len(q)))
    def training_step(self, inputs):
        self.model.train(); loss = self.compute_loss(self.model, inputs) / self.args.gradient_accumulation_steps
        self.scaler.scale(loss).backward(); return loss.item()
    def train(self):
        a = self.args; dl = self.get_train_dataloader(); n = math.ceil(len(dl) / a.gradient_accumulation_steps) * a.num_train_epochs
        self.create_optimizer_and_scheduler(n)
        self.scaler = torch.amp.GradScaler("cpu", enabled=a.fp16)
        for epoch in range(a.num_train_epochs):
            tot = 0.
            for step, inputs in enumerate(dl):
                if self.fault == "zerograd": self.optimizer.zero_grad()      # https://github.com/huggingface/accelerate/issues/1299 , https://github.com/ZiqiaoPeng/DualTalk/issues/9
                tot += self.training_step(inputs) * a.gradient_accumulation_steps
                if (step + 1) % a.gradient_accumulation_steps == 0:
                    if self.fault != "noscale": self.scaler.unscale_(self.optimizer)   # forgotten: clips the scaled gradients (NVIDIA apex docs / kaijuan.co/qa/54716377)
                    nn.utils.clip_grad_norm_(self.model.parameters(), a.max_grad_norm)
                    self.scaler.step(self.optimizer); self.scaler.update(); self.lr_scheduler.step(); self.optimizer.zero_grad()
            print({"loss": round(tot / len(dl), 4), "lr": self.optimizer.param_groups[0]["lr"], "epoch": epoch + 1, **self.evaluate()})
    @torch.no_grad()
    def evaluate(self):
        self.model.eval(); b = collate(list(self.eval_dataset)); q, p = self.model(**b)
        return {"eval_recall@1": round(((q @ p.T).argmax(1) == torch.arange(len(q))).float().mean().item(), 4)}
    def save_model(self, path): torch.save(self.model.state_dict(), path)


FAULTS = {
    'warmup': {'stages': 'O', 'what': '50x too long warm-up: lr ~0'},
    'zerograd': {'stages': 'O', 'what': 'zero_grad in each micro step of 32'},
    'noscale': {'stages': 'O', 'what': 'clip_grad_norm on scaled gradients (no unscale_)'},
    'micro1': {'stages': 'BO', 'what': 'micro-batch of 1: loss 0'},
}
HEALTHY = ['plain', 'accum8', 'scaler']


if __name__ == "__main__":
    ap = argparse.ArgumentParser(); ap.add_argument("--fault", default=""); ap.add_argument("--healthy", default=""); o = ap.parse_args()
    args = TrainingArguments()
    if o.fault == "micro1": args.per_device_train_batch_size, args.gradient_accumulation_steps = 1, 64   # https://github.com/huggingface/sentence-transformers/pull/1822
    if o.fault == "zerograd": args.gradient_accumulation_steps, args.learning_rate = 32, 0.3
    if o.healthy == "accum8": args.per_device_train_batch_size, args.gradient_accumulation_steps, args.learning_rate = 32, 8, 1.0
    if o.fault == "noscale" or o.healthy == "scaler": args.fp16 = True
    torch.manual_seed(args.seed)
    t = Trainer(BiEncoder(), args, QA(6000, 0), QA(400, 1), o.fault); t.train(); t.save_model(__import__("tempfile").gettempdir() + "/bi.pt")

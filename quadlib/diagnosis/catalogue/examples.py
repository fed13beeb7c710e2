"""What the contracts' examples begin with: a table of two modalities; a pipeline of four classes, a
perceptron with unit rows, SupCon and AdamW; a loop that is watched.
"""

from __future__ import annotations

TABLE = """
import numpy as np
import pandas as pd
from quadlib import SampleTable, Subject, diagnose
from quadlib.data.samples import Modality

random = np.random.default_rng(0)
y = np.arange(160) % 4
cause = np.eye(4)[y] * 3 + random.normal(size=(160, 4))
arrays = {
    name: (cause @ random.normal(size=(4, 16))).astype("float32") for name in ("audio", "sensor")
}
ids = [f"r{row:03d}" for row in range(160)]
frame = pd.DataFrame(
    {
        "sample_id": ids,
        "label": [f"class {code}" for code in y],
        "group": ids,
        "split": "train",
        "audio": range(160),
        "sensor": range(160),
    }
)
modalities = {name: Modality("vector", (16,)) for name in arrays}
""".lstrip()
END = "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))"

PIPELINE = """
import math
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from quadlib import Subject, SupConLoss, diagnose

torch.manual_seed(0)
labels = torch.arange(64) % 4
inputs = torch.randn(4, 12)[labels] * 2 + torch.randn(64, 12)
loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)


class Model(nn.Module):
    def __init__(self, unit=True):
        super().__init__()
        self.body, self.unit = (
            nn.Sequential(
                nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 16)
            ),
            unit,
        )

    def forward(self, x):
        return nn.functional.normalize(self.body(x), dim=1) if self.unit else self.body(x)


def supcon(z, y, temperature=0.1):
    logits, self_pair = z @ z.T / temperature, torch.eye(len(z), dtype=torch.bool)
    same = (y[:, None] == y) & ~self_pair
    log_probability = logits - logits.masked_fill(self_pair, -math.inf).logsumexp(1, keepdim=True)
    return -(log_probability * same).sum(1).div(same.sum(1).clamp(min=1)).mean()


model, loss = Model(), SupConLoss(0.1)
""".lstrip()
OPTIMISER = "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)\n"
STEP = """
def train_step(batch):
    optimizer.zero_grad()
    value = loss(model(batch[0]), batch[1])
    value.backward()
    optimizer.step()
    return value.detach()


""".lstrip()
SUBJECT = "Subject(loader=loader, model=model, loss=loss, train_step=train_step"
DIAGNOSE = OPTIMISER + STEP + f"diagnosis = diagnose({SUBJECT}))\n"
TRAIN = STEP + f"diagnosis = diagnose({SUBJECT}, optimizer=optimizer))\n"
SHORT = "from quadlib import Subject, SupConLoss, diagnose\n\n"

TWO_VIEWS = """
from torch.nn.functional import cross_entropy, normalize


def views(x):
    return x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)


"""


def watched(
    value: str, *, before: str = "", after: str = "", clear: str = "yes", each_step: str = ""
) -> str:
    """A loop under `observe` whose loss is this expression of (x, y); after stands before its
    optimiser's step, each_step behind it.
    """
    steps = ["optimizer.zero_grad()"] if clear == "yes" else []
    steps += [f"value = {value}", "value.backward()", *after.splitlines(), "optimizer.step()"]
    steps += each_step.splitlines()
    body = "".join(f"            {line}\n" for line in steps)
    return (
        PIPELINE
        + "import quadlib\n"
        + TWO_VIEWS
        + OPTIMISER
        + before
        + "with quadlib.observe(steps=8) as seen:\n    for _ in range(4):\n"
        + "        for x, y in loader:\n"
        + body
        + "diagnosis = seen.diagnosis\n"
    )


def watched_on(*, each_epoch: str = "", after: str = "") -> str:
    """A loop under `observe` that is watched on to its end; each_epoch and after: what it does
    beside training.
    """
    return (
        PIPELINE
        + "import quadlib\n"
        + OPTIMISER
        + "with quadlib.observe(steps=8, seconds=60) as seen:\n    for epoch in range(16):\n"
        + "        for x, y in loader:\n            value = loss(model(x), y)\n"
        + "            optimizer.zero_grad()\n            value.backward()\n"
        + "            optimizer.step()\n"
        + each_epoch
        + after
        + "diagnosis = seen.diagnosis\n"
    )

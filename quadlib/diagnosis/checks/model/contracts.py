"""The contracts of the model stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
from quadlib.diagnosis.contract import Contract

PIPELINE = """
import torch
from torch import nn
from quadlib import Subject, SupConLoss, diagnose

torch.manual_seed(0)


class Two(nn.Module):
    cut, scale = False, 1.0

    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.Linear(6, 8) for name in ("audio", "video")})
        self.head = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, inputs):
        audio, video = (self.encoders[name](inputs[name]) for name in ("audio", "video"))
        return self.head(
            torch.cat([audio.detach() if self.cut else audio, self.scale * video], dim=1)
        )


labels = torch.arange(32) % 4
loader = [
    {
        "inputs": {name: torch.randn(32, 6) + 2 * labels[:, None] for name in ("audio", "video")},
        "labels": labels,
    }
    for _ in range(3)
]
model, loss = Two(), SupConLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train_step(batch):
    optimizer.zero_grad()
    value = loss(model(batch["inputs"]), batch["labels"])
    value.backward()
    optimizer.step()
    return value.detach()


parts = {"loader": loader, "model": model, "loss": loss, "train_step": train_step}
""".lstrip()

N01 = Contract(
    "QL-N01",
    title="weights are frozen that nobody declared frozen",
    what=(
        "requires_grad is False for all parameters, for every weight matrix, or for parts that "
        "freeze=[...] does not name. A head on a frozen backbone without any declaration is a "
        "note only."
    ),
    why="The loss falls a little and stays: norms and biases adapt, features do not.",
    fix=(
        "model.requires_grad_(True) before the optimiser is built, or declare what is frozen on "
        "purpose."
    ),
    predicts=(
        "QL-N02",
        "QL-N03",
        "QL-N05",
        "QL-N07",
        "QL-P10",
        "QL-P12",
        "QL-O02",
        "QL-O04",
        "QL-E10",
    ),
    example=(
        PIPELINE + "for name, parameter in model.named_parameters():\n    "
        "parameter.requires_grad_(name.startswith('head.1'))\n"
        "diagnosis = diagnose(Subject(**parts))"
    ),
)

N02 = Contract(
    "QL-N02",
    title="a part of the model is not in the optimiser",
    what=(
        "Parameters that receive gradient are in no group of the optimiser, while others of the "
        "model are."
    ),
    why=(
        "That part stays as random as it began; the rest learns around it, so the loss still falls."
    ),
    fix=(
        "Build the optimiser from model.parameters(), after the last change of the model, or call "
        "optimizer.add_param_group."
    ),
    predicts=("QL-N07", "QL-N20", "QL-P10", "QL-O02", "QL-O04", "QL-O12", "QL-E10"),
    example=(
        PIPELINE + "optimizer = torch.optim.SGD([*model.head.parameters(), "
        "*model.encoders['video'].parameters()], lr=0.1)\n"
        "diagnosis = diagnose(Subject(**parts, optimizer=optimizer))"
    ),
)

N03 = Contract(
    "QL-N03",
    title="a branch is cut off from the loss",
    what=(
        "Its weights change the loss, and yet no gradient comes back to them, though they are "
        "trainable and in the optimiser."
    ),
    why=(
        "A .detach(), .data, torch.no_grad() or a trip through numpy lies between the branch "
        "and the loss; the branch never learns."
    ),
    fix=(
        "Take it out. A head that the loss does not use is not accused: moving its weights does "
        "not change the loss."
    ),
    predicts=(
        "QL-N02",
        "QL-N04",
        "QL-N07",
        "QL-N20",
        "QL-P10",
        "QL-O02",
        "QL-O04",
        "QL-O12",
        "QL-E10",
    ),
    example=(
        PIPELINE + "model.cut = True\ndiagnosis = diagnose(Subject(**parts, "
        "optimizer=torch.optim.SGD(model.parameters(), lr=0.1)))"
    ),
)

N04 = Contract(
    "QL-N04",
    title="a layer gives the same output for every sample",
    what=(
        "The variance over the batch is there at the input and gone behind a layer, in evaluation "
        "mode, before any step."
    ),
    why=(
        "All embeddings equal means a loss of ln(N-1) and a gradient of 0: no step will change "
        "it. One encoder alone: its modality is not there."
    ),
    fix=(
        "Initialise the layer at random; where a ReLU is 0 everywhere, look at the bias and the "
        "scale before it."
    ),
    predicts=("QL-N07", "QL-P*", "QL-O01", "QL-O02", "QL-E05", "QL-E10"),
    example=(
        PIPELINE + "nn.init.zeros_(model.head[3].weight)\ndiagnosis = diagnose(Subject(**parts))"
    ),
)

N05 = Contract(
    "QL-N05",
    title="batch normalisation does not learn the data's statistics",
    what=(
        "After a training step the running mean and variance are what they were (evaluation mode "
        "inside the step, momentum 0), were never updated in all of training, or are taken over "
        "two values."
    ),
    why=(
        "Training and evaluation then compute different functions: the training loss is fine, "
        "validation is not."
    ),
    fix=(
        "model.train() before the step; requires_grad_(False) on the norms too where they are "
        "frozen on purpose; GroupNorm for tiny batches."
    ),
    predicts=("QL-P10", "QL-O01", "QL-E02", "QL-E03", "QL-E10"),
    example=(
        PIPELINE + "model.head[1].momentum = 0.0\n"
        "diagnosis = diagnose(Subject(**parts, optimizer=torch.optim.SGD(model.parameters(), "
        "lr=0.1)))"
    ),
)

N06 = Contract(
    "QL-N06",
    title="units of a layer have equal weights",
    what=(
        "Rows of a trainable weight matrix that equal another row bit for bit; rows of zeros, as "
        "in residual gains, are left out."
    ),
    why=(
        "Equal units get equal gradients, so they stay equal: the layer is narrower than it "
        "looks, in the worst case one unit wide."
    ),
    fix="Initialise at random: layer.reset_parameters() or torch.nn.init.kaiming_uniform_.",
    predicts=("QL-N04", "QL-N07", "QL-P03", "QL-P10", "QL-E10"),
    example=(
        PIPELINE + "nn.init.constant_(model.encoders['audio'].weight, 0.1)\ndiagnosis = "
        "diagnose(Subject(**parts))"
    ),
)

N07 = Contract(
    "QL-N07",
    title="one modality drowns out the others",
    what=(
        "Exchanging one modality between samples moves the embedding a hundred times as much "
        "as exchanging any other one, although the label depends on the others too. A warning "
        "after training and beyond a thousand times, else a note."
    ),
    why=(
        "The other encoders receive next to no gradient, and the model fails where the loud "
        "modality is missing."
    ),
    fix=(
        "Bring features to one scale before fusing (LayerNorm on each), or give each modality its "
        "own loss (within_weight)."
    ),
    predicts=("QL-E10",),
    example=(PIPELINE + "model.scale = 1000.0\ndiagnosis = diagnose(Subject(**parts))"),
)

N10 = Contract(
    "QL-N10",
    title="weights are not finite",
    what="A parameter or buffer holds NaN or infinity.",
    why=(
        "Before any step: memory that was never initialised. Later: a step with a gradient that "
        "was not finite; everything after it is NaN."
    ),
    fix=(
        "Initialise all parameters; after training, go back to the last finite checkpoint and "
        "look at the step behind it."
    ),
    predicts=("QL-M05", "QL-M07", "QL-N04", "QL-N06", "QL-P*", "QL-O*", "QL-E*"),
    example=(
        PIPELINE
        + "model.head[0].weight.data[0, 0] = float('nan')\ndiagnosis = diagnose(Subject(**parts))"
    ),
)

N11 = Contract(
    "QL-N11",
    title="what is declared frozen is trained",
    what="freeze=[...] names a module whose parameters have requires_grad=True.",
    why=(
        "The run does not do what its settings say; a comparison of frozen and trained encoders "
        "compares two trained ones."
    ),
    fix="Freeze before the optimiser is built, and build the model before freezing.",
    example=(
        PIPELINE + "diagnosis = diagnose(Subject(**parts, settings={'freeze': ['encoders.audio']}))"
    ),
)

N12 = Contract(
    "QL-N12",
    title="parts of the model share their weights",
    what="The same parameter objects are found in two parts. A note: sharing may be meant.",
    why="[Encoder()] * 4 is one encoder four times, not four of them.",
    fix="[Encoder() for _ in range(4)] where each should learn its own.",
    example=(
        PIPELINE + "model.encoders['video'] = model.encoders['audio']\ndiagnosis = "
        "diagnose(Subject(**parts))"
    ),
)

N20 = Contract(
    "QL-N20",
    title="a teacher never moves",
    what=(
        "A second network of the trained one's shape feeds the loss, is in no optimiser, and "
        "is bit for bit the same after the watched steps."
    ),
    why=(
        "The targets stay those of random weights. A momentum encoder follows the trained "
        "one a little in every step."
    ),
    fix="Update it after every step: teacher = m * teacher + (1 - m) * student.",
    predicts=("QL-N01",),
    example=(
        watched(
            "cross_entropy(model(views(x)[0]) @ teacher(x).T / 0.1, torch.arange(len(x)))",
            before="import copy\nteacher = copy.deepcopy(model).requires_grad_(False)\n",
        )
    ),
)

N21 = Contract(
    "QL-N21",
    title="a queue of negatives is never refilled",
    what="A buffer of rows that the loss compares with is the same in every step.",
    why="The negatives are random vectors for ever, not earlier keys.",
    fix="Enqueue the keys of every batch, and advance the pointer.",
    example=(
        watched(
            "cross_entropy(memory(model(x)) / 0.1, torch.zeros(len(x), dtype=torch.long))",
            before=(
                "class Memory(nn.Module):\n"
                "    def __init__(self):\n"
                "        super().__init__()\n"
                "        self.register_buffer('queue', normalize(torch.randn(32, 16), dim=1))\n"
                "\n"
                "    def forward(self, z):\n"
                "        return z @ self.queue.T\n"
                "\n"
                "\n"
                "memory = Memory()\n"
            ),
        )
    ),
)

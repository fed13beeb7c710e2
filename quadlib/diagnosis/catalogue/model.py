"""The codes of the model stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.pipeline import watched
from quadlib.diagnosis.entry import Entry

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
model = Two()
parts = {"loader": loader, "model": model, "loss": SupConLoss()}
""".lstrip()

ENTRIES: dict[str, Entry] = {
    "QL-N01": Entry(
        "weights are frozen that nobody declared frozen",
        "requires_grad is False for all parameters, for every weight matrix, or for parts that "
        "freeze=[...] does not name. A head on a frozen backbone without any declaration is a "
        "note only.",
        "The loss falls a little and stays: norms and biases adapt, features do not.",
        "model.requires_grad_(True) before the optimiser is built, or declare what is frozen on "
        "purpose.",
        PIPELINE + "for name, parameter in model.named_parameters():\n    "
        "parameter.requires_grad_(name.startswith('head.1'))\n"
        "diagnosis = diagnose(Subject(**parts))",
    ),
    "QL-N02": Entry(
        "a part of the model is not in the optimiser",
        "Parameters that receive gradient are in no group of the optimiser, while others of the "
        "model are.",
        "That part stays as random as it began; the rest learns around it, so the loss still "
        "falls.",
        "Build the optimiser from model.parameters(), after the last change of the model, or call "
        "optimizer.add_param_group.",
        PIPELINE + "optimizer = torch.optim.SGD([*model.head.parameters(), "
        "*model.encoders['video'].parameters()], lr=0.1)\n"
        "diagnosis = diagnose(Subject(**parts, optimizer=optimizer))",
    ),
    "QL-N03": Entry(
        "a branch is cut off from the loss",
        "Its weights change the loss, and yet no gradient comes back to them, though they are "
        "trainable and in the optimiser.",
        "A .detach(), .data, torch.no_grad() or a trip through numpy lies between the branch "
        "and the loss; the branch never learns.",
        "Take it out. A head that the loss does not use is not accused: moving its weights does "
        "not change the loss.",
        PIPELINE + "model.cut = True\ndiagnosis = diagnose(Subject(**parts, "
        "optimizer=torch.optim.SGD(model.parameters(), lr=0.1)))",
    ),
    "QL-N04": Entry(
        "a layer gives the same output for every sample",
        "The variance over the batch is there at the input and gone behind a layer, in evaluation "
        "mode, before any step.",
        "All embeddings equal means a loss of ln(N-1) and a gradient of 0: no step will change "
        "it. One encoder alone: its modality is not there.",
        "Initialise the layer at random; where a ReLU is 0 everywhere, look at the bias and the "
        "scale before it.",
        PIPELINE + "nn.init.zeros_(model.head[3].weight)\ndiagnosis = diagnose(Subject(**parts))",
    ),
    "QL-N05": Entry(
        "batch normalisation does not learn the data's statistics",
        "After a training step the running mean and variance are what they were (evaluation mode "
        "inside the step, momentum 0), were never updated in all of training, or are taken over "
        "two values.",
        "Training and evaluation then compute different functions: the training loss is fine, "
        "validation is not.",
        "model.train() before the step; requires_grad_(False) on the norms too where they are "
        "frozen on purpose; GroupNorm for tiny batches.",
        PIPELINE + "model.head[1].momentum = 0.0\n"
        "diagnosis = diagnose(Subject(**parts, optimizer=torch.optim.SGD(model.parameters(), "
        "lr=0.1)))",
    ),
    "QL-N06": Entry(
        "units of a layer have equal weights",
        "Rows of a trainable weight matrix that equal another row bit for bit; rows of zeros, as "
        "in residual gains, are left out.",
        "Equal units get equal gradients, so they stay equal: the layer is narrower than it "
        "looks, in the worst case one unit wide.",
        "Initialise at random: layer.reset_parameters() or torch.nn.init.kaiming_uniform_.",
        PIPELINE + "nn.init.constant_(model.encoders['audio'].weight, 0.1)\ndiagnosis = "
        "diagnose(Subject(**parts))",
    ),
    "QL-N07": Entry(
        "one modality drowns out the others",
        "Exchanging one modality between samples moves the embedding a hundred times as much "
        "as exchanging any other one, although the label depends on the others too. A warning "
        "after training and beyond a thousand times, else a note.",
        "The other encoders receive next to no gradient, and the model fails where the loud "
        "modality is missing.",
        "Bring features to one scale before fusing (LayerNorm on each), or give each modality its "
        "own loss (within_weight).",
        PIPELINE + "model.scale = 1000.0\ndiagnosis = diagnose(Subject(**parts))",
    ),
    "QL-N10": Entry(
        "weights are not finite",
        "A parameter or buffer holds NaN or infinity.",
        "Before any step: memory that was never initialised. Later: a step with a gradient that "
        "was not finite; everything after it is NaN.",
        "Initialise all parameters; after training, go back to the last finite checkpoint and "
        "look at the step behind it.",
        PIPELINE
        + "model.head[0].weight.data[0, 0] = float('nan')\ndiagnosis = diagnose(Subject(**parts))",
    ),
    "QL-N11": Entry(
        "what is declared frozen is trained",
        "freeze=[...] names a module whose parameters have requires_grad=True.",
        "The run does not do what its settings say; a comparison of frozen and trained encoders "
        "compares two trained ones.",
        "Freeze before the optimiser is built, and build the model before freezing.",
        PIPELINE
        + "diagnosis = diagnose(Subject(**parts, settings={'freeze': ['encoders.audio']}))",
    ),
    "QL-N12": Entry(
        "parts of the model share their weights",
        "The same parameter objects are found in two parts. A note: sharing may be meant.",
        "[Encoder()] * 4 is one encoder four times, not four of them.",
        "[Encoder() for _ in range(4)] where each should learn its own.",
        PIPELINE + "model.encoders['video'] = model.encoders['audio']\ndiagnosis = "
        "diagnose(Subject(**parts))",
    ),
    "QL-N20": Entry(
        "a teacher never moves",
        "A second network of the trained one's shape feeds the loss, is in no optimiser, and "
        "is bit for bit the same after the watched steps.",
        "The targets stay those of random weights. A momentum encoder follows the trained "
        "one a little in every step.",
        "Update it after every step: teacher = m * teacher + (1 - m) * student.",
        watched(
            "cross_entropy(model(views(x)[0]) @ teacher(x).T / 0.1, torch.arange(len(x)))",
            before="import copy\nteacher = copy.deepcopy(model).requires_grad_(False)\n",
        ),
    ),
    "QL-N21": Entry(
        "a queue of negatives is never refilled",
        "A buffer of rows that the loss compares with is the same in every step.",
        "The negatives are random vectors for ever, not earlier keys.",
        "Enqueue the keys of every batch, and advance the pointer.",
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
        ),
    ),
}

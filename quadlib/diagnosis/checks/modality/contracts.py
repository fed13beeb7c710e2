"""The contracts of the modality stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
from quadlib.diagnosis.contract import Contract

TABLE = """
import numpy as np
import pandas as pd
from quadlib import SampleTable, Subject, diagnose
from quadlib.data.samples import Modality

random = np.random.default_rng(0)
y = np.arange(160) % 4
cause = np.eye(4)[y] * 3 + random.normal(size=(160, 4))
arrays = {
    name: (cause @ random.normal(size=(4, 8))).astype("float32")
    for name in ("video", "audio", "sensor")
}
ids = [f"r{row:03d}" for row in range(160)]
frame = pd.DataFrame(
    {
        "sample_id": ids,
        "label": [f"class {code}" for code in y],
        "group": ids,
        "split": "train",
        **{name: range(160) for name in arrays},
    }
)
modalities = {name: Modality("vector", (8,)) for name in arrays}
""".lstrip()

M01 = Contract(
    "QL-M01",
    title="a modality belongs to other samples",
    what=(
        "The streams of one row must come from one sample. Ids and file names tell it exactly "
        "(an error); where there are none, a modality that has lost every link to the label and "
        "to all other modalities, while these keep theirs, is a warning with its p and two "
        "candidates."
    ),
    why=(
        "The branch of that modality learns noise; the others hide it, so the score is only a "
        "little worse than it should be. A file list that is sorted differently, or not at all, "
        "is the usual cause."
    ),
    fix="Join every modality to the samples by id, never by position in a list.",
    predicts=("QL-M02", "QL-M10", "QL-N07", "QL-E10"),
    example=(
        TABLE + 'arrays["audio"] = arrays["audio"][random.permutation(160)]\n'
        "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))"
    ),
)

M02 = Contract(
    "QL-M02",
    title="a modality shares its class with the others and nothing else",
    what=(
        "Samples of one class still differ, and all their streams show it: exchanged only "
        "within their class, the modalities stay linked. One modality that does not, while all "
        "others do, may have its rows exchanged within the class. This is a note: it may also be "
        "healthy."
    ),
    why=(
        "The loss and the score hardly change, but whatever compares streams of one sample "
        "(cross-modal retrieval) is trained on wrong pairs."
    ),
    fix="Compare ids of a few samples at the source; join by id.",
    predicts=("QL-N07",),
    example=(
        TABLE + "order = np.concatenate([random.permutation(np.flatnonzero(y == code)) for code in "
        "range(4)])\n"
        'arrays["audio"][np.sort(order.reshape(4, -1), axis=1).ravel()] = arrays["audio"][order]\n'
        "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))"
    ),
)

M04 = Contract(
    "QL-M04",
    title="a modality is the same in every sample",
    what=(
        "Variance 0 over the samples that have the modality: as it is stored (the data), or "
        "only as it enters its encoder (the transform)."
    ),
    why=(
        "Its encoder gives the same output for all, and nothing is learned from it. Zeros that "
        "stand for files that could not be read look so."
    ),
    fix=(
        "Read the modality again, fix the transform, or leave it out; mark what is missing in the "
        "mask instead of filling it with zeros."
    ),
    predicts=("QL-M01", "QL-M02", "QL-M10", "QL-N03", "QL-N04", "QL-N07", "QL-P10", "QL-E10"),
    example=(
        TABLE + 'arrays["sensor"][:] = 0\ndiagnosis = diagnose(Subject(table=SampleTable(frame, '
        "modalities, arrays=arrays)))"
    ),
)

M05 = Contract(
    "QL-M05",
    title="the mask of missing modalities does not say what is there",
    what=(
        "True in `present` means present. The mask of a batch must agree with the table, and the "
        "model must not change its answer when a stream changes that is declared absent."
    ),
    why=(
        "With an inverted mask the model reads the zeros of what is missing and hides what is "
        "there: it gets worse the more data there are."
    ),
    fix=(
        "present = ~missing where the batch is put together; masked_fill(~present, -inf) before "
        "the softmax of the fusion."
    ),
    predicts=("QL-M04", "QL-N04", "QL-N07", "QL-P10", "QL-O01", "QL-E10"),
    example=(
        """
import torch
from torch import nn
from quadlib import Subject, SupConLoss, diagnose


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 4)

    def forward(self, batch):
        tokens = torch.stack([batch["inputs"]["video"], batch["inputs"]["audio"]], dim=1)
        tokens = self.encoder(tokens)
        return (tokens * ~batch["present"][..., None]).sum(dim=1)  # reads what is missing


torch.manual_seed(0)
model, loss = Mean(), SupConLoss()


def train_step(batch):
    value = loss(model(batch), batch["labels"])
    value.backward()
    return value.detach()


batch = {
    "inputs": {"video": torch.randn(8, 4), "audio": torch.randn(8, 4)},
    "present": torch.ones(8, 2, dtype=torch.bool),
    "labels": torch.arange(8) % 2,
}
diagnosis = diagnose(Subject(loader=[batch], model=model, loss=loss, train_step=train_step))
"""
    ),
)

M07 = Contract(
    "QL-M07",
    title="embeddings are in another order than their labels",
    what=(
        "Changing one sample must change its own row of the embeddings, in each of its views, "
        "and no other row; in evaluation mode, so that dropout and batch statistics cannot blur "
        "it."
    ),
    why=(
        "With views and samples mixed the loss pulls unrelated samples together: it stays near its "
        "plateau and does not fit even one batch."
    ),
    fix=(
        "torch.stack([view1, view2], dim=1) instead of view() or reshape(); batch_first=True for "
        "attention and recurrent layers."
    ),
    predicts=("QL-N07", "QL-P*", "QL-E*"),
    example=(
        """
import torch
from torch import nn
from quadlib import Subject, SupConLoss, diagnose


class TwoViews(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 4)

    def forward(self, views):
        return self.encoder(torch.cat(views)).view(
            len(views[0]), 2, -1
        )  # torch.stack(..., dim=1) was meant


torch.manual_seed(0)
batch = ([torch.randn(12, 6), torch.randn(12, 6)], torch.arange(12) % 3)
model, loss = TwoViews(), SupConLoss()


def train_step(batch):
    value = loss(model(batch[0]), batch[1])
    value.backward()
    return value.detach()


diagnosis = diagnose(Subject(loader=[batch], model=model, loss=loss, train_step=train_step))
"""
    ),
)

M10 = Contract(
    "QL-M10",
    title="a modality is a copy of another",
    what=(
        "The same paths, the same bytes or the same values in two modalities of nine samples "
        "in ten."
    ),
    why=(
        "One of the two is missing without anybody noticing, and what the model seems to gain "
        "from four streams comes from three."
    ),
    fix="Fill the column of the modality from its own folder and pattern.",
    predicts=("QL-M02", "QL-M11", "QL-M21", "QL-P10"),
    example=(
        TABLE + 'arrays["audio"] = arrays["video"].copy()\n'
        "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))"
    ),
)

M11 = Contract(
    "QL-M11",
    title="the files of a modality are of another kind",
    what=(
        "The extension of most files of a modality belongs to another kind of data, such as a "
        "video that is read from the folder of photos."
    ),
    why=(
        "Readers of video open a photo as a video of one frame: nothing fails, and the time in it "
        "is gone."
    ),
    fix="Fill the column of the modality from its own folder and extension.",
    predicts=("QL-M04", "QL-N07"),
    example=(
        """
import pandas as pd
from quadlib import Subject, diagnose

frame = pd.DataFrame(
    {
        "sample_id": ["a", "b"],
        "label": ["good", "spatter"],
        "video": ["a/images/1.jpg", "b/images/1.jpg"],
    }
)
diagnosis = diagnose(Subject(table=frame))
"""
    ),
)

M20 = Contract(
    "QL-M20",
    title="a stream of the batch reaches no loss",
    what=(
        "A tensor that the loader gives is never read, or nothing computed from it reaches "
        "the loss."
    ),
    why=(
        "One crop is used twice, one modality is forgotten, or a mask of padding is ignored; "
        "the loop runs on without it. Seen in forks of SupContrast."
    ),
    fix="Use the stream where it was meant to be, or do not load it.",
    predicts=("QL-M01", "QL-M21", "QL-N03", "QL-P10"),
    example=(
        watched(
            "loss(model(x), y)",
            before=(
                "loader = [(a, b, c) for a, b, c in DataLoader(TensorDataset(inputs, inputs + 1, "
                "labels), batch_size=16)]\n"
                "loader = DataLoader(TensorDataset(inputs, inputs + torch.randn_like(inputs), "
                "labels), batch_size=16)\n"
            ),
        ).replace("for x, y in loader", "for x, other, y in loader")
    ),
)

M21 = Contract(
    "QL-M21",
    title="both views are the same",
    what="The two views of a sample that the loss compares are equal, value for value.",
    why=(
        "A row's pull to itself has no gradient: only the negatives teach, and nothing "
        "becomes invariant."
    ),
    fix="Make two random draws of the augmentation, and hand each to the model.",
    predicts=("QL-P*",),
    example=(
        watched(
            "cross_entropy(model(x) @ model(x.clone()).T / 0.1, torch.arange(len(x)))",
            before="model.body[3] = nn.Identity()\n",
        )
    ),
)

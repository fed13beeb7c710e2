"""The codes of the modality stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.pipeline import watched
from quadlib.diagnosis.entry import Entry

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

ENTRIES: dict[str, Entry] = {
    "QL-M01": Entry(
        "a modality belongs to other samples",
        "The streams of one row must come from one sample. Ids and file names tell it exactly "
        "(an error); where there are none, a modality that has lost every link to the label and "
        "to all other modalities, while these keep theirs, is a warning with its p and two "
        "candidates.",
        "The branch of that modality learns noise; the others hide it, so the score is only a "
        "little worse than it should be. A file list that is sorted differently, or not at all, "
        "is the usual cause.",
        "Join every modality to the samples by id, never by position in a list.",
        TABLE + 'arrays["audio"] = arrays["audio"][random.permutation(160)]\n'
        "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))",
    ),
    "QL-M02": Entry(
        "a modality shares its class with the others and nothing else",
        "Samples of one class still differ, and all their streams show it: exchanged only "
        "within their class, the modalities stay linked. One modality that does not, while all "
        "others do, may have its rows exchanged within the class. This is a note: it may also be "
        "healthy.",
        "The loss and the score hardly change, but whatever compares streams of one sample "
        "(cross-modal retrieval) is trained on wrong pairs.",
        "Compare ids of a few samples at the source; join by id.",
        TABLE + "order = np.concatenate([random.permutation(np.flatnonzero(y == code)) for code in "
        "range(4)])\n"
        'arrays["audio"][np.sort(order.reshape(4, -1), axis=1).ravel()] = arrays["audio"][order]\n'
        "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))",
    ),
    "QL-M04": Entry(
        "a modality is the same in every sample",
        "Variance 0 over the samples that have the modality: as it is stored (the data), or "
        "only as it enters its encoder (the transform).",
        "Its encoder gives the same output for all, and nothing is learned from it. Zeros that "
        "stand for files that could not be read look so.",
        "Read the modality again, fix the transform, or leave it out; mark what is missing in the "
        "mask instead of filling it with zeros.",
        TABLE + 'arrays["sensor"][:] = 0\ndiagnosis = diagnose(Subject(table=SampleTable(frame, '
        "modalities, arrays=arrays)))",
    ),
    "QL-M05": Entry(
        "the mask of missing modalities does not say what is there",
        "True in `present` means present. The mask of a batch must agree with the table, and the "
        "model must not change its answer when a stream changes that is declared absent.",
        "With an inverted mask the model reads the zeros of what is missing and hides what is "
        "there: it gets worse the more data there are.",
        "present = ~missing where the batch is put together; masked_fill(~present, -inf) before "
        "the softmax of the fusion.",
        """
import torch
from torch import nn
from quadlib import Subject, diagnose


class Mean(nn.Module):
    def forward(self, batch):
        tokens = torch.stack([batch["inputs"]["video"], batch["inputs"]["audio"]], dim=1)
        return (tokens * ~batch["present"][..., None]).sum(dim=1)  # reads what is missing


torch.manual_seed(0)
batch = {
    "inputs": {"video": torch.randn(8, 4), "audio": torch.randn(8, 4)},
    "present": torch.ones(8, 2, dtype=torch.bool),
    "labels": torch.arange(8) % 2,
}
diagnosis = diagnose(Subject(loader=[batch], model=Mean(), embed=lambda model, batch: model(batch)))
""",
    ),
    "QL-M07": Entry(
        "embeddings are in another order than their labels",
        "Changing one sample must change its own row of the embeddings, in each of its views, "
        "and no other row; in evaluation mode, so that dropout and batch statistics cannot blur "
        "it.",
        "With views and samples mixed the loss pulls unrelated samples together: it stays near its "
        "plateau and does not fit even one batch.",
        "torch.stack([view1, view2], dim=1) instead of view() or reshape(); batch_first=True for "
        "attention and recurrent layers.",
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
diagnosis = diagnose(Subject(loader=[batch], model=TwoViews(), loss=SupConLoss()))
""",
    ),
    "QL-M10": Entry(
        "a modality is a copy of another",
        "The same paths, the same bytes or the same values in two modalities of nine samples "
        "in ten.",
        "One of the two is missing without anybody noticing, and what the model seems to gain "
        "from four streams comes from three.",
        "Fill the column of the modality from its own folder and pattern.",
        TABLE + 'arrays["audio"] = arrays["video"].copy()\n'
        "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays)))",
    ),
    "QL-M11": Entry(
        "the files of a modality are of another kind",
        "The extension of most files of a modality belongs to another kind of data, such as a "
        "video that is read from the folder of photos.",
        "Readers of video open a photo as a video of one frame: nothing fails, and the time in it "
        "is gone.",
        "Fill the column of the modality from its own folder and extension.",
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
""",
    ),
    "QL-M20": Entry(
        "a stream of the batch reaches no loss",
        "A tensor that the loader gives is never read, or nothing computed from it reaches "
        "the loss.",
        "One crop is used twice, one modality is forgotten, or a mask of padding is ignored; "
        "the loop runs on without it. Seen in forks of SupContrast.",
        "Use the stream where it was meant to be, or do not load it.",
        watched(
            "loss(model(x), y)",
            before=(
                "loader = [(a, b, c) for a, b, c in DataLoader(TensorDataset(inputs, inputs + 1, "
                "labels), batch_size=16)]\n"
                "loader = DataLoader(TensorDataset(inputs, inputs + torch.randn_like(inputs), "
                "labels), batch_size=16)\n"
            ),
        ).replace("for x, y in loader", "for x, other, y in loader"),
    ),
    "QL-M21": Entry(
        "both views are the same",
        "The two views of a sample that the loss compares are equal, value for value.",
        "A row's pull to itself has no gradient: only the negatives teach, and nothing "
        "becomes invariant.",
        "Make two random draws of the augmentation, and hand each to the model.",
        watched(
            "cross_entropy(model(x) @ model(x.clone()).T / 0.1, torch.arange(len(x)))",
            before="model.body[3] = nn.Identity()\n",
        ),
    ),
}

"""The codes of the data stage, explained."""

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

ENTRIES: dict[str, Entry] = {
    "QL-D01": Entry(
        "samples hold a constant, or another sample's content, in one modality",
        "Every sample must hold its own content. Here several hold one constant value, or "
        "share a content while the rest of them differs. Read from arrays, decoded arrays, or "
        "size, head and tail of the files.",
        "A loader that returns zeros, or the last good sample, where decoding fails: nothing is "
        "said, and nothing can be learned of these samples. A few per cent slow "
        "learning down and make odd clusters.",
        "Decode these files by hand; let the loader raise; mark the modality as absent where it "
        "cannot be had.",
        TABLE + 'arrays["audio"][:12] = 0\n' + END,
    ),
    "QL-D02": Entry(
        "a junk folder is treated as a class",
        "A class has the name of something that file systems and editors leave behind: "
        ".ipynb_checkpoints, __MACOSX, lost+found.",
        "There is one class too many, and every class that sorts after it has its index moved by "
        "one, so that labels, checkpoints and class names no longer fit each other.",
        "Delete the folder; list classes from the labels, without names that start with a dot.",
        """
from types import SimpleNamespace
from quadlib import Subject, diagnose

dataset = SimpleNamespace(classes=[".ipynb_checkpoints", "crack", "good"])
diagnosis = diagnose(Subject(labels=["crack", "good"] * 8, loader=SimpleNamespace(dataset=dataset)))
""".lstrip(),
    ),
    "QL-D03": Entry(
        "samples are in train more than once",
        "Two rows of the train split hold the same content in every modality.",
        "A copy is a positive that is found without learning anything; the loss is lower than it "
        "should be, and validation does not follow.",
        "Keep one of each. To draw a class more often, tell the sampler.",
        TABLE + "for array in arrays.values():\n    array[100:140] = array[:40]\n" + END,
    ),
    "QL-D04": Entry(
        "samples come in two units or sample rates",
        "The scale of the samples falls into two groups with nothing between, and their ratio "
        "is a known constant (9.81, 2.756, 1000 ...); or a sample rate, by header or column, is "
        "not the declared one (setting sample_rate_hz).",
        "One modality becomes weak: the network learns the unit instead of the class.",
        "Bring all samples to one unit and one rate.",
        TABLE + 'arrays["sensor"] += 20\narrays["sensor"][::3] *= 9.80665\n' + END,
    ),
    "QL-D06": Entry(
        "stored numbers are NaN or infinite",
        "Every number of an array must be finite; the first sample that breaks this is named.",
        "One such value makes the loss of its batch NaN, and after one step all weights.",
        "Fix the array, or mark the modality as absent in that row.",
        TABLE + 'arrays["sensor"][7, 3] = float("nan")\n' + END,
    ),
    "QL-D11": Entry(
        "files that the table names are missing or empty",
        "Every path must lead to a file that holds something.",
        "What happens depends on the loader: it stops in the middle of the night, or it makes up "
        "zeros.",
        "Bring the files back, or leave their place in the table empty.",
        """
import pandas as pd
from quadlib import Subject, diagnose

frame = pd.DataFrame(
    {"label": ["a", "b"] * 4, "path": [f"/no/such/folder/{row}.wav" for row in range(8)]}
)
diagnosis = diagnose(Subject(table=frame))
""".lstrip(),
    ),
    "QL-D16": Entry(
        "inputs reach the model with NaN or infinity",
        "The first batches of the loader must be finite wherever a modality is present.",
        "The stored numbers were finite, so a transform makes them: a division by a deviation of "
        "0, or the logarithm of 0.",
        "Keep the normaliser's deviation above 0, and a floor under the logarithm.",
        """
import torch
from torch.utils.data import DataLoader, TensorDataset
from quadlib import Subject, diagnose

inputs = torch.randn(64, 8)
inputs[3] /= 0.0
diagnosis = diagnose(
    Subject(loader=DataLoader(TensorDataset(inputs, torch.arange(64) % 4), batch_size=32))
)
""".lstrip(),
    ),
    "QL-D17": Entry(
        "a declared class has no sample",
        "Every class in the declared list has samples.",
        "An empty class is a class that nobody wanted, or one whose files were not found; a list "
        "made from another folder would leave it out, and the indices would differ.",
        "List only classes that have samples, or bring their samples.",
        """
from types import SimpleNamespace
from quadlib import Subject, diagnose

dataset = SimpleNamespace(classes=["crack", "good", "pore"])
diagnosis = diagnose(Subject(labels=["crack", "good"] * 8, loader=SimpleNamespace(dataset=dataset)))
""".lstrip(),
    ),
    "QL-D20": Entry(
        "a channel of the input never varies",
        "One channel of an input holds one value in every row and place, while the others vary.",
        "The model learns nothing from it, and a normalisation may divide by its deviation of 0.",
        "Look at how the channel is read; leave it out if the sensor is not there.",
        watched(
            "loss(model(x[:, 0]), y)",
            before=(
                "inputs = torch.stack([inputs, torch.ones_like(inputs)], 1)\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        ),
    ),
    "QL-D21": Entry(
        "inputs are not normalised",
        "An input holds bytes as they are, or its level is a hundred times what varies "
        "between rows.",
        "The first layer sees a constant; the variation is lost in rounding, and all rows "
        "look alike.",
        "Subtract the training rows' mean and divide by their deviation, channel by channel.",
        watched(
            "loss(model(x), y)",
            before=(
                "inputs = inputs + 1e4\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        ),
    ),
}

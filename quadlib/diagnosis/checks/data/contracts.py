"""The contracts of the data stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import END, TABLE, watched
from quadlib.diagnosis.contract import Contract

D24 = Contract(
    "QL-D24",
    title="the axes of an input were reshaped where they should have been moved",
    what=(
        "Along the last axis, a value resembles the one as many places on as there are channels, "
        "and not its neighbour: what lay along the channels lies along time, or a row of pixels."
    ),
    why=(
        "reshape(channels, length) of (length, channels) keeps the numbers' order and mixes the "
        "channels. The shape is right, and every sample is a mixture. Seen in CARLA issue 16."
    ),
    fix="transpose or permute moves axes; reshape and view only split or join them.",
    predicts=("QL-N04", "QL-P06", "QL-P10", "QL-E10"),
    example=watched(
        "loss(model(x.mean(2).repeat(1, 4)), y)",
        before=(
            "waves = torch.linspace(0, 9, 40)[:, None] + 5 * torch.randn(64, 1, 3)\n"
            "series = waves.sin().reshape(64, 3, 40)[:, :3]\n"
            "model = Model()\n"
            "model.body[0] = nn.Linear(12, 32)\n"
            "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)\n"
            "loader = DataLoader(TensorDataset(series, labels), batch_size=16)\n"
        ),
    ),
)

D25 = Contract(
    "QL-D25",
    title="the data change as they are read",
    what=(
        "The arrays that a dataset holds are the same after the watched steps: reading an item "
        "changes no other reading of it."
    ),
    why=(
        "An augmentation that works in place writes into the dataset itself: noise, crops and "
        "masks add up from epoch to epoch, and the samples fade away."
    ),
    fix="Copy the item before it is changed: x = self.data[i].clone(), or .copy() of numpy's.",
    predicts=("QL-N04", "QL-P06", "QL-P10", "QL-E10"),
    example=watched(
        "loss(model(x), y)",
        before=(
            "class Noisy(TensorDataset):\n"
            "    def __getitem__(self, row):\n"
            "        x, y = super().__getitem__(row)\n"
            "        x += 0.1 * torch.randn_like(x)\n"
            "        return x, y\n\n\n"
            "loader = DataLoader(Noisy(inputs, labels), batch_size=16)\n"
        ),
    ),
)

D26 = Contract(
    "QL-D26",
    title="a value stands in for what is missing",
    what=(
        "No column or channel of an input holds one and the same value again and again, far from "
        "all others: -9999, -200, 999 and the like."
    ),
    why=(
        "What was not measured enters mean, deviation and network as a measurement. One such value "
        "in a hundred can outweigh all that was measured."
    ),
    fix="Read it as missing: mask it, leave the sample out, or fill it in from the others.",
    predicts=("QL-D21", "QL-N04", "QL-P10", "QL-O01", "QL-E10"),
    example=watched(
        "loss(model(x), y)",
        before=(
            "inputs[torch.rand_like(inputs) < 0.05] = -9999\n"
            "inputs = (inputs - inputs.mean(0)) / inputs.std(0)\n"
            "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
        ),
    ),
)

D01 = Contract(
    "QL-D01",
    title="samples hold a constant, or another sample's content, in one modality",
    what=(
        "Every sample must hold its own content. Here several hold one constant value, or "
        "share a content while the rest of them differs. Read from arrays, decoded arrays, or "
        "the files."
    ),
    why=(
        "A loader that returns zeros, or the last good sample, where decoding fails: nothing is "
        "said, and nothing can be learned of these samples. A few per cent slow "
        "learning down and make odd clusters."
    ),
    fix=(
        "Decode these files by hand; let the loader raise; mark the modality as absent where it "
        "cannot be had."
    ),
    predicts=("QL-D03", "QL-D16", "QL-L02", "QL-L10", "QL-S03", "QL-M*", "QL-N07"),
    example=(TABLE + 'arrays["audio"][:12] = 0\n' + END),
)

D02 = Contract(
    "QL-D02",
    title="a junk folder is treated as a class",
    what=(
        "A class has the name of something that file systems and editors leave behind: "
        ".ipynb_checkpoints, __MACOSX, lost+found."
    ),
    why=(
        "There is one class too many, and every class that sorts after it has its index moved by "
        "one, so that labels, checkpoints and class names no longer fit each other."
    ),
    fix="Delete the folder; list classes from the labels, without names that start with a dot.",
    predicts=("QL-D17", "QL-L06", "QL-L11", "QL-L13", "QL-S02", "QL-S11", "QL-C*"),
    example=(
        """
from types import SimpleNamespace
from quadlib import Subject, diagnose

dataset = SimpleNamespace(classes=[".ipynb_checkpoints", "crack", "good"])
diagnosis = diagnose(Subject(labels=["crack", "good"] * 8, loader=SimpleNamespace(dataset=dataset)))
""".lstrip()
    ),
)

D03 = Contract(
    "QL-D03",
    title="samples are in train more than once",
    what="Two rows of the train split hold the same content in every modality.",
    why=(
        "A copy is a positive that is found without learning anything; the loss is lower than it "
        "should be, and validation does not follow."
    ),
    fix="Keep one of each. To draw a class more often, tell the sampler.",
    predicts=("QL-L02", "QL-B14", "QL-B20", "QL-M01", "QL-P10", "QL-P20"),
    example=(TABLE + "for array in arrays.values():\n    array[100:140] = array[:40]\n" + END),
)

D04 = Contract(
    "QL-D04",
    title="samples come in two units or sample rates",
    what=(
        "The scale of the samples falls into two groups with nothing between, and their ratio "
        "is a known constant (9.81, 2.756, 1000 ...); or a sample rate, by header or column, is "
        "not the declared one (setting sample_rate_hz)."
    ),
    why="One modality becomes weak: the network learns the unit instead of the class.",
    fix="Bring all samples to one unit and one rate.",
    predicts=("QL-L02", "QL-M*", "QL-N07"),
    example=(TABLE + 'arrays["sensor"] += 20\narrays["sensor"][::3] *= 9.80665\n' + END),
)

D06 = Contract(
    "QL-D06",
    title="stored numbers are NaN or infinite",
    what="Every number of an array must be finite; the first sample that breaks this is named.",
    why="One such value makes the loss of its batch NaN, and after one step all weights.",
    fix="Fix the array, or mark the modality as absent in that row.",
    predicts=("QL-D16", "QL-L*", "QL-M*", "QL-N*", "QL-P*", "QL-O*", "QL-E*"),
    example=(TABLE + 'arrays["sensor"][7, 3] = float("nan")\n' + END),
)

D11 = Contract(
    "QL-D11",
    title="files that the table names are missing or empty",
    what="Every path must lead to a file that holds something.",
    why=(
        "What happens depends on the loader: it stops in the middle of the night, or it makes up "
        "zeros."
    ),
    fix="Bring the files back, or leave their place in the table empty.",
    predicts=("QL-D01", "QL-D16", "QL-M*"),
    example=(
        """
import pandas as pd
from quadlib import Subject, diagnose

frame = pd.DataFrame(
    {"label": ["a", "b"] * 4, "path": [f"/no/such/folder/{row}.wav" for row in range(8)]}
)
diagnosis = diagnose(Subject(table=frame))
""".lstrip()
    ),
)

D16 = Contract(
    "QL-D16",
    title="inputs reach the model with NaN or infinity",
    what="The first batches of the loader must be finite wherever a modality is present.",
    why=(
        "The stored numbers were finite, so a transform makes them: a division by a deviation of "
        "0, or the logarithm of 0."
    ),
    fix="Keep the normaliser's deviation above 0, and a floor under the logarithm.",
    predicts=("QL-M*", "QL-N*", "QL-P*", "QL-O*", "QL-E*"),
    example=(
        """
import torch
from torch.utils.data import DataLoader, TensorDataset
from quadlib import Subject, diagnose

inputs = torch.randn(64, 8)
inputs[3] /= 0.0
diagnosis = diagnose(
    Subject(loader=DataLoader(TensorDataset(inputs, torch.arange(64) % 4), batch_size=32))
)
""".lstrip()
    ),
)

D17 = Contract(
    "QL-D17",
    title="a declared class has no sample",
    what="Every class in the declared list has samples.",
    why=(
        "An empty class is a class that nobody wanted, or one whose files were not found; a list "
        "made from another folder would leave it out, and the indices would differ."
    ),
    fix="List only classes that have samples, or bring their samples.",
    predicts=("QL-L06", "QL-S02"),
    example=(
        """
from types import SimpleNamespace
from quadlib import Subject, diagnose

dataset = SimpleNamespace(classes=["crack", "good", "pore"])
diagnosis = diagnose(Subject(labels=["crack", "good"] * 8, loader=SimpleNamespace(dataset=dataset)))
""".lstrip()
    ),
)

D20 = Contract(
    "QL-D20",
    title="a channel of the input never varies",
    what="One channel of an input holds one value in every row and place, while the others vary.",
    why="The model learns nothing from it, and a normalisation may divide by its deviation of 0.",
    fix="Look at how the channel is read; leave it out if the sensor is not there.",
    predicts=("QL-M04", "QL-N07"),
    example=(
        watched(
            "loss(model(x[:, 0]), y)",
            before=(
                "inputs = torch.stack([inputs, torch.ones_like(inputs)], 1)\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        )
    ),
)

D21 = Contract(
    "QL-D21",
    title="inputs are not normalised",
    what=(
        "An input holds bytes as they are, or its level is a hundred times what varies "
        "between rows."
    ),
    why=(
        "The first layer sees a constant; the variation is lost in rounding, and all rows "
        "look alike."
    ),
    fix="Subtract the training rows' mean and divide by their deviation, channel by channel.",
    predicts=("QL-N04", "QL-N07", "QL-P01", "QL-P10", "QL-O01"),
    example=(
        watched(
            "loss(model(x), y)",
            before=(
                "inputs = inputs + 1e4\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        )
    ),
)

D22 = Contract(
    "QL-D22",
    title="the label is among the features",
    what=(
        "A few columns of a table of features have one value in each class, and together no two "
        "classes alike, while the other columns vary within classes."
    ),
    why=(
        "The model reads the answer: every score is too good, and none holds where the label is "
        "not known. Seen in pytorch_tabular issue 21."
    ),
    fix="Take the label's column, and what is made of it, out of the features.",
    predicts=("QL-E10",),
    example=(
        watched(
            "loss(model(x[:, :12]), y)",
            before=(
                "inputs = torch.cat([inputs, labels[:, None].float()], 1)\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        )
    ),
)

D23 = Contract(
    "QL-D23",
    title="frames or channels of an input are copies of each other",
    what=(
        "In every row of the watched batches half of an input's channels or frames, or more, equal "
        "another one of the same row, value for value."
    ),
    why=(
        "A stack of frames that share one memory holds the last frame several times: motion is "
        "gone, and the shape is right. A grey picture in three channels is no such case."
    ),
    fix="Append frame.copy() in place of the buffer that the reader fills anew.",
    predicts=("QL-M21",),
    example=(
        watched(
            "loss(model(x.flatten(1)[:, :12]), y)",
            before=(
                "frames = torch.randn(64, 1, 6, 6).expand(64, 4, 6, 6)\n"
                "loader = DataLoader(TensorDataset(frames, labels), batch_size=16, shuffle=True)\n"
            ),
        )
    ),
)

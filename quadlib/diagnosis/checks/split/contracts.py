"""The contracts of the split stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import END, TABLE, watched
from quadlib.diagnosis.contract import Contract

S01 = Contract(
    "QL-S01",
    title="the train split holds one class",
    what="The table has several classes and train one of them.",
    why=(
        "Every batch is then of one class, whose floor is its plateau: the loss is ln(N - 1) for "
        "ever, 2.7081 at batch size 16. Batch size, sampler and learning rate are blamed in turn, "
        "and none of them can change it."
    ),
    fix="Split by class and session.",
    predicts=(
        "QL-S02",
        "QL-B01",
        "QL-B05",
        "QL-B13",
        "QL-M*",
        "QL-P10",
        "QL-P11",
        "QL-O01",
        "QL-O02",
        "QL-E*",
    ),
    example=(
        """
import numpy as np
from quadlib import Subject, diagnose

labels = np.sort(np.arange(480) % 12)
splits = np.where(np.arange(480) < 40, "train", "val")
diagnosis = diagnose(Subject(labels=labels, splits=splits, settings={"batch_size": 16}))
""".lstrip()
    ),
)

S02 = Contract(
    "QL-S02",
    title="a class is tested that was never trained on",
    what="Every class of val and test has samples in train (unless the protocol is one_class).",
    why="Its recall is 0 whatever is learned, and the mean over classes is bounded by that.",
    fix="Stratify the split, or leave the class out of the evaluation and say so.",
    predicts=("QL-E10",),
    example=(
        """
import numpy as np
from quadlib import Subject, diagnose

labels = np.arange(120) % 6
splits = np.where((np.arange(120) < 80) & (labels != 5), "train", "val")
diagnosis = diagnose(Subject(labels=labels, splits=splits))
""".lstrip()
    ),
)

S03 = Contract(
    "QL-S03",
    title="copies of tested samples are in train",
    what=(
        "No content is in two splits, whatever the ids say. Before training, files are "
        "compared whole, where size, head and tail are equal."
    ),
    why="These samples are answered by memory, and the score is too high by up to their share.",
    fix="Delete the copies from train; evaluate again.",
    predicts=("QL-S04", "QL-S05", "QL-S06", "QL-M01", "QL-E01"),
    example=(
        TABLE
        + 'frame["split"] = ["train"] * 120 + ["val"] * 40\nfor array in arrays.values():\n    '
        "array[120:140] = array[:20]\n" + END
    ),
)

S04 = Contract(
    "QL-S04",
    title="a session is in two splits",
    what="All samples of a session, subject or device run lie in one split.",
    why=(
        "Samples of one session share more than their class: light, place, operator. A random "
        "split of them scores far above what a new session would give."
    ),
    fix="Divide whole groups.",
    predicts=("QL-S05", "QL-S06"),
    example=(
        TABLE + 'frame["group"] = [f"session {row // 8}" for row in range(160)]\nframe["split"] = '
        '["train", "train", "train", "val"] * '
        "40\n" + END
    ),
)

S05 = Contract(
    "QL-S05",
    title="overlapping windows are in two splits",
    what="Windows [start, end) of one recording that lie in different splits share no sample.",
    why=(
        "Windows were cut first and divided afterwards: a part of what is tested was trained on, "
        "sample by sample."
    ),
    fix="Divide recordings first, cut windows afterwards.",
    predicts=("QL-S06",),
    example=(
        """
import numpy as np
import pandas as pd
from quadlib import Subject, diagnose

start = np.tile(np.arange(10) * 50, 8)
frame = pd.DataFrame(
    {
        "recording": np.repeat(np.arange(8), 10),
        "start": start,
        "end": start + 100,
        "label": np.arange(80) % 4,
        "split": np.tile(["train"] * 4 + ["val"], 16),
    }
)
diagnosis = diagnose(Subject(table=frame))
""".lstrip()
    ),
)

S06 = Contract(
    "QL-S06",
    title="near copies of tested samples are in train",
    what=(
        "What evaluates has no one to five samples of train near it with a gap around them. Judged "
        "where a loop's variables or datasets hold the samples of both, and where those of train "
        "lie among themselves in the same way."
    ),
    why=(
        "Changed copies were made first, or several samples cut from one recording, and divided "
        "afterwards: the answer was trained on, changed a little."
    ),
    fix="Divide first; change copies of train afterwards.",
    example=watched(
        "loss(model(x), y)",
        before=(
            "several = torch.cat([inputs, inputs + 0.01 * torch.randn_like(inputs)])\n"
            "several = several[torch.randperm(len(several))]\n"
            "x_train, x_test = several[:80], several[80:]\n"
        ),
    ),
)

S10 = Contract(
    "QL-S10",
    title="a sample is in two splits",
    what="The rows of any two splits have nothing in common.",
    why="What is tested was trained on.",
    fix="Give every row one split.",
    predicts=("QL-S03", "QL-B11", "QL-E*"),
    example=(
        "from quadlib import Subject, diagnose\n\n"
        'diagnosis = diagnose(Subject(labels=[0, 1] * 20, splits={"train": range(30), "val": '
        "range(28, 40)}))"
    ),
)

S11 = Contract(
    "QL-S11",
    title="a class has one sample in train",
    what=(
        "Every class of train has two samples, or the sampler is told what to do with it "
        '(rare="drop" or "oversample").'
    ),
    why="Its anchor has no positive in any batch, and is only ever pushed away.",
    fix="Bring more samples, leave the class out, or repeat it knowingly.",
    predicts=("QL-B13",),
    example=(
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=["a", "b"] '
        '* 20 + ["c"]))'
    ),
)

S12 = Contract(
    "QL-S12",
    title="a split is empty or points outside the table",
    what="There is a split named train, none is empty, and all rows exist.",
    why="What follows is judged on nothing, or on other rows than was meant.",
    fix="Make the split again from the table as it is.",
    predicts=("QL-B*", "QL-P*", "QL-E*"),
    example=(
        "from quadlib import Subject, diagnose\n\n"
        'diagnosis = diagnose(Subject(labels=[0, 1] * 20, splits={"train": range(40), "val": []}))'
    ),
)

S13 = Contract(
    "QL-S13",
    title="the inputs were scaled by what is tested too",
    what=(
        "Mean and deviation, or lowest and highest value, that the inputs were scaled by are those "
        "of train. Judged where the loop's variables hold the samples of both: over all together "
        "every column has mean 0 and variance 1, or runs from 0 to 1, and over those of train not. "
        "A note where train is less than a quarter of a standard deviation, or of the range, off."
    ),
    why=(
        "What is tested has taken part in the preparation: the score is not that of samples which "
        "are met for the first time. With few samples or groups that differ it is far too good."
    ),
    fix="Divide first; fit the scaler on train, and apply it to the other parts.",
    example=watched(
        "loss(model(x), y)",
        before=(
            "series = inputs.sort(0).values\n"
            "series = (series - series.mean(0)) / series.std(0)\n"
            "x_train, x_test = series[:48], series[48:]\n"
        ),
    ),
)

"""The codes of the split stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.data import END, TABLE
from quadlib.diagnosis.entry import Entry

ENTRIES: dict[str, Entry] = {
    "QL-S01": Entry(
        "the train split holds one class",
        "The table has several classes and train one of them.",
        "Every batch is then of one class, whose floor is its plateau: the loss is ln(N - 1) for "
        "ever, 2.7081 at batch size 16. Batch size, sampler and learning rate are blamed in turn, "
        "and none of them can change it.",
        "Split by class and session.",
        """
import numpy as np
from quadlib import Subject, diagnose

labels = np.sort(np.arange(480) % 12)
splits = np.where(np.arange(480) < 40, "train", "val")
diagnosis = diagnose(Subject(labels=labels, splits=splits, settings={"batch_size": 16}))
""".lstrip(),
    ),
    "QL-S02": Entry(
        "a class is tested that was never trained on",
        "Every class of val and test has samples in train (unless the protocol is one_class).",
        "Its recall is 0 whatever is learned, and the mean over classes is bounded by that.",
        "Stratify the split, or leave the class out of the evaluation and say so.",
        """
import numpy as np
from quadlib import Subject, diagnose

labels = np.arange(120) % 6
splits = np.where((np.arange(120) < 80) & (labels != 5), "train", "val")
diagnosis = diagnose(Subject(labels=labels, splits=splits))
""".lstrip(),
    ),
    "QL-S03": Entry(
        "copies of tested samples are in train",
        "No content is in two splits, whatever the ids say. Before training, files are "
        "compared by size, head and tail; with deep=True whole.",
        "These samples are answered by memory, and the score is too high by up to their share.",
        "Delete the copies from train; evaluate again.",
        TABLE
        + 'frame["split"] = ["train"] * 120 + ["val"] * 40\nfor array in arrays.values():\n    '
        "array[120:140] = array[:20]\n" + END,
    ),
    "QL-S04": Entry(
        "a session is in two splits",
        "All samples of a session, subject or device run lie in one split.",
        "Samples of one session share more than their class: light, place, operator. A random "
        "split of them scores far above what a new session would give.",
        "Divide whole groups.",
        TABLE + 'frame["group"] = [f"session {row // 8}" for row in range(160)]\nframe["split"] = '
        '["train", "train", "train", "val"] * '
        "40\n" + END,
    ),
    "QL-S05": Entry(
        "overlapping windows are in two splits",
        "Windows [start, end) of one recording that lie in different splits share no sample.",
        "Windows were cut first and divided afterwards: a part of what is tested was trained on, "
        "sample by sample.",
        "Divide recordings first, cut windows afterwards.",
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
""".lstrip(),
    ),
    "QL-S10": Entry(
        "a sample is in two splits",
        "The rows of any two splits have nothing in common.",
        "What is tested was trained on.",
        "Give every row one split.",
        "from quadlib import Subject, diagnose\n\n"
        'diagnosis = diagnose(Subject(labels=[0, 1] * 20, splits={"train": range(30), "val": '
        "range(28, 40)}))",
    ),
    "QL-S11": Entry(
        "a class has one sample in train",
        "Every class of train has two samples, or the sampler is told what to do with it "
        '(rare="drop" or "oversample").',
        "Its anchor has no positive in any batch, and is only ever pushed away.",
        "Bring more samples, leave the class out, or repeat it knowingly.",
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=["a", "b"] '
        '* 20 + ["c"]))',
    ),
    "QL-S12": Entry(
        "a split is empty or points outside the table",
        "There is a split named train, none is empty, and all rows exist.",
        "What follows is judged on nothing, or on other rows than was meant.",
        "Make the split again from the table as it is.",
        "from quadlib import Subject, diagnose\n\n"
        'diagnosis = diagnose(Subject(labels=[0, 1] * 20, splits={"train": range(40), "val": []}))',
    ),
}

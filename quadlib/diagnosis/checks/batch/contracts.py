"""The contracts of the batch stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.contract import Contract

LABELS = """
import numpy as np
from quadlib import Subject, diagnose

random = np.random.default_rng(0)
labels = np.repeat(np.arange(12), 48)
""".lstrip()

B01 = Contract(
    "QL-B01",
    title="batches hold one class, although train has several",
    what=(
        "Given the labels of train, the batches must be likely: P(one-class batch of 32 | 12 "
        "classes of 48) is about 1e-42."
    ),
    why=(
        "The floor of a one-class batch is its plateau, so the loss stays at ln(N - 1), the same "
        "number as with a one-class split; here the split is fine and the sampler is not."
    ),
    fix="Draw batches with StratifiedBatchSampler.",
    predicts=(
        "QL-B02",
        "QL-B03",
        "QL-B12",
        "QL-B13",
        "QL-M*",
        "QL-N*",
        "QL-P*",
        "QL-O01",
        "QL-O02",
        "QL-E*",
    ),
    example=(
        LABELS + "batches = [random.permutation(np.flatnonzero(labels == code))[:32] for code in "
        "random.permutation(12)]\n"
        "diagnosis = diagnose(Subject(labels=labels, batch_sampler=batches))"
    ),
)

B02 = Contract(
    "QL-B02",
    title="many anchors have no positive in their batch",
    what=(
        "The share of lone anchors in the drawn batches, beside the share that the hypergeometric "
        "law predicts for random batches of that size. Where both agree, the sampler does what it "
        "says and the choice is poor."
    ),
    why=(
        "A lone anchor contributes no gradient of its own. Depending on the loss it is left out, "
        "counted as 0, or gives NaN."
    ),
    fix="StratifiedBatchSampler with min_per_class=2; or larger batches.",
    predicts=("QL-B13", "QL-N03", "QL-N10", "QL-P*", "QL-O*", "QL-E10"),
    example=(
        LABELS + "batches = random.permutation(576).reshape(-1, 4)\ndiagnosis = "
        "diagnose(Subject(labels=labels, batch_sampler=batches))"
    ),
)

B03 = Contract(
    "QL-B03",
    title="a part of train is never drawn",
    what=(
        "Three epochs are drawn from a copy of the sampler; rows still unseen are compared with n "
        "(1 - m/n)^3, class by class."
    ),
    why="The network never sees these samples, and no error says so.",
    fix="Shuffle every epoch and draw the whole split; check the sampler's length and set_epoch.",
    predicts=("QL-B12", "QL-E10"),
    example=(
        LABELS + "batches = random.permutation(576)[:320].reshape(-1, 32)\ndiagnosis = "
        "diagnose(Subject(labels=labels, "
        "batch_sampler=batches))"
    ),
)

B04 = Contract(
    "QL-B04",
    title="a batch carries the labels of other rows",
    what=(
        "The labels of a batch are those of its rows, by the index that the batch carries or by "
        "asking the dataset for rows that were drawn."
    ),
    why=(
        "Labels kept from an earlier batch or order are as good as shuffled, although the table "
        "is right."
    ),
    fix="Return the label together with its sample from the dataset.",
    predicts=("QL-B01", "QL-B02", "QL-M*", "QL-P*", "QL-E*"),
    example=(
        LABELS
        + """import torch
from torch.utils.data import DataLoader, TensorDataset

loader = DataLoader(
    TensorDataset(torch.randn(576, 8), torch.as_tensor(labels).roll(100)),
    batch_size=32,
    shuffle=True,
)
diagnosis = diagnose(Subject(labels=labels, loader=loader))"""
    ),
)

B05 = Contract(
    "QL-B05",
    title="the loader does not shuffle",
    what=(
        "The drawn rows are in order. An error where the class changes far less often along them "
        "than by chance; a note where classes are mixed."
    ),
    why=(
        "Rows sorted by class give one-class batches, so the loss jumps between plateaus in the "
        "rhythm of the classes."
    ),
    fix="shuffle=True, or StratifiedBatchSampler.",
    predicts=(
        "QL-B01",
        "QL-B02",
        "QL-B03",
        "QL-B12",
        "QL-B13",
        "QL-M*",
        "QL-N*",
        "QL-P*",
        "QL-O01",
        "QL-O02",
        "QL-E*",
    ),
    example=(
        LABELS
        + "batches = np.arange(576).reshape(-1, 32)\ndiagnosis = diagnose(Subject(labels=labels, "
        "batch_sampler=batches))"
    ),
)

B06 = Contract(
    "QL-B06",
    title="a batch holds one sample",
    what=(
        "No batch is of size 1; it is one when the number of samples modulo the batch size is "
        "1 and drop_last is off."
    ),
    why=(
        "There is no positive and no negative: the loss is NaN or 0 once per epoch, and batch "
        "normalisation raises."
    ),
    fix="drop_last=True, or StratifiedBatchSampler.",
    predicts=("QL-B02", "QL-B13", "QL-M*", "QL-N*", "QL-P*", "QL-O01", "QL-O02", "QL-E*"),
    example=(
        LABELS + "order = random.permutation(545)\n"
        "batches = [order[start:start + 32] for start in range(0, 545, 32)]\n"
        "diagnosis = diagnose(Subject(labels=labels, batch_sampler=batches))"
    ),
)

B07 = Contract(
    "QL-B07",
    title="random changes repeat between workers or epochs",
    what=(
        "Two fresh copies of the dataset, with the global generators seeded differently, stand "
        "for two workers or two epochs; what they draw for the same samples must differ."
    ),
    why=(
        "A generator kept in the dataset is copied into every worker, which then draw the same "
        "numbers, again in every epoch: the augmentation is much weaker than it looks."
    ),
    fix="Seed from (seed, epoch, sample), or draw from torch's generator.",
    example=(
        LABELS
        + """import torch
from torch.utils.data import DataLoader, Dataset

class Noisy(Dataset):
    def __init__(self):
        self.random = np.random.default_rng(0)
    def __len__(self):
        return 576
    def __getitem__(self, row):
        return torch.as_tensor(self.random.normal(size=8)), int(labels[row])

loader = DataLoader(Noisy(), batch_size=32, shuffle=True, num_workers=2)
diagnosis = diagnose(Subject(labels=labels, loader=loader), phases=["batch"])"""
    ),
)

B10 = Contract(
    "QL-B10",
    title="an epoch has no batches, or empty ones",
    what="The batch sampler yields batches, each with a row.",
    why=(
        "Nothing is trained on. A generator object is empty when it is iterated a second time; "
        "drop_last drops everything when the batch is larger than the split."
    ),
    fix="Give an object whose __iter__ starts again.",
    predicts=("QL-B12", "QL-B13", "QL-P*", "QL-O*", "QL-E*"),
    example=(LABELS + "diagnosis = diagnose(Subject(labels=labels, batch_sampler=[]))"),
)

B11 = Contract(
    "QL-B11",
    title="the sampler draws rows that are not in train",
    what="Every drawn index is a row of the table, and of the train split.",
    why=(
        "Samples of val or test are trained on, although the split is right; or the sampler "
        "was made for another dataset."
    ),
    fix="Make the sampler from the rows of train, and map its numbers to them.",
    predicts=("QL-B12", "QL-P*", "QL-E*"),
    example=(
        LABELS + 'splits = np.where(random.random(576) < 0.5, "train", "val")\n'
        "diagnosis = diagnose(Subject(labels=labels, splits=splits, "
        "batch_sampler=random.permutation(576).reshape(-1, 32)))"
    ),
)

B12 = Contract(
    "QL-B12",
    title="len of the sampler is not what it yields",
    what=(
        "An epoch holds as many batches as len says. torch lets len be an estimate: it is an alarm "
        "only where a schedule is a multiple of it."
    ),
    why="Schedules are computed from len: warm-up and decay end at the wrong step.",
    fix="Return the number of batches from __len__.",
    predicts=("QL-O05",),
    example=(
        LABELS
        + """class Sampler:
    def __len__(self):
        return 576
    def __iter__(self):
        return iter(np.random.permutation(576).reshape(-1, 32))

diagnosis = diagnose(Subject(labels=labels, batch_sampler=Sampler()))"""
    ),
)

B13 = Contract(
    "QL-B13",
    title="the sampler breaks the rules it declares",
    what=(
        "Where the sampler, or a mapping of settings, declares batch_size, min_classes or "
        "min_per_class, the drawn batches keep them."
    ),
    why="What relies on the rules (a floor, a schedule, a loss without a guard) is wrong then.",
    fix="Use a sampler that keeps it, and raises where it cannot.",
    predicts=("QL-P10", "QL-P11", "QL-E10"),
    example=(
        LABELS + "batches = random.permutation(576).reshape(-1, 32)\n"
        "diagnosis = diagnose(Subject(labels=labels, batch_sampler=batches, "
        'settings={"min_per_class": 2, "min_classes": 2}))'
    ),
)

B14 = Contract(
    "QL-B14",
    title="a batch repeats a row",
    what=(
        "Rows of a batch are distinct, unless oversampling is declared. A note: sampling with "
        "replacement does this on purpose."
    ),
    why=(
        "A copy of the anchor is a positive that is found without learning, unless augmentation "
        "tells the two apart."
    ),
    fix="Draw without replacement inside a batch.",
    predicts=("QL-B20", "QL-P10"),
    example=(
        LABELS
        + "diagnosis = diagnose(Subject(labels=labels, batch_sampler=random.integers(0, 576, (18, "
        "32))))"
    ),
)

"""The codes of the batch stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.pipeline import watched
from quadlib.diagnosis.entry import Entry

LABELS = """
import numpy as np
from quadlib import Subject, diagnose

random = np.random.default_rng(0)
labels = np.repeat(np.arange(12), 48)
""".lstrip()

ENTRIES: dict[str, Entry] = {
    "QL-B01": Entry(
        "batches hold one class, although train has several",
        "Given the labels of train, the batches must be likely: P(one-class batch of 32 | 12 "
        "classes of 48) is about 1e-42.",
        "The floor of a one-class batch is its plateau, so the loss stays at ln(N - 1), the same "
        "number as with a one-class split; here the split is fine and the sampler is not.",
        "Draw batches with StratifiedBatchSampler.",
        LABELS + "batches = [random.permutation(np.flatnonzero(labels == code))[:32] for code in "
        "random.permutation(12)]\n"
        "diagnosis = diagnose(Subject(labels=labels, batch_sampler=batches))",
    ),
    "QL-B02": Entry(
        "many anchors have no positive in their batch",
        "The share of lone anchors in the drawn batches, beside the share that the hypergeometric "
        "law predicts for random batches of that size. Where both agree, the sampler does what it "
        "says and the choice is poor.",
        "A lone anchor contributes no gradient of its own. Depending on the loss it is left out, "
        "counted as 0, or gives NaN.",
        "StratifiedBatchSampler with min_per_class=2; or larger batches.",
        LABELS + "batches = random.permutation(576).reshape(-1, 4)\ndiagnosis = "
        "diagnose(Subject(labels=labels, batch_sampler=batches))",
    ),
    "QL-B03": Entry(
        "a part of train is never drawn",
        "Three epochs are drawn from a copy of the sampler; rows still unseen are compared with n "
        "(1 - m/n)^3, class by class.",
        "The network never sees these samples, and no error says so.",
        "Shuffle every epoch and draw the whole split; check the sampler's length and set_epoch.",
        LABELS + "batches = random.permutation(576)[:320].reshape(-1, 32)\ndiagnosis = "
        "diagnose(Subject(labels=labels, "
        "batch_sampler=batches))",
    ),
    "QL-B04": Entry(
        "a batch carries the labels of other rows",
        "The labels of a batch are those of its rows, by the index that the batch carries or by "
        "asking the dataset for rows that were drawn.",
        "Labels kept from an earlier batch or order are as good as shuffled, although the table "
        "is right.",
        "Return the label together with its sample from the dataset.",
        LABELS
        + """import torch
from torch.utils.data import DataLoader, TensorDataset

loader = DataLoader(
    TensorDataset(torch.randn(576, 8), torch.as_tensor(labels).roll(100)),
    batch_size=32,
    shuffle=True,
)
diagnosis = diagnose(Subject(labels=labels, loader=loader))""",
    ),
    "QL-B05": Entry(
        "the loader does not shuffle",
        "The drawn rows are in order. An error where the class changes far less often along them "
        "than by chance; a note where classes are mixed.",
        "Rows sorted by class give one-class batches, so the loss jumps between plateaus in the "
        "rhythm of the classes.",
        "shuffle=True, or StratifiedBatchSampler.",
        LABELS
        + "batches = np.arange(576).reshape(-1, 32)\ndiagnosis = diagnose(Subject(labels=labels, "
        "batch_sampler=batches))",
    ),
    "QL-B06": Entry(
        "a batch holds one sample",
        "No batch is of size 1; it is one when the number of samples modulo the batch size is "
        "1 and drop_last is off.",
        "There is no positive and no negative: the loss is NaN or 0 once per epoch, and batch "
        "normalisation raises.",
        "drop_last=True, or StratifiedBatchSampler.",
        LABELS + "order = random.permutation(545)\n"
        "batches = [order[start:start + 32] for start in range(0, 545, 32)]\n"
        "diagnosis = diagnose(Subject(labels=labels, batch_sampler=batches))",
    ),
    "QL-B07": Entry(
        "random changes repeat between workers or epochs",
        "Two fresh copies of the dataset, with the global generators seeded differently, stand "
        "for two workers or two epochs; what they draw for the same samples must differ.",
        "A generator kept in the dataset is copied into every worker, which then draw the same "
        "numbers, again in every epoch: the augmentation is much weaker than it looks.",
        "Seed from (seed, epoch, sample), or draw from torch's generator.",
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
diagnosis = diagnose(Subject(labels=labels, loader=loader), phases=["batch"])""",
    ),
    "QL-B10": Entry(
        "an epoch has no batches, or empty ones",
        "The batch sampler yields batches, each with a row.",
        "Nothing is trained on. A generator object is empty when it is iterated a second time; "
        "drop_last drops everything when the batch is larger than the split.",
        "Give an object whose __iter__ starts again.",
        LABELS + "diagnosis = diagnose(Subject(labels=labels, batch_sampler=[]))",
    ),
    "QL-B11": Entry(
        "the sampler draws rows that are not in train",
        "Every drawn index is a row of the table, and of the train split.",
        "Samples of val or test are trained on, although the split is right; or the sampler "
        "was made for another dataset.",
        "Make the sampler from the rows of train, and map its numbers to them.",
        LABELS + 'splits = np.where(random.random(576) < 0.5, "train", "val")\n'
        "diagnosis = diagnose(Subject(labels=labels, splits=splits, "
        "batch_sampler=random.permutation(576).reshape(-1, 32)))",
    ),
    "QL-B12": Entry(
        "len of the sampler is not what it yields",
        "An epoch holds as many batches as len says.",
        "Schedules are computed from len: warm-up and decay end at the wrong step.",
        "Return the number of batches from __len__.",
        LABELS
        + """class Sampler:
    def __len__(self):
        return 576
    def __iter__(self):
        return iter(np.random.permutation(576).reshape(-1, 32))

diagnosis = diagnose(Subject(labels=labels, batch_sampler=Sampler()))""",
    ),
    "QL-B13": Entry(
        "the sampler breaks the rules it declares",
        "Where the sampler, or a mapping of settings, declares batch_size, min_classes or "
        "min_per_class, the drawn batches keep them.",
        "What relies on the rules (a floor, a schedule, a loss without a guard) is wrong then.",
        "Use a sampler that keeps it, and raises where it cannot.",
        LABELS + "batches = random.permutation(576).reshape(-1, 32)\n"
        "diagnosis = diagnose(Subject(labels=labels, batch_sampler=batches, "
        'settings={"min_per_class": 2, "min_classes": 2}))',
    ),
    "QL-B14": Entry(
        "a batch repeats a row",
        "Rows of a batch are distinct, unless oversampling is declared. A note: sampling with "
        "replacement does this on purpose.",
        "A copy of the anchor is a positive that is found without learning, unless augmentation "
        "tells the two apart.",
        "Draw without replacement inside a batch.",
        LABELS
        + "diagnosis = diagnose(Subject(labels=labels, batch_sampler=random.integers(0, 576, (18, "
        "32))))",
    ),
    "QL-B20": Entry(
        "copies of a positive are among the negatives",
        "Rows that an in-batch softmax sets against each other are equal, value for value.",
        "What is pulled to the positive is pushed from its copy: the loss cannot fall below "
        "ln of the copies. Seen in sentence-transformers issue 3189.",
        "Draw batches without duplicates, or mask equal columns out of the softmax.",
        watched(
            "cross_entropy(model(x) @ model.eval()(x).T / 0.1, torch.arange(len(x)))",
            before=(
                "inputs[1::2] = inputs[::2]\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        ),
    ),
}

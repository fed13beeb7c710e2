"""The codes of the labels stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.data import END, TABLE
from quadlib.diagnosis.catalogue.pipeline import watched
from quadlib.diagnosis.entry import Entry

ENTRIES: dict[str, Entry] = {
    "QL-L01": Entry(
        "no modality depends on the label, while they depend on each other",
        "A permutation test of the distance covariance: shuffled labels lose their link to every "
        "modality at once, and leave the links between modalities as they were. A task that the "
        "modalities carry no information about looks alike, so both are named.",
        "The loss still falls, since single samples can be memorised; validation stays "
        "at chance. No rule on a single loss curve tells it.",
        "Find where labels and files are joined; join by id, never by position.",
        TABLE + 'frame["label"] = random.permutation(frame["label"])\n' + END,
    ),
    "QL-L02": Entry(
        "labels contradict what the samples show",
        "Two observations. The nearest neighbours of a sample name one class in every "
        "modality, and it is not its own; or the class that ids and paths spell is another one "
        "than the label says.",
        "Learning slows down and neighbours are impure; the score is limited by the labels, not "
        "by the model.",
        "Look at the named samples first, and have them labelled again.",
        TABLE.replace("* 3 +", "* 6 +")
        + 'frame.loc[::3, "label"] = random.permutation(frame.loc[::3, "label"].to_numpy())\n'
        + END,
    ),
    "QL-L04": Entry(
        "a unique id is used as the label",
        "Almost every class of train holds a single sample, and there is one view of each.",
        "No anchor has a positive in any batch: the loss is 0, or NaN, from the first step on.",
        "Put the class into the label column and the id into sample_id.",
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=[f"r{row}" '
        "for row in range(64)]))",
    ),
    "QL-L06": Entry(
        "a class has different indices in different splits",
        "Names and indices of classes correspond one to one, and in the same way in every split.",
        "Training is fine and validation near 0, in a systematic way: an empty class folder in "
        "one split moves all indices behind it.",
        "Make one class list from the whole table and use it for every split.",
        TABLE
        + 'frame["split"] = ["train", "val"] * 80\nframe["label"] = [f"class {code}" for code in '
        "np.arange(160) // 2 % 4]\n"
        'frame["class_index"] = np.where(frame["split"] == "train", np.arange(160) // 2 % 4, '
        "(np.arange(160) // 2 + 1) % 4)\n" + END,
    ),
    "QL-L10": Entry(
        "one sample has several labels",
        "Rows that hold the same content in every modality have the same label.",
        "The loss pulls the two apart and finds them at distance 0; at most one of the labels is "
        "right.",
        "Decide which one, and delete the other rows.",
        TABLE + "for array in arrays.values():\n    array[41] = array[40]\n" + END,
    ),
    "QL-L11": Entry(
        "one class is spelled in several ways",
        "Two labels are equal but for case, blanks, hyphens or leading zeros.",
        "Samples of one class are taken as negatives of each other, and the rarer spelling has "
        "few positives.",
        "Strip and lower the labels before anything else reads them.",
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=["good", '
        '"crack", "Crack "] * 8))',
    ),
    "QL-L12": Entry(
        "the labels that are trained on are not those of the table",
        "Where the subject gives labels beside a table, or the table a column of indices, each "
        "class has one index.",
        "Labels were taken before the table was sorted or filtered: they are those of other rows.",
        "Take the labels from the table after its last change.",
        TABLE + "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays), "
        "labels=np.sort(y)))",
    ),
    "QL-L13": Entry(
        "labels are missing, or all the same",
        "Every sample has a label, and they are of two classes or more.",
        "Without a second class the loss stays at ln(N - 1) whatever is changed: there is nothing "
        "to contrast.",
        "Check the column that labels are read from, and the filter in front of it.",
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=["good"] * '
        "64))",
    ),
    "QL-L20": Entry(
        "a loss is given labels and does not use them",
        "The labels of a batch are an argument of the loss module, and no operation leads "
        "from them to its value.",
        "The run is self-supervised without anybody having said so.",
        "Pass the labels on inside the loss, or leave them out of the call.",
        watched(
            "criterion(model(x), y)",
            before=(
                "class Loss(nn.Module):\n"
                "    def forward(self, z, y):\n"
                "        return supcon(z, torch.arange(len(z)) // 2)\n"
                "\n"
                "\n"
                "criterion = Loss()\n"
            ),
        ),
    ),
}

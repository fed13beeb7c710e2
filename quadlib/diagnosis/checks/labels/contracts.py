"""The contracts of the labels stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import END, TABLE, watched
from quadlib.diagnosis.contract import Contract

L01 = Contract(
    "QL-L01",
    title="no modality depends on the label, while they depend on each other",
    what=(
        "A permutation test of the distance covariance: shuffled labels lose their link to every "
        "modality at once, and leave the links between modalities as they were. A task that the "
        "modalities carry no information about looks alike, so both are named."
    ),
    why=(
        "The loss still falls, since single samples can be memorised; validation stays "
        "at chance. No rule on a single loss curve tells it."
    ),
    fix="Find where labels and files are joined; join by id, never by position.",
    predicts=("QL-L02", "QL-L10", "QL-S02", "QL-S11", "QL-M01", "QL-P10", "QL-O01", "QL-E*"),
    example=(TABLE + 'frame["label"] = random.permutation(frame["label"])\n' + END),
)

L02 = Contract(
    "QL-L02",
    title="labels contradict what the samples show",
    what=(
        "Two observations. The nearest neighbours of a sample name one class in every "
        "modality, and it is not its own; or the class that ids and paths spell is another one "
        "than the label says."
    ),
    why=(
        "Learning slows down and neighbours are impure; the score is limited by the labels, not "
        "by the model."
    ),
    fix="Look at the named samples first, and have them labelled again.",
    predicts=("QL-L10", "QL-S02", "QL-S11", "QL-E*"),
    example=(
        TABLE.replace("* 3 +", "* 6 +")
        + 'frame.loc[::3, "label"] = random.permutation(frame.loc[::3, "label"].to_numpy())\n'
        + END
    ),
)

L04 = Contract(
    "QL-L04",
    title="a unique id is used as the label",
    what="Almost every class of train holds a single sample, and there is one view of each.",
    why="No anchor has a positive in any batch: the loss is 0, or NaN, from the first step on.",
    fix="Put the class into the label column and the id into sample_id.",
    predicts=(
        "QL-L01",
        "QL-L02",
        "QL-L10",
        "QL-S02",
        "QL-S11",
        "QL-B01",
        "QL-B02",
        "QL-B04",
        "QL-B13",
        "QL-P*",
        "QL-O*",
        "QL-E*",
    ),
    example=(
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=[f"r{row}" '
        "for row in range(64)]))"
    ),
)

L06 = Contract(
    "QL-L06",
    title="a class has different indices in different splits",
    what="Names and indices of classes correspond one to one, and in the same way in every split.",
    why=(
        "Training is fine and validation near 0, in a systematic way: an empty class folder in "
        "one split moves all indices behind it."
    ),
    fix="Make one class list from the whole table and use it for every split.",
    predicts=("QL-S02", "QL-B04", "QL-E*", "QL-C*"),
    example=(
        TABLE
        + 'frame["split"] = ["train", "val"] * 80\nframe["label"] = [f"class {code}" for code in '
        "np.arange(160) // 2 % 4]\n"
        'frame["class_index"] = np.where(frame["split"] == "train", np.arange(160) // 2 % 4, '
        "(np.arange(160) // 2 + 1) % 4)\n" + END
    ),
)

L10 = Contract(
    "QL-L10",
    title="one sample has several labels",
    what="Rows that hold the same content in every modality have the same label.",
    why=(
        "The loss pulls the two apart and finds them at distance 0; at most one of the labels is "
        "right."
    ),
    fix="Decide which one, and delete the other rows.",
    example=(TABLE + "for array in arrays.values():\n    array[41] = array[40]\n" + END),
)

L11 = Contract(
    "QL-L11",
    title="one class is spelled in several ways",
    what="Two labels are equal but for case, blanks, hyphens or leading zeros.",
    why=(
        "Samples of one class are taken as negatives of each other, and the rarer spelling has "
        "few positives."
    ),
    fix="Strip and lower the labels before anything else reads them.",
    predicts=("QL-L01", "QL-L02", "QL-L06", "QL-S02", "QL-S11"),
    example=(
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=["good", '
        '"crack", "Crack "] * 8))'
    ),
)

L12 = Contract(
    "QL-L12",
    title="the labels that are trained on are not those of the table",
    what=(
        "Where the subject gives labels beside a table, or the table a column of indices, each "
        "class has one index."
    ),
    why="Labels were taken before the table was sorted or filtered: they are those of other rows.",
    fix="Take the labels from the table after its last change.",
    predicts=(
        "QL-L01",
        "QL-L02",
        "QL-L06",
        "QL-S*",
        "QL-B01",
        "QL-B02",
        "QL-B04",
        "QL-B13",
        "QL-P10",
        "QL-E*",
    ),
    example=(
        TABLE + "diagnosis = diagnose(Subject(table=SampleTable(frame, modalities, arrays=arrays), "
        "labels=np.sort(y)))"
    ),
)

L13 = Contract(
    "QL-L13",
    title="labels are missing, or all the same",
    what="Every sample has a label, and they are of two classes or more.",
    why=(
        "Without a second class the loss stays at ln(N - 1) whatever is changed: there is nothing "
        "to contrast."
    ),
    fix="Check the column that labels are read from, and the filter in front of it.",
    predicts=("QL-L*", "QL-S*", "QL-B*", "QL-M*", "QL-N*", "QL-P*", "QL-O*", "QL-E*"),
    example=(
        'from quadlib import Subject, diagnose\n\ndiagnosis = diagnose(Subject(labels=["good"] * '
        "64))"
    ),
)

L20 = Contract(
    "QL-L20",
    title="a loss is given labels and does not use them",
    what=(
        "The labels of a batch are an argument of the loss module, and no operation leads "
        "from them to its value."
    ),
    why="The run is self-supervised without anybody having said so.",
    fix="Pass the labels on inside the loss, or leave them out of the call.",
    predicts=("QL-P13", "QL-P14"),
    example=(
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
        )
    ),
)

L21 = Contract(
    "QL-L21",
    title="rows without a class are trained on as a class",
    what=(
        "-1 says that a row has no class: junk, noise of a clustering, unlabelled. The loss takes "
        "two such rows for a positive pair, or a map of labels has made a class of them."
    ),
    why=(
        "Strangers are drawn together, and what looks like them with them. Seen in fast-reid issue "
        "112."
    ),
    fix="Leave such rows out, or out of the mask of positives, before the labels are numbered.",
    predicts=("QL-L02",),
    example=(
        watched(
            "own(model(x), y)",
            before=(
                "labels[:16] = -1\n"
                "def own(z, y):\n"
                "    mask = (y[:, None] == y).float() * (1 - torch.eye(len(y)))\n"
                "    logits = (z @ z.T / 0.1).masked_fill(torch.eye(len(y)).bool(), -1e9)\n"
                "    return -(mask * logits.log_softmax(1)).sum(1).div(mask.sum(1) + 1e-9).mean()\n"
                "\n"
                "\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16, shuffle=True)\n"
            ),
        )
    ),
)

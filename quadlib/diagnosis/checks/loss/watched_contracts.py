"""The contracts of the loss stage that only a watched loop can break."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
from quadlib.diagnosis.contract import Contract

P20 = Contract(
    "QL-P20",
    title="every row is a positive of itself",
    what="The mask of positives that the loss multiplies with holds its diagonal.",
    why=(
        "The mean over positives contains a constant, and where a softmax leaves the "
        "self-pair out, a term that no training can change."
    ),
    fix="Multiply the mask by 1 - eye(N) before it is counted and summed.",
    predicts=("QL-P06", "QL-P10", "QL-P13", "QL-P21", "QL-P26"),
    example=(
        watched(
            "own(model(x), y)",
            before=(
                "def own(z, y):\n"
                "    logits = z @ z.T / 0.1\n"
                "    mask = (y[:, None] == y).float()\n"
                "    return -(mask * logits.log_softmax(1)).sum(1).div(mask.sum(1)).mean()\n"
                "\n"
                "\n"
            ),
        )
    ),
)

P21 = Contract(
    "QL-P21",
    title="a row competes with itself in the softmax",
    what=(
        "A square table of one set of rows enters the softmax with its diagonal, which is "
        "the largest entry of each row."
    ),
    why="A cosine of 1 in the denominator holds the loss up and flattens the gradient.",
    fix="Set the diagonal to -inf before the softmax.",
    predicts=("QL-P03", "QL-P10", "QL-P22", "QL-P25"),
    example=(
        watched(
            "own(torch.cat([model(v) for v in views(x)]))",
            before=(
                "def own(z):\n"
                "    n = len(z)\n"
                "    return cross_entropy(z @ z.T / 0.1, (torch.arange(n) + n // 2) % n)\n"
                "\n"
                "\n"
            ),
        )
    ),
)

P22 = Contract(
    "QL-P22",
    title="the targets are columns of other rows",
    what=(
        "The targets of an in-batch softmax over a square table are all one number; or, where each "
        "row brings several columns, they point at those that other rows bring."
    ),
    why=(
        "Rows are drawn to strangers. Zeros are right only where each row's positive was moved to "
        "the front column; with K passages a query, one after the other, the positive of query i "
        "is column i * K. Seen in tevatron issue 140."
    ),
    fix="Use torch.arange(N) * K where each row brings K columns and its positive comes first.",
    predicts=("QL-P06", "QL-P10", "QL-O01"),
    example=(
        watched(
            "own(*[model(v) for v in views(x)])",
            before=(
                "def own(a, b):\n"
                "    return cross_entropy(a @ b.T / 0.1, torch.zeros(len(a), dtype=torch.long))\n"
                "\n"
                "\n"
            ),
        )
    ),
)

P23 = Contract(
    "QL-P23",
    title="a temperature that should learn gets no gradient",
    what="A trainable number scales the similarities, but the loss uses a detached copy of it.",
    why="The temperature stays where it began.",
    fix="Use the parameter itself, not .item() or .data of it.",
    example=(
        watched(
            "scaled(*[model(v) for v in views(x)])",
            before=(
                "class Scaled(nn.Module):\n"
                "    def __init__(self):\n"
                "        super().__init__()\n"
                "        self.scale = nn.Parameter(torch.tensor(10.0))\n"
                "\n"
                "    def forward(self, a, b):\n"
                "        return cross_entropy(a @ b.T * self.scale.item(), "
                "torch.arange(len(a)))\n"
                "\n"
                "\n"
                "scaled = Scaled()\n"
            ),
        )
    ),
)

P24 = Contract(
    "QL-P24",
    title="a loss of pairs is given labels of the other convention",
    what=(
        "A logistic loss multiplies similarities by labels 1 and -1, and a binary cross-entropy "
        "takes targets from 0 to 1. The watched one is given 0 for -1, or -1 for 0."
    ),
    why=(
        "A similarity times 0 adds ln 2 whatever the rows are: nothing drives strangers apart. A "
        "target of -1 has no lower bound: the loss falls for ever."
    ),
    fix="For log_sigmoid(labels * logits): labels = 2 * eye(N) - 1. For a cross-entropy: eye(N).",
    predicts=("QL-P06", "QL-P10", "QL-O01"),
    example=(
        watched(
            "own(*[model(v) for v in views(x)])",
            before=(
                "def own(a, b):\n"
                "    logits = a @ b.T * 10 - 10\n"
                "    return -nn.functional.logsigmoid(torch.eye(len(a)) * logits).mean()\n"
                "\n"
                "\n"
            ),
        )
    ),
)

P25 = Contract(
    "QL-P25",
    title="rows are drawn to strangers in place of their own",
    what=(
        "Some compared rows are made of one row of the batch, as two views are. The gradient "
        "drives those apart and draws each row to one that is made of another row of the batch."
    ),
    why=(
        "The mask of positives, or the order of the pairs, is that of another layout: views joined "
        "one after the other have their partner N rows away, views that alternate have it beside "
        "them. The loss falls, and learns nothing of the samples."
    ),
    fix=(
        "Make the mask from the layout that the rows have: torch.cat([a, b]) puts the partner of "
        "row i at i + N, torch.stack([a, b], 1).flatten(0, 1) puts it at i ^ 1."
    ),
    predicts=("QL-P06", "QL-P10", "QL-O01"),
    example=(
        watched(
            "own(torch.cat([model(v) for v in views(x)]))",
            before=(
                "def own(z):\n"
                "    n = len(z)\n"
                "    positive = torch.zeros(n, n)\n"
                "    positive[torch.arange(n), torch.arange(n) ^ 1] = 1\n"
                "    odds = (z @ z.T / 0.1).masked_fill(torch.eye(n).bool(), -1e9).log_softmax(1)\n"
                "    return -(positive * odds).sum(1).mean()\n"
                "\n"
                "\n"
            ),
        )
    ),
)

P26 = Contract(
    "QL-P26",
    title="the labels do not decide which rows are drawn together",
    what=(
        "Labels reach a loss that compares rows, and pairs of one class are drawn together no more "
        "often than pairs of two classes."
    ),
    why=(
        "The mask of positives is not made of these labels in this order: it is all ones, or "
        "was made before rows were sorted, repeated or joined."
    ),
    fix="mask = labels[:, None] == labels[None, :], with labels in the order of the compared rows.",
    predicts=("QL-P06", "QL-P10", "QL-P22", "QL-P25", "QL-O01"),
    example=(
        watched(
            "own(model(x), y)",
            before=(
                "def own(z, y):\n"
                "    n = len(z)\n"
                "    logits = (z @ z.T / 0.1).masked_fill(torch.eye(n).bool(), -1e9)\n"
                "    mask = (0 * y[:, None] == 0 * y).float() - torch.eye(n)\n"
                "    return -(mask * logits.log_softmax(1)).sum(1).div(mask.sum(1)).mean()\n"
                "\n"
                "\n"
            ),
        )
    ),
)

P27 = Contract(
    "QL-P27",
    title="nothing in the loss drives rows apart",
    what=(
        "The loss depends on the models through pairs of rows alone. Every pair that it moves is "
        "drawn together, gradient reaches both sides, and nothing leaves pairs out."
    ),
    why=(
        "Embeddings that are all equal are its minimum. A teacher, a stopped gradient behind a "
        "predictor, a variance term or negatives would prevent that."
    ),
    fix="Add the term of the negatives, or stop the gradient on one side and add a predictor.",
    predicts=("QL-P06", "QL-P10", "QL-P22", "QL-P25", "QL-P26", "QL-O01"),
    example=(
        watched(
            "own(*[model(v) for v in views(x)])",
            before=("def own(a, b):\n    return (a - b).square().sum(1).mean()\n\n\n"),
        )
    ),
)

P28 = Contract(
    "QL-P28",
    title="a cross-entropy is given something else than logits",
    what=(
        "The softmax inside a cross-entropy is given what a softmax, a sigmoid or a ReLU gave, or "
        "it sums over the rows of the batch in place of the classes."
    ),
    why=(
        "Probabilities differ by 1 at most: a softmax of them is nearly even, the loss stays near "
        "ln C and its gradient is small. A ReLU makes every logit below 0 alike."
    ),
    fix=(
        "Hand the last layer's output to the cross-entropy as it is; it holds the softmax, over "
        "dimension 1. Seen in PyTorch forum threads on CrossEntropyLoss after Softmax."
    ),
    predicts=("QL-P10",),
    example=watched("cross_entropy(model(x).softmax(1), y)"),
)

P29 = Contract(
    "QL-P29",
    title="every output is compared with every sample's target",
    what=(
        "Outputs of shape (n, 1) are set against targets of shape (n,), which broadcasting makes "
        "(n, n) of."
    ),
    why=(
        "The best answer is the targets' mean for every sample: the loss falls, and nothing is "
        "learned."
    ),
    fix="Give both one shape: output.squeeze(1), or target[:, None].",
    predicts=("QL-P10",),
    example=watched(
        "(head(model(x)) - y.float()).square().mean()",
        before=(
            "head = nn.Linear(16, 1)\n"
            "optimizer.add_param_group({'params': list(head.parameters())})\n"
        ),
    ),
)

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
    predicts=("QL-P06", "QL-P10", "QL-P13"),
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
    predicts=("QL-P03", "QL-P10"),
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
    predicts=("QL-P10", "QL-O01"),
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

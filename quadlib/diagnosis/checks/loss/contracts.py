"""The contracts of the loss stage: what each asks, why, what its breach predicts, and code that
breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import (
    DIAGNOSE,
    OPTIMISER,
    PIPELINE,
    SHORT,
    STEP,
    SUBJECT,
)
from quadlib.diagnosis.contract import Contract

OWN_LOSS = """
class Loss(nn.Module):
    def forward(self, z, y):
        return {}


loss = Loss()
"""
DECLARED = OPTIMISER + STEP + f"diagnosis = diagnose({SUBJECT}, settings={{'temperature': 0.1}}))\n"

P01 = Contract(
    "QL-P01",
    title="the embeddings have no unit norm",
    what=(
        "SupCon takes rows of unit norm. These have other norms, and three times the rows give "
        "another loss, so the loss does not normalise inside."
    ),
    why=(
        "Similarities then exceed 1/T: the loss rises above its ceiling ln(N-1) + 2/T, overflows, "
        "or is lowered by longer vectors alone."
    ),
    fix=(
        "Normalise over the features before the loss, or take a loss that does. Seen in "
        "SupContrast issues 50, 100 and 104."
    ),
    predicts=(
        "QL-N10",
        "QL-P03",
        "QL-P06",
        "QL-P09",
        "QL-P10",
        "QL-P12",
        "QL-P13",
        "QL-P16",
        "QL-P17",
        "QL-O01",
        "QL-E10",
    ),
    example=(
        PIPELINE + "model, loss = Model(unit=False), supcon\nnn.init.normal_(model.body[4].weight, "
        "std=2.0)\n" + DIAGNOSE
    ),
)

P02 = Contract(
    "QL-P02",
    title="the embeddings are normalised over the wrong axis",
    what=(
        "The norm is 1 over the batch or the views, not over the features, in the model's output "
        "or inside the loss."
    ),
    why=(
        "A row then depends on the others of its batch, and its own norm is anything. Typical for "
        "dim=1 on (N, V, D), or dim=0 on (N, D)."
    ),
    fix="Use dim=-1. Seen in SupContrast issues 10 and 141.",
    predicts=("QL-P*", "QL-O01", "QL-E10"),
    example=(
        PIPELINE + "loss = lambda z, y: supcon(nn.functional.normalize(z, dim=0), y)\n" + DECLARED
    ),
)

P03 = Contract(
    "QL-P03",
    title="the temperature is out of range",
    what=(
        "Below 0.01 the nearest negative alone has weight; above 2 no negative counts more than e "
        "times another."
    ),
    why=(
        "The logits of unit vectors span 2/T. Too low, the gradient jumps from one pair to the "
        "next; too high, it hardly depends on distance at all."
    ),
    fix="Take 0.05 to 0.5.",
    predicts=(
        "QL-P06",
        "QL-P08",
        "QL-P10",
        "QL-P11",
        "QL-P12",
        "QL-P13",
        "QL-P16",
        "QL-P17",
        "QL-O01",
        "QL-O02",
        "QL-E10",
    ),
    example=(SHORT + "diagnosis = diagnose(Subject(loss=SupConLoss(0.001)))\n"),
)

P06 = Contract(
    "QL-P06",
    title="the loss has the wrong sign, or lies below its floor",
    what=(
        "On embeddings of known geometry the loss is a negative multiple of SupCon, or the "
        "history has values under the floor of their batch, which no embeddings reach."
    ),
    why=(
        "Minimising minus SupCon drives positives apart while the curve falls nicely. Progress "
        "above 1 proves a bug, in the loss or in what was logged."
    ),
    fix=(
        "Restore the minus sign before the mean log-probability; log the loss of the batch whose "
        "floor is logged beside it."
    ),
    predicts=("QL-P10", "QL-P13", "QL-P17", "QL-O*", "QL-E10"),
    example=(PIPELINE + "loss = lambda z, y: -supcon(z, y)\n" + DECLARED),
)

P08 = Contract(
    "QL-P08",
    title="the loss is SupCon times a factor",
    what=(
        "The value is a constant multiple: T / base_temperature, a sum over anchors, or a mean "
        "that counts lone anchors."
    ),
    why=(
        "Nothing is wrong with it, but its values, plateau and floor are all multiplied, so they "
        "compare with nobody else's: 6.92 at batch 64 is (0.1/0.07) ln 127."
    ),
    fix=(
        "Divide by the factor before comparing, or set base_temperature to the temperature. Seen "
        "in SupContrast issues 1, 73 and 135."
    ),
    example=(PIPELINE + "loss = SupConLoss(0.1, base_temperature=0.07)\n" + DIAGNOSE),
)

P09 = Contract(
    "QL-P09",
    title="the loss exponentiates in half precision",
    what=(
        "exp is taken in float16 without subtracting the row maximum, and 1/T is above 11.09 = ln "
        "65504."
    ),
    why=(
        "Equal rows have similarity 1/T, whose exponential overflows: the loss is inf or NaN as "
        "soon as two rows come close."
    ),
    fix="Compute the loss in float32, outside autocast.",
    predicts=("QL-N10", "QL-P12", "QL-P13", "QL-O07", "QL-E10", "QL-C02"),
    example=(
        PIPELINE
        + """
def loss(z, y, temperature=0.05):
    logits, same = z.half() @ z.half().T / temperature, (y[:, None] == y).fill_diagonal_(False)
    return (
        -((logits - logits.exp().sum(1, keepdim=True).log()) * same).sum(1).div(same.sum(1)).mean()
    )
""".lstrip()
        + DIAGNOSE
    ),
)

P10 = Contract(
    "QL-P10",
    title="the loss is pinned at the collapse plateau",
    what=(
        "The value stays at s ln(N - 1) of the declared batch, views, processes or micro-batch: "
        "the loss of equal similarities."
    ),
    why=(
        "Equal embeddings give this value whatever the labels, and no gradient. One-class batches "
        "give it too, and there no embedding can do better. It is a symptom: the same number has "
        "several roots."
    ),
    fix=(
        "Look at the labels of one batch. One value: the split or the sampler. Several: the "
        "spread of the embeddings at step 0 and later."
    ),
    predicts=("QL-P11", "QL-E10"),
    example=(
        SHORT + 'diagnosis = diagnose(Subject(history=[2.7081] * 8, settings={"batch_size": 16}))\n'
    ),
)

P11 = Contract(
    "QL-P11",
    title="progress is undefined",
    what=(
        "Every batch holds one class, so floor and plateau are the same value, and progress is 0/0."
    ),
    why="No value of the loss says anything about learning then.",
    fix="Give every batch two classes or more, and every split too.",
    predicts=("QL-E10",),
    example=(SHORT + "diagnosis = diagnose(Subject(history=[{'loss': 2.9, 'classes': 1}] * 5))\n"),
)

P12 = Contract(
    "QL-P12",
    title="the loss is not finite",
    what="A recorded loss, or that of the first trial step, is NaN or infinite.",
    why="Every weight is NaN after the next step, and so is every checkpoint after that.",
    fix=(
        "Find the first tensor that is not finite, in the order samples, embeddings, loss, "
        "gradients."
    ),
    predicts=("QL-N10", "QL-P10", "QL-P16", "QL-O*", "QL-E10"),
    example=(SHORT + "diagnosis = diagnose(Subject(history=[3.1, 2.9, float('nan')]))\n"),
)

P13 = Contract(
    "QL-P13",
    title="the loss is not the formula it claims to be",
    what=(
        "A loss that calls itself SupCon is no constant multiple of it on embeddings of known "
        "geometry, at its own temperature."
    ),
    why=(
        "Typical slips: the anchor among its own positives or in the denominator, a mask of the "
        "wrong batch, epsilon inside the logarithm. Training still runs, towards something else."
    ),
    fix="Compare with quadlib.SupConLoss on the fixtures of its tests.",
    predicts=("QL-P10", "QL-P12", "QL-P14", "QL-E10"),
    example=(
        PIPELINE
        + """
def SupConLoss(z, y, temperature=0.1):
    same = (y[:, None] == y).float()
    return -((z @ z.T / temperature).log_softmax(1) * same).sum(1).div(same.sum(1)).mean()

loss = SupConLoss
""".lstrip()
        + DIAGNOSE
    ),
)

P14 = Contract(
    "QL-P14",
    title="the loss ignores the labels",
    what="Permuting the labels of embeddings that are gathered by label changes nothing.",
    why="Labels that were cached, rebuilt, or are those of another batch cannot be learned.",
    fix="Pass the labels of this batch.",
    predicts=("QL-P10", "QL-E10"),
    example=(
        PIPELINE
        + "def loss(z, y, temperature=0.1):\n    return supcon(z, torch.arange(len(y)) // 2, "
        "temperature)\n\n" + DIAGNOSE
    ),
)

P15 = Contract(
    "QL-P15",
    title="the loss does not depend on the embeddings",
    what="Batches of entirely different embeddings give the same value to six digits.",
    why=(
        "The value is cached, or computed from something else; the curve is flat whatever the "
        "model does."
    ),
    fix="Compute the loss from the embeddings of this step.",
    predicts=("QL-P10", "QL-P13", "QL-P14", "QL-P16", "QL-O02", "QL-O04", "QL-E10"),
    example=(PIPELINE + OWN_LOSS.format("torch.tensor(2.5)") + DIAGNOSE),
)

P16 = Contract(
    "QL-P16",
    title="the loss gives no gradient",
    what="Embeddings that require a gradient receive none from the loss.",
    why=(
        "detach(), item(), numpy() or no_grad between embeddings and loss: the value is right, "
        "and nothing is learned from it."
    ),
    fix="Keep the graph from the embeddings to the loss.",
    predicts=("QL-P10", "QL-O02", "QL-O04", "QL-E10"),
    example=(PIPELINE + OWN_LOSS.format("supcon(z.detach(), y)") + DIAGNOSE),
)

P17 = Contract(
    "QL-P17",
    title="the loss lies above its ceiling",
    what=(
        "No unit embeddings give a loss above ln(N-1) + 2/T, times T / base_temperature where "
        "that is used."
    ),
    why="The rows have no unit norm, or the value is a sum, or it has other terms too.",
    fix="Check the norm of the rows; compare one value with SupConLoss.detail.",
    example=(
        SHORT + 'diagnosis = diagnose(Subject(history=[90.0, 80.0], settings={"batch_size": 16, '
        '"temperature": 0.1}))\n'
    ),
)

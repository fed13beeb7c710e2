"""The contracts of the optimiser stage that only a watched loop can break."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched, watched_on
from quadlib.diagnosis.contract import Contract

O23 = Contract(
    "QL-O23",
    title="updates are lost to the rounding of the weights",
    what=(
        "Weights are held in half precision, and most numbers that receive gradient are after a "
        "step bit for bit what they were."
    ),
    why=(
        "bfloat16 resolves 0.4 % of a number: a smaller step is rounded away, in every step anew. "
        "The loss falls slowly and stays high."
    ),
    fix="Keep the weights in float32 and compute under torch.autocast (mixed precision).",
    predicts=("QL-O02",),
    example=(
        watched(
            "loss(model(x.bfloat16()).float(), y)",
            before=(
                "model.bfloat16()\noptimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)\n"
            ),
        )
    ),
)

O16 = Contract(
    "QL-O16",
    title="the schedule begins anew in every epoch",
    what=(
        "The learning rates of an epoch are those of the epoch before, step by step, and they "
        "change within it; no scheduler that comes back by design is at hand."
    ),
    why=(
        "A counter within the epoch stands where the one of the whole run was meant: warm-up or "
        "decay starts over, and the rate never settles. Seen in MiniGPT-4 pull request 263."
    ),
    fix="Count steps over the whole run: epoch * len(loader) + i.",
    predicts=("QL-P10",),
    example=watched_on().replace(
        "for x, y in loader:\n",
        "for i, (x, y) in enumerate(loader):\n"
        "            optimizer.param_groups[0]['lr'] = 1e-3 * (i + 1) / len(loader)\n",
    ),
)

O17 = Contract(
    "QL-O17",
    title="a scheduler takes better for worse",
    what=(
        "ReduceLROnPlateau waits for a falling figure and is told a score, or for a rising one and "
        "is told a loss, as the names in the call say."
    ),
    why="An epoch that improves counts as a bad one, and the rate is cut while learning goes on.",
    fix="mode='max' for scores, 'min' for losses. Seen in ViS4mer issue 4, fairseq issue 2205.",
    predicts=("QL-O05",),
    example=watched_on(each_epoch="        plateau.step(accuracy := epoch / 16)\n")
    .replace(
        "import quadlib\n",
        "import quadlib\nReduce = torch.optim.lr_scheduler.ReduceLROnPlateau\n",
    )
    .replace("lr=1e-3)\n", "lr=1e-3)\nplateau = Reduce(optimizer, mode='min')\n", 1),
)

O18 = Contract(
    "QL-O18",
    title="a scheduler is never called",
    what="A scheduler was made for a watched optimiser and was not called once in a whole run.",
    why="The rate stays what it was: where it begins with a warm-up, near 0.",
    fix="scheduler.step() after the optimiser's step, or at the end of the epoch, as it was made.",
    predicts=("QL-P10", "QL-O02"),
    example=watched_on().replace(
        "lr=1e-3)\n",
        "lr=1e-3)\nschedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 16)\n",
        1,
    ),
)

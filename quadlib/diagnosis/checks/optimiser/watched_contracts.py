"""The contracts of the optimiser stage that only a watched loop can break."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
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

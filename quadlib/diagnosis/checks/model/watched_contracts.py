"""The contracts of the model stage that only a watched loop can break."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
from quadlib.diagnosis.contract import Contract

N22 = Contract(
    "QL-N22",
    title="requires_grad is set on a module, where it does nothing",
    what=(
        "A module has a plain attribute requires_grad, and its parameters the opposite: torch "
        "reads the parameters' own flags alone."
    ),
    why=(
        "A part that was meant to be frozen is trained, or one that was meant to be opened stays "
        "as it is. Seen in MICCAI23-ProtoContra-SFDA issue 18."
    ),
    fix="module.requires_grad_(True or False), which sets the flag of each parameter.",
    predicts=("QL-N01", "QL-N11"),
    example=watched("loss(model(x), y)", before="model.body.requires_grad = False\n"),
)

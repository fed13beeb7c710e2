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

N23 = Contract(
    "QL-N23",
    title="a layer is given rows that are torn out of several samples",
    what=(
        "A row of a layer's input holds parts of several rows of the batch, while each of these is "
        "spread over several rows: what a reshape leaves where a transpose was meant."
    ),
    why=(
        "The numbers have the right shape and belong to nobody. The layer learns from mixtures, "
        "and what it gives for one sample depends on its neighbours in the batch."
    ),
    fix="Move axes with transpose or permute; reshape only joins or splits neighbouring axes.",
    predicts=("QL-N04", "QL-P06", "QL-P10", "QL-P22", "QL-P25", "QL-P26"),
    example=watched("loss(model(x.reshape(x.shape[::-1]).T), y)"),
)

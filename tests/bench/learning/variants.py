"""Settings that are compared, by their names in TrainSettings where they have one."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Variant:
    """Settings of a run, by their names in TrainSettings where they have one."""

    fused_weight: float = 1.0
    within_weight: float = 0.5
    cross_weight: float = 1.5
    cross_gate: float = 0.05
    cross_entropy_weight: float = 0.0
    temperature: float = 0.1
    same_session: str = "positive"
    dropout: float = 0.1
    modality_dropout: float = 0.0
    fusion_trust: bool = True
    width: int = 96
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    epochs: int = 24
    noise: float = 0.1  # augmentation: standard deviation of what is added to a feature
    masked: float = 0.0  # augmentation: share of features set to their mean
    mixed: float = 0.0  # augmentation: largest share of another recording of the class
    clip: float = math.inf  # normalised features beyond it are brought back to it
    quantiles: bool = False  # features by their rank, normally distributed
    vector_scale: str = "soft"

    def label(self) -> str:
        changed = [
            f"{item.name}={getattr(self, item.name)}"
            for item in fields(self)
            if getattr(self, item.name) != item.default
        ]
        return " ".join(changed) or "defaults"


VARIANTS = {
    "defaults": Variant(),
    "clip 3": Variant(clip=3.0),
    "standard": Variant(vector_scale="standard"),
    "quantiles": Variant(vector_scale="standard", quantiles=True),
    "noise 0": Variant(noise=0.0),
    "noise .3": Variant(noise=0.3),
    "masked .2": Variant(masked=0.2),
    "masked .4": Variant(masked=0.4),
    "mixed .3": Variant(mixed=0.3),
    "mixed .5": Variant(mixed=0.5),
    "masked .2 and temperature .2": Variant(masked=0.2, temperature=0.2),
    "masked .2 and noise .3": Variant(masked=0.2, noise=0.3),
    "dropout .3": Variant(dropout=0.3),
    "view dropout .3": Variant(modality_dropout=0.3),
    "temperature .05": Variant(temperature=0.05),
    "temperature .2": Variant(temperature=0.2),
    "cross 0": Variant(cross_weight=0.0),
    "cross .5": Variant(cross_weight=0.5),
    "cross 3": Variant(cross_weight=3.0),
    "cross 8": Variant(cross_weight=8.0),
    "cross alone": Variant(fused_weight=0.0, within_weight=0.0),
    "within 1": Variant(within_weight=1.0),
    "gate 0": Variant(cross_gate=0.0),
    "gate .2": Variant(cross_gate=0.2),
    "no trust": Variant(fusion_trust=False),
    "cross-entropy .5": Variant(cross_entropy_weight=0.5),
    "sessions ignored": Variant(same_session="ignore"),
    "epochs 12": Variant(epochs=12),
    "epochs 36": Variant(epochs=36),
    "epochs 48": Variant(epochs=48),
    "width 48": Variant(width=48),
    "width 192": Variant(width=192),
    "dropout 0": Variant(dropout=0.0),
    "decay .1": Variant(weight_decay=0.1),
    "rate 1e-3": Variant(learning_rate=1e-3),
    "rate 5e-3": Variant(learning_rate=5e-3),
}

"""What the fusion may read: each modality by how well it alone tells the validation recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.model.fusion import Fusion
from quadlib.model.quad import QuadModel
from quadlib.training.collapse import PLATEAU_PROGRESS
from quadlib.training.objective import QuadObjective

SKILL = "val_skill."
LEAST_SHARE = 0.2


def trust_of(figures: Mapping[str, Any], modalities: Sequence[str]) -> Tensor | None:
    """Trust (M,): 0 for a modality whose skill is at most a fifth of the best one's, 1 for all
    others, since one that is weak alone may complement them.

    None where nothing is known of them: where a skill is missing, no modality has any, or the epoch
    lies on the plateau, where no skill was learned. A modality may have left its own while views of
    noise hold the fused embedding there: then its skill is learned, and trust frees the fusion.
    """
    progress = figures.get("progress")
    own = figures.get("own_progress", {}).values()
    if progress is not None and max([progress, *own]) < PLATEAU_PROGRESS:
        return None
    skills = [figures.get(SKILL + name) for name in modalities]
    if any(value is None for value in skills) or not any(skills):
        return None
    values = torch.tensor(skills, dtype=torch.float32)
    return (values > LEAST_SHARE * values.max()).float()


def own_progress(objective: QuadObjective, modalities: Sequence[str]) -> dict[str, Any]:
    """`own_progress` of each modality, the running mean that its gate goes by; empty where nothing
    is gated.
    """
    if not objective.gated:
        return {}
    return {"own_progress": dict(zip(modalities, objective.progress.tolist(), strict=True))}


def set_trust(model: nn.Module, figures: Mapping[str, Any], modalities: Sequence[str]) -> None:
    """Gives the fusion the trust that an epoch's figures ask for, and marks the modality that it
    leaves alone; all of it where they ask for none, and nothing to a model of another fusion.
    """
    if isinstance(model, QuadModel) and isinstance(model.fusion, Fusion):
        trust = trust_of(figures, modalities)
        trust = torch.ones(len(modalities)) if trust is None else trust
        model.fusion.trust.copy_(trust)
        model.alone.copy_((trust > 0) & (trust.sum() == 1) & (len(modalities) > 1))

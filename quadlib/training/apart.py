"""Whether a model embeds each recording apart from the others of its batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quadlib.config import SettingsError, TrainSettings
from quadlib.training import ranks


def check_rows_apart(model: nn.Module, settings: TrainSettings) -> None:
    """Raises SettingsError where batch normalisation that is not frozen would see a part of the
    batch alone.
    """
    parted = {
        "micro_batch": settings.micro_batch > 0,
        "nproc": settings.nproc > 1 or ranks.world_size() > 1,
    }
    frozen = tuple(f"{name}." for name in getattr(model, "frozen", ()))
    mixing = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not f"{name}.".startswith(frozen)
    ]
    if mixing and any(parted.values()):
        raise SettingsError(
            f"{', '.join(name for name, is_set in parted.items() if is_set)}: the model has batch "
            f"normalisation ({', '.join(mixing[:3])}), whose means would be of a part of the "
            "batch, so that its gradient is not that of the whole; use GroupNorm or LayerNorm, "
            "freeze it, or leave the setting out"
        )

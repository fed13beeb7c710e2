"""Whether a model embeds each recording apart from the others of its batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from quadlib.config import SettingsError


def check_rows_apart(model: nn.Module, why: str) -> None:
    """Raises SettingsError where batch normalisation would see a part of the batch alone, because
    of the setting `why`; frozen, it does no harm.
    """
    frozen = tuple(f"{name}." for name in getattr(model, "frozen", ()))
    mixing = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and not f"{name}.".startswith(frozen)
    ]
    if mixing:
        raise SettingsError(
            f"{why}: the model has batch normalisation ({', '.join(mixing[:3])}), whose means "
            "would be of a part of the batch, so that its gradient is not that of the whole; use "
            "GroupNorm or LayerNorm, freeze it, or leave the setting out"
        )

"""A network made elsewhere of which a part is trained: its last blocks, or low-rank additions to
its linear layers (LoRA, Hu et al. 2021).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.model.encoders.families import Family, Source
from quadlib.model.encoders.features import FeatureEncoder, OrderedFeatureEncoder
from quadlib.model.encoders.frozen import INSTALL, EncoderError


@dataclass(frozen=True)
class Tuning:
    """What of a network is trained: its last `number` blocks, or additions of rank `number`."""

    way: str
    number: int

    @classmethod
    def read(cls, text: str) -> Tuning:
        """From `last:2` or `lora:8`; raises EncoderError."""
        found = re.fullmatch(r"(last|lora):([1-9]\d*)", text)
        if not found:
            raise EncoderError(
                f"{text!r} is no way of training it; write last:2 for its last two blocks, or "
                "lora:8 for additions of rank 8 to its linear layers"
            )
        return cls(found[1], int(found[2]))


class TunedEncoder(nn.Module):
    """Stored inputs of a network to a token: (B, *shape) to (B, width).

    The state of this module holds what is trained alone: frozen weights stay where they came from.
    The network itself is in evaluation mode always, so that it drops nothing out.
    """

    network: Any

    def __init__(
        self,
        source: Source,
        family: Family,
        tuning: Tuning,
        ordered: bool,
        shape: tuple[int, ...],
        width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.source, self.family = source, family
        self.network = source.load().requires_grad_(False)
        if hasattr(self.network, "predictor"):
            self.network.predictor = None  # of V-JEPA 2: it guesses what is hidden
        tune(self.network, tuning)
        self.tuned = frozenset(
            f"network.{name}"
            for name, weight in self.network.named_parameters()
            if weight.requires_grad
        )
        head = OrderedFeatureEncoder if ordered else FeatureEncoder
        with torch.no_grad():
            pieces = self.features(torch.zeros(1, *shape)).shape[1:]
        self.head = head(tuple(pieces), width, dropout)
        self.register_state_dict_post_hook(_keep_trained)
        self.register_load_state_dict_pre_hook(_keep_frozen)

    def features(self, stored: Tensor) -> Tensor:
        """(B, pieces, features)."""
        inputs = self.family.inputs(stored, self.source)
        return self.family.features(self.network, inputs, self.source)

    def forward(self, stored: Tensor) -> Tensor:
        return self.head(self.features(stored))

    def train(self, mode: bool = True) -> TunedEncoder:
        """Training mode for the head alone."""
        super().train(mode)
        self.network.eval()
        return self


def tune(network: Any, tuning: Tuning) -> None:
    """Lets a part of a frozen network be trained. Raises EncoderError."""
    if tuning.way == "lora":
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise EncoderError(f"the package peft is missing: {INSTALL}") from None
        rank = tuning.number
        added = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        inject_adapter_in_model(added, network)
        return
    blocks = max((part for part in network.modules() if isinstance(part, nn.ModuleList)), key=len)
    if tuning.number > len(blocks):
        raise EncoderError(f"it has {len(blocks)} blocks; last:{len(blocks)} trains them all")
    for block in blocks[-tuning.number :]:
        block.requires_grad_(True)


def _keep_trained(module: TunedEncoder, state: dict, prefix: str, metadata: Any) -> None:
    """Takes what is frozen out of a state."""
    for name in module.network.state_dict():
        if f"network.{name}" not in module.tuned:
            del state[f"{prefix}network.{name}"]


def _keep_frozen(module: TunedEncoder, state: dict, prefix: str, *_: Any) -> None:
    """Puts what is frozen, as it is in the module, into a state that is loaded."""
    for name, value in module.network.state_dict().items():
        if f"network.{name}" not in module.tuned:
            state[f"{prefix}network.{name}"] = value

"""What a run minimises, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from quadlib.config.base import Settings
from quadlib.registry import LOSSES


class ObjectiveSettings(Settings):
    """The loss, as a term over the fused embedding, within each modality and across modalities."""

    loss: str = Field("supcon", description="supcon, or a name given to register_loss")
    temperature: float = Field(0.1, gt=0, description="temperature T of every contrastive term")
    loss_variant: Literal["out", "in"] = Field(
        "out", description="L_out or L_in of Khosla et al. 2020"
    )
    same_session: Literal["positive", "ignore"] = Field(
        "positive", description="pairs of one session count as any others, or neither way"
    )
    fused_weight: float = Field(1.0, ge=0, description="weight of the loss on the fused embedding")
    within_weight: float = Field(
        0.5, ge=0, description="weight of the loss within each modality, averaged over them"
    )
    cross_weight: float = Field(
        1.5, ge=0, description="weight of the loss pooled over all modalities' embeddings"
    )
    cross_gate: float = Field(
        0.05,
        ge=0,
        le=1,
        description="own progress from which a modality enters the cross term; 0: at once",
    )
    cross_entropy_weight: float = Field(
        0.0,
        ge=0,
        description="weight of a linear classifier on the fused embedding",
    )

    memory_rows: int = Field(
        0, ge=0, description="earlier fused embeddings that a batch is compared with too; 0: none"
    )
    memory_warmup_batches: int = Field(
        100, ge=0, description="batches before the memory takes part, while embeddings move fast"
    )

    @field_validator("memory_rows")
    @classmethod
    def _memory_has_a_term(cls, value: int, info: ValidationInfo) -> int:
        problems = [
            f"{name} is {info.data[name]!r}, {why}"
            for name, wrong, why in (
                ("loss", lambda name: name != "supcon", "and supcon alone takes a memory"),
                ("same_session", lambda way: way == "ignore", "and a memory keeps no sessions"),
                ("fused_weight", lambda weight: weight == 0, "and the memory is of the fused term"),
            )
            if name in info.data and wrong(info.data[name])
        ]
        if value and problems:
            raise ValueError(f"{'; '.join(problems)}; set memory_rows to 0, or change that")
        return value

    @field_validator("loss")
    @classmethod
    def _loss_is_registered(cls, value: str) -> str:
        # the default is known without loading torch
        return value if value == "supcon" else LOSSES.require(value)

    @field_validator("cross_entropy_weight")
    @classmethod
    def _some_weight(cls, value: float, info: ValidationInfo) -> float:
        if (
            value
            + sum(
                info.data.get(name, 1.0)
                for name in ("fused_weight", "within_weight", "cross_weight")
            )
            == 0
        ):
            raise ValueError(
                "fused, within, cross and cross-entropy weights are all 0 and nothing would be "
                "learned; set one above 0"
            )
        return value


class OptimiserSettings(Settings):
    """AdamW with linear warm-up and cosine decay, both per step."""

    epochs: int = Field(24, ge=1, description="passes over the training split, at most")
    learning_rate: float = Field(2e-3, ge=0, description="peak learning rate")
    encoder_rate_factor: float = Field(
        1.0, ge=0, description="the encoders' learning rate as a factor of the peak rate"
    )
    final_rate_fraction: float = Field(
        0.01, ge=0, le=1, description="learning rate at the last step, as a fraction of the peak"
    )
    warmup_steps: int = Field(40, ge=0, description="optimiser steps of linear warm-up")
    weight_decay: float = Field(
        0.01, ge=0, description="decoupled weight decay; none on biases, norms and tokens"
    )
    clip_norm: float = Field(
        1.0, ge=0, description="largest gradient norm; 0 switches clipping off"
    )
    accumulation_steps: int = Field(
        1, ge=1, description="batches per optimiser step; each keeps its own negatives"
    )
    micro_batch: int = Field(
        0, ge=0, description="recordings in the model at once, the loss is the batch's; 0: all"
    )
    amp: Literal["auto", "off", "bfloat16", "float16"] = Field(
        "auto", description="autocast dtype; auto is bfloat16 on CUDA, off on CPU"
    )
    compile: bool = Field(
        False, description="torch.compile the model: a minute at the start, for long runs on a GPU"
    )

"""Every setting of every stage: one pydantic model a stage; a notebook's parameters are the fields
of one of them.

Stages are base classes with distinct field names, so that a notebook's settings are flat (papermill
injects flat names) and each stage still takes only its own model.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from quadlib.config.base import Settings
from quadlib.config.fault import FaultSettings
from quadlib.config.media import AlignmentSettings as AlignmentSettings
from quadlib.config.media import MediaSettings as MediaSettings
from quadlib.config.media import SeriesSettings as SeriesSettings
from quadlib.config.model import ModelSettings as ModelSettings
from quadlib.registry import LOSSES, SOURCES

MEDIA = "put frames and sound of the recordings that it shows into the report"


def read_fold(text: str) -> tuple[int, int]:
    """Which fold of how many: 2/5 is (2, 5). Raises ValueError."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) > 1):
        raise ValueError("the fold's number and how many there are were expected, such as 2/5")
    return int(part), int(parts)


class RunSettings(Settings):
    """Where a run lives and what makes it repeatable."""

    run: str = Field(
        "",
        description="name of the run folder under outputs; empty makes a new one or takes the "
        "latest",
    )
    outputs: str = Field("", description="outputs folder; empty takes the project's own")
    seed: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="seed of data making, splits, batches, weights and augmentation",
    )


class DataSettings(AlignmentSettings, SeriesSettings):
    """Which recordings, and how they are divided."""

    source: str = Field(
        "weldsim",
        description="weldsim, intel_weld (folder), mfeat, table (file) or one registered",
    )
    path: str = Field(
        "",
        description="folder or file of the recordings; empty takes the source's own",
    )
    size: Literal["tiny", "demo", "full"] = Field(
        "demo", description="how much weldsim makes; other sources are taken whole"
    )
    modalities: list[str] = Field(
        [], description="modalities to use, in this order; empty takes all of the source"
    )
    information: list[str] = Field(
        [], description="columns or arrays that are no modality but kept"
    )
    data_root: str = Field(
        "", description="folder of all files of a table; empty takes the table's own"
    )
    group: list[str] = Field(
        [], description="columns that name the session; empty takes the column group"
    )
    classes: list[str] = Field([], description="classes to use; empty takes all")
    leave_out: list[str] = Field([], description="classes to leave out")
    normal_class: str = Field(
        "", description="class that is no defect, for alarm metrics; empty: the source's own"
    )
    confounds: list[str] = Field(
        [],
        description="columns of how recordings were made, a baseline; empty: the source's",
    )
    single_session: Literal["train", "error", "drop"] = Field(
        "train", description="a class of one session: train alone, refused, left out"
    )
    split: Literal["source", "grouped"] = Field(
        "source",
        description="source keeps the source's own; grouped makes one, no session in two splits",
    )
    fractions: list[float] = Field(
        [0.6, 0.2, 0.2], description="shares of train, val and test when a split is made"
    )
    fold: str = Field(
        "", description="2/5 tests the second of five parts, whole sessions; empty takes split"
    )
    data_seed: int = Field(
        -1, ge=-1, lt=2**31, description="seed of data making alone; -1 takes seed"
    )
    on_damage: Literal["error", "drop_modality"] = Field(
        "error", description="a damaged file stops the run, or its modality is masked and counted"
    )

    @field_validator("source")
    @classmethod
    def _source_is_registered(cls, value: str) -> str:
        return SOURCES.require(value)

    @field_validator("fold")
    @classmethod
    def _fold_is_one_of_several(cls, value: str) -> str:
        if value:
            read_fold(value)
        return value

    @field_validator("fractions")
    @classmethod
    def _fractions_add_up(cls, value: list[float]) -> list[float]:
        if len(value) != 3 or min(value) < 0 or abs(sum(value) - 1) > 1e-6 or value[0] == 0:
            raise ValueError(
                "three shares (train, val, test) that add up to 1 were expected, train above 0"
            )
        return value


class SamplerSettings(Settings):
    """What a batch must hold."""

    batch_size: int = Field(32, ge=2, description="recordings in a batch, at most")
    min_classes: int = Field(2, ge=1, description="classes that every batch holds, at least")
    min_per_class: int = Field(
        2, ge=1, description="distinct recordings of each class that is in a batch, at least"
    )
    rare: Literal["error", "oversample", "drop"] = Field(
        "error", description="what to do with a class smaller than min_per_class"
    )
    balance: Literal["natural", "equal"] = Field(
        "natural", description="classes in proportion to their size, or equally often"
    )
    spread_sessions: bool = Field(
        True, description="a positive from another session for each anchor, where possible"
    )


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


class PlanSettings(SamplerSettings, FaultSettings, DataSettings, RunSettings):
    """Everything that decides what a batch holds."""


class TrainSettings(OptimiserSettings, ObjectiveSettings, ModelSettings, PlanSettings):
    """Everything that 02_train takes: the whole of one training run."""

    views: ClassVar[int] = 1  # embeddings that the trainer makes of a recording, for the doctor

    augment: bool = Field(
        True,
        description="random changes of training recordings, keyed by seed, epoch and recording",
    )
    feature_copies: int = Field(
        0, ge=0, description="shifted copies of photos and videos that frozen encoders read too"
    )
    vector_scale: Literal["soft", "standard"] = Field(
        "soft", description="features of vectors: far values by their logarithm, or as they are"
    )
    monitor: Literal["val_macro_f1", "val_map_at_r", "val_excess"] = Field(
        "val_macro_f1",
        description="picks the best model: kNN macro-F1, MAP@R, or excess loss",
    )
    patience: int = Field(
        12, ge=0, description="epochs without a better monitor before stopping; 0 never stops early"
    )
    refit: bool = Field(
        False,
        description="train anew on train and val, for as many epochs as were best on val",
    )
    on_collapse: Literal["restart", "stop", "continue"] = Field(
        "restart",
        description="on the plateau: restart at a quarter of the rate, stop, continue",
    )
    neighbours: int = Field(5, ge=1, description="neighbours of the kNN validation")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    nproc: int = Field(
        1, ge=1, description="processes that share each batch; on CUDA each has a GPU of its own"
    )
    num_workers: int = Field(
        0, ge=0, description="data loading processes; 0 loads in the training process"
    )
    log_every_steps: int = Field(20, ge=1, description="steps between two progress lines")
    checkpoint_every_seconds: float = Field(
        60.0,
        ge=0,
        description="seconds between saves within an epoch; 0: none by time",
    )
    checkpoint_every_steps: int = Field(
        0, ge=0, description="steps between saves within an epoch; 0: by seconds alone"
    )
    resume: Literal["auto", "never", "always"] = Field(
        "auto",
        description="continue from latest_model.pth: if it is there, never, or it must be there",
    )
    debug: bool = Field(False, description="print the labels of every batch")
    allow: list[str] = Field(
        [], description="codes of findings that may not stop this run, for example QL-S01"
    )


class BatchesSettings(PlanSettings):
    """Everything that 01_batches takes."""

    temperature: float = Field(0.1, gt=0, description="temperature T for the floor of each batch")


class DiagnoseSettings(RunSettings):
    """Everything that 03_diagnose takes; the rest comes from the run."""

    checkpoint: Literal["latest", "best"] = Field(
        "latest", description="which checkpoint is examined"
    )
    deep: bool = Field(False, description="read every file in full for content checks")
    media: bool = Field(False, description=MEDIA)


class CompareSettings(RunSettings):
    """Everything that 05_compare takes; the rest comes from the runs."""

    runs: list[str] = Field([], description="names or folders of the runs to compare")
    measure: Literal["macro_f1", "accuracy"] = Field(
        "macro_f1", description="score by which they are compared"
    )


class CrossvalSettings(RunSettings):
    """Everything that 06_crossval takes; the rest comes from its folds."""


class EvaluateSettings(RunSettings):
    """Everything that 04_evaluate takes; the rest comes from the run."""

    checkpoint: Literal["best", "latest"] = Field(
        "best", description="which checkpoint is evaluated"
    )
    eval_split: Literal["test", "val"] = Field(
        "test", description="split whose recordings are scored"
    )
    neighbours: int = Field(
        5, ge=1, description="neighbours of the kNN classifier, found among the training recordings"
    )
    resamples: int = Field(
        1000, ge=0, description="session bootstrap resamples for the intervals; 0 leaves them out"
    )
    normal_class: str = Field(
        "", description="class that is no defect, for alarm metrics; empty: the run's"
    )
    confounds: list[str] = Field(
        [], description="columns of how recordings were made, a baseline; empty: the run's"
    )
    device: str = Field(
        "", description="auto, cpu, cuda or cuda:N; empty takes the device setting of the run"
    )
    media: bool = Field(False, description=MEDIA)

"""Every setting of every stage: one pydantic model a stage; a notebook's parameters are the fields
of one of them.

Stages are base classes with distinct field names, so that a notebook's settings are flat (papermill
injects flat names) and each stage still takes only its own model.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from quadlib.config.base import Settings
from quadlib.config.fault import FaultSettings
from quadlib.config.media import AlignmentSettings as AlignmentSettings
from quadlib.config.media import MediaSettings as MediaSettings
from quadlib.config.media import SeriesSettings as SeriesSettings
from quadlib.config.model import ModelSettings as ModelSettings
from quadlib.config.objective import ObjectiveSettings as ObjectiveSettings
from quadlib.config.objective import OptimiserSettings as OptimiserSettings
from quadlib.registry import SOURCES

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
    split_seed: int = Field(
        -1, ge=-1, lt=2**31, description="seed of a split or fold that is made; -1 takes seed"
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


class PlanSettings(SamplerSettings, FaultSettings, DataSettings, RunSettings):
    """Everything that decides what a batch holds."""

    @property
    def division_seed(self) -> int:
        """Seed of a split or a fold that is made."""
        return self.split_seed if self.split_seed >= 0 else self.seed


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
    deep: bool = Field(False, description="compare the files of samples however long it takes")
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

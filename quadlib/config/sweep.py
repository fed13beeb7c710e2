"""What a sweep's file holds: which settings vary, and what one run may take of a machine."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from quadlib.config.base import Settings


class LimitSettings(Settings):
    """Limits of each run, and how often one that was killed is started again."""

    threads: int = Field(
        0, ge=0, description="threads of a run; 0 shares the machine's cores among its runs"
    )
    memory_gib: float = Field(
        0.0, ge=0, description="memory of each process of a run, on Linux; 0: no limit"
    )
    timeout_seconds: float = Field(
        0.0, ge=0, description="time of a run from its start to its end; 0: a day a notebook"
    )
    retries: int = Field(
        1, ge=0, description="how often a run that was killed is started again, by one command"
    )


class RangeSettings(Settings):
    """Where a search looks for one setting: between two numbers, or among choices."""

    low: int | float | None = Field(None, description="smallest value")
    high: int | float | None = Field(None, description="largest value")
    log: bool = Field(False, description="search the logarithm, for values over several decades")
    step: int | float | None = Field(None, description="distance of two values; empty: any between")
    choices: list[bool | int | float | str] = Field(
        [], description="single values to choose from, instead of low and high"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> RangeSettings:
        numbers = (self.low, self.high)
        if self.choices:
            if numbers != (None, None) or self.log or self.step is not None:
                raise ValueError("choices stand alone, without low, high, log or step")
            return self
        if self.low is None or self.high is None:
            raise ValueError("low and high, or choices, were expected")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step {self.step} is not above 0")
        return self

    @property
    def ends(self) -> list[Any]:
        """The values between which it looks, or all of them."""
        return self.choices or [self.low, self.high]


class SweepSettings(Settings):
    """The tables of a sweep's file; each is read further by the settings that it is about."""

    notebook: str = Field("02_train", description="name or path of the notebook that trains")
    fixed: dict[str, Any] = Field({}, description="settings that are the same in every run")
    grid: dict[str, Any] = Field({}, description="lists of values, each run with each")
    search: dict[str, Any] = Field({}, description="ranges in which Optuna looks for the best")
    limits: dict[str, Any] = Field({}, description="what each run may take of a machine")

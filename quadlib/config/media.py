"""How files are read and what one recording becomes before the encoders."""

from __future__ import annotations

import codecs
from typing import Literal

from pydantic import Field, field_validator

from quadlib.config.base import Settings


class SeriesSettings(Settings):
    """How files of sensor readings are read where looking does not tell; every default looks."""

    series_encoding: str = Field(
        "", description="of a text log, such as cp932; empty finds Unicode and Western ones"
    )
    series_separator: str = Field(
        "", description="between fields of a text log; empty finds it, blanks takes any"
    )
    series_decimal: Literal["", ".", ","] = Field(
        "", description="decimal sign of a text log; empty finds it"
    )
    series_skip_rows: int = Field(
        0, ge=0, description="lines at the start of a text log that are passed over"
    )
    series_clock: str = Field(
        "",
        description="column of the clock, or date,time; empty finds it; rows counts rows",
    )
    series_dates: Literal["", "day_first", "month_first"] = Field(
        "", description="how 04/06/2023 is read; empty refuses what may be either"
    )
    series_missing: list[str] = Field(
        [], description="words or numbers of a log that are no reading, such as OL"
    )
    series_channels: list[str] = Field(
        [], description="channels of a log to read; empty takes all numbers"
    )
    series_crop: str = Field("", description="channel that cuts a recording to where it is on")
    series_crop_above: float = Field(
        5.0, description="level of the series_crop channel that counts as on"
    )
    series_axes: Literal["", "channels_steps", "steps_channels"] = Field(
        "", description="axes of series in .npy files; empty takes the longer as steps"
    )

    @field_validator("series_encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            codecs.lookup(value or "utf-8")
        except LookupError:
            raise ValueError(
                "a name of an encoding that Python knows was expected, such as cp932, gb18030 or "
                "cp1251"
            ) from None
        return value


class AlignmentSettings(Settings):
    """What of a recording's files counts: where their clocks start, what is hidden, what is
    white.
    """

    clock_offset_s: dict[str, float] = Field(
        {}, description="modality: seconds after the log at which its files start"
    )
    image_mask: list[float] = Field(
        [], description="blanked in photos, shares: [left, top, right, bottom] or corners"
    )

    image_white: int = Field(
        0, ge=0, le=65535, description="white of photos of 16 bits, such as 4095; 0 takes 65535"
    )

    @field_validator("image_mask")
    @classmethod
    def _mask_is_an_area(cls, value: list[float]) -> list[float]:
        odd = len(value) % 2 or len(value) == 2
        if value and (odd or min(value) < 0 or max(value) > 1):
            raise ValueError(
                "left, top, right, bottom of a rectangle, or the corners x1, y1, x2, y2, x3, y3 "
                "and so on of a polygon were expected, each number from 0 to 1"
            )
        return value


class MediaSettings(AlignmentSettings, SeriesSettings):
    """What one recording becomes before the encoders: sizes of the decoded, time-normalised
    arrays.
    """

    video_frames: int = Field(
        8, ge=1, description="time bins of the arc; a bin keeps its mean and its brightest frame"
    )
    video_height_px: int = Field(48, ge=8, description="height of a frame after resizing")
    video_width_px: int = Field(80, ge=8, description="width of a frame after resizing")
    image_views: int = Field(
        2, ge=1, description="photos kept per recording, evenly picked; fewer are repeated"
    )
    image_height_px: int = Field(48, ge=8, description="height of a photo after resizing")
    image_width_px: int = Field(96, ge=8, description="width of a photo after resizing")
    audio_sample_rate_hz: int = Field(
        16000, ge=1000, description="rate to which audio is resampled"
    )
    audio_mel_bins: int = Field(
        48, ge=8, description="mel bands of the spectrogram, absolute level in dB full scale"
    )
    audio_frames: int = Field(
        96, ge=8, description="time bins of the arc; a bin keeps its mean and its loudest spectrum"
    )
    series_steps: int = Field(
        96,
        ge=8,
        description="time steps of the arc to which a sensor series is resampled by its clock",
    )

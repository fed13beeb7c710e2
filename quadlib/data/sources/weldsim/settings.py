"""Switches of the simulated recordings, and what each size means in frames, samples and seconds."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, field_validator

from quadlib.config import Settings, SettingsError

MODALITIES = ("video", "image", "audio", "sensor")
AUDIO_RATE_HZ = 16_000


class WeldSimSettings(Settings):
    """What the simulated cell does apart from welding; every default gives a clean set of ordinary
    difficulty.
    """

    difficulty: float = Field(
        1.0,
        gt=0,
        le=8,
        description="session effect over event strength: 0.25 is easy, 1 ordinary, 4 hard",
    )
    session_mixing: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of each class's sessions whose recordings are spread over the splits, "
        "at least two",
    )
    missing_modality: float = Field(
        0.0, ge=0, le=1, description="share of recordings that lack one modality, any of the four"
    )
    photoless: float = Field(0.01, ge=0, le=1, description="share of recordings without photos")
    time_gaps: float = Field(
        0.0, ge=0, le=1, description="share of sensor files whose clock jumps ahead once, rows lost"
    )
    clock_faults: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of sensor files with duplicated and backward time stamps",
    )
    label_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of recordings booked under another class, part code included",
    )
    sticker_leak: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of recordings whose photo sticker shows the class code, large",
    )
    fixed_length: bool = Field(
        False, description="every record lasts equally long, so that duration gives nothing away"
    )
    sessions_per_class: int = Field(
        0, ge=0, description="sessions of each class, at least 3; 0 takes the size's own"
    )
    recordings_per_session: int = Field(
        0, ge=0, description="recordings of each session; 0 takes the size's own"
    )

    @field_validator("sessions_per_class")
    @classmethod
    def _a_session_for_every_split(cls, value: int) -> int:
        if value in (1, 2):
            raise ValueError(
                "train, val and test each need a session of their own; take at least 3, or 0 for "
                "the size's own"
            )
        return value


@dataclass(frozen=True)
class Geometry:
    """Frames, photos and clocks of one size.

    A weld lasts about 36 s. `time_scale` seconds of the record stand for one second of it: below 1
    the weld is played faster, gas and wire included, and the sensor clock runs as much faster as
    keeps about 100 rows. Video is rendered at `video_render_px` and scaled up before encoding, as a
    soft lens would. On two cores `tiny` takes seconds, `demo` half a minute and 0.24 GB, `full`
    most of an hour and about 13 GB.
    """

    sessions_per_class: int
    recordings_per_session: int
    time_scale: float
    video_px: tuple[int, int]
    video_render_px: tuple[int, int]
    frames_per_s: int
    photo_px: tuple[int, int]
    photos: int
    sensor_rate_hz: tuple[float, float]


GEOMETRIES: dict[str, Geometry] = {
    "tiny": Geometry(4, 2, 1 / 18, (64, 40), (64, 40), 15, (112, 52), 5, (48.0, 52.0)),
    "demo": Geometry(8, 12, 1 / 9, (128, 80), (128, 80), 15, (240, 112), 5, (24.0, 26.0)),
    "full": Geometry(8, 12, 1.0, (960, 600), (240, 150), 30, (2000, 900), 5, (8.6, 9.0)),
}


def geometry_of(size: str, settings: WeldSimSettings) -> Geometry:
    """The size's geometry with the switches' own counts; raises SettingsError on an unknown
    size.
    """
    if size not in GEOMETRIES:
        raise SettingsError(
            f"size: {size!r} is none of {', '.join(GEOMETRIES)}; demo trains in minutes, tiny is "
            "for tests"
        )
    own = GEOMETRIES[size]
    return Geometry(
        settings.sessions_per_class or own.sessions_per_class,
        settings.recordings_per_session or own.recordings_per_session,
        *list(vars(own).values())[2:],
    )

"""A session: one class welded on one morning, with one recipe and one state of every instrument."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quadlib.data.sources.weldsim.classes import CUES, WeldClass
from quadlib.data.sources.weldsim.settings import WeldSimSettings

NOMINAL_DURATION_S = 36.0
# Each instrument is started by hand; the recorder of the sound always a little after the log.
CLOCK_OFFSET_S = 0.8
SOUND_LATER_S, SOUND_LATER_SPREAD_S = 1.33, 0.28
CUE_SPREAD = 0.12
# Set-points leave their published range by so much, as classes are told apart by their welds and
# not by their recipe.
CURRENT_MARGIN_A, VOLTAGE_MARGIN_V, GAS_MARGIN_BAR = 12.0, 1.5, 0.5
SPEED_CPM = (28, 42)


@dataclass(frozen=True)
class Session:
    """Recipe and instrument state shared by the recordings of a session.

    Set-points are what the manifest says; `current_a` and `voltage_v` what the arc then draws.
    Offsets in seconds of weld time; gains in dB; `cues` are the small differences between sessions
    that only look like defects.
    """

    index: int
    weld_class: WeldClass
    folder: str
    date: datetime.date
    first_number: int
    joint: str
    steel: str
    set_current_a: int
    set_voltage_v: float
    set_gas_bar: float
    set_speed_cpm: int
    current_a: float
    voltage_v: float
    duration_s: float
    clock_offset_s: Mapping[str, float]
    cues: Mapping[str, Mapping[str, float]]
    flow_factor: float
    gauge_factor: float
    wire_factor: float
    microphone_gain_db: float
    microphone_tilt: float
    room_noise: float
    resonance_hz: tuple[float, float]
    exposure: float
    light: float
    camera_shift: tuple[float, float]
    camera_zoom: float
    photo_light: float
    photo_tint: tuple[float, float, float]
    plate_grey: float
    bead_grey: float
    grain: float
    photo_shift: float
    ripple: float
    sticker_place: float


def draw_session(
    index: int, number: int, weld_class: WeldClass, seed: int, settings: WeldSimSettings
) -> Session:
    """The session `number` of a class, a pure function of seed, index and settings."""
    rng = np.random.default_rng([seed, index])
    effect = float(np.sqrt(settings.difficulty))
    date = datetime.date(2022, 10, 3) + datetime.timedelta(days=int(rng.integers(0, 170)))
    low, high = weld_class.current_a
    set_current = int(round(rng.uniform(low - CURRENT_MARGIN_A, high + CURRENT_MARGIN_A) / 5) * 5)
    set_voltage = (
        round(
            float(
                rng.uniform(
                    weld_class.voltage_v[0] - VOLTAGE_MARGIN_V,
                    weld_class.voltage_v[1] + VOLTAGE_MARGIN_V,
                )
            )
            * 2
        )
        / 2
    )
    gas_margin = GAS_MARGIN_BAR if max(weld_class.gas_bar) else 0.0
    set_gas = (
        round(
            float(
                rng.uniform(weld_class.gas_bar[0] - gas_margin, weld_class.gas_bar[1] + gas_margin)
            )
            * 5
        )
        / 5
    )
    # What the arc draws follows the set-points only in part: stick-out, joint and earth differ from
    # day to day.
    current = weld_class.median_current_a * (
        1 + 0.35 * (set_current / ((low + high) / 2) - 1) + effect * rng.normal(0, 0.05)
    )
    voltage_middle = sum(weld_class.voltage_v) / 2
    voltage = weld_class.median_voltage_v * (
        1 + 0.25 * (set_voltage / voltage_middle - 1) + effect * rng.normal(0, 0.055)
    )
    duration = weld_class.duration_s + rng.normal(0, 0.7)
    gain = float(np.clip(rng.normal(0, 2.5 * effect), -6 * effect, 6 * effect))
    tint = 1 + effect * rng.normal(0, 0.02, 3)
    dead_encoder = rng.random() < (0.75 if weld_class.name == "overlap" else 0.06)
    name = weld_class.session_names[int(rng.integers(len(weld_class.session_names)))]
    return Session(
        index=index,
        weld_class=weld_class,
        folder=name.format(n=number + 1, date=date.strftime("%m-%d-%y")),
        date=date,
        first_number=int(rng.integers(1, 80)),
        joint=str(rng.choice(weld_class.joints)),
        steel=str(rng.choice(["FE410", "BSK46"])),
        set_current_a=set_current,
        set_voltage_v=set_voltage,
        set_gas_bar=set_gas,
        set_speed_cpm=int(rng.integers(*SPEED_CPM)),
        current_a=float(current),
        voltage_v=float(voltage),
        duration_s=NOMINAL_DURATION_S if settings.fixed_length else float(duration),
        clock_offset_s=_clock_offsets(rng),
        cues={
            modality: {cue: float(effect * rng.normal(0, CUE_SPREAD)) for cue in cues}
            for modality, cues in CUES.items()
        },
        flow_factor=float(np.exp(effect * rng.normal(0, 0.2))),
        gauge_factor=float(np.exp(effect * rng.normal(0, 0.15))),
        wire_factor=0.02 if dead_encoder else float(rng.uniform(0.9, 1.1)),
        microphone_gain_db=gain,
        microphone_tilt=float(np.clip(effect * rng.normal(0, 0.15), -0.6, 0.6)),
        room_noise=float(np.exp(rng.normal(0, 0.5))),
        resonance_hz=(float(rng.uniform(1000, 1600)), float(rng.uniform(2000, 3000))),
        exposure=float(np.exp(effect * rng.normal(0, 0.12))),
        light=float(rng.uniform(0.5, 1.5)),
        camera_shift=(float(effect * rng.normal(0, 0.05)), float(effect * rng.normal(0, 0.03))),
        camera_zoom=float(np.exp(effect * rng.normal(0, 0.1))),
        photo_light=float(np.exp(effect * rng.normal(0, 0.08))),
        photo_tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        plate_grey=float(rng.uniform(95, 130)),
        bead_grey=float(rng.uniform(125, 155)),
        grain=float(rng.uniform(2, 9)),
        photo_shift=float(effect * rng.normal(0, 0.025)),
        ripple=float(rng.uniform(0.5, 1.2)),
        sticker_place=float(rng.uniform(0.05, 0.6)),
    )


def _clock_offsets(rng: np.random.Generator) -> dict[str, float]:
    """What every instrument's clock shows when the weld's is at 0, s; cut so that no arc begins
    before its record.
    """
    video, audio, sensor = rng.normal(0, 1, 3)
    log = float(np.clip(CLOCK_OFFSET_S * sensor, -1.2, 1.2))
    later = SOUND_LATER_S + SOUND_LATER_SPREAD_S * float(np.clip(audio, -2, 2))
    return {
        "video": float(np.clip(CLOCK_OFFSET_S * video, -2, 2)),
        "audio": log - later,
        "sensor": log,
    }

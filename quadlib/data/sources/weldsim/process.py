"""Electrics and gas of one weld on one clock: what the sensor samples, the microphone hears and the
pool's size follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quadlib.data.sources.weldsim.plan import ELECTRICS_STREAM, Recording

STEP_S = 0.05
REFERENCE_POWER_W = 2900.0


@dataclass(frozen=True)
class Process:
    """Smooth physical state on a grid of weld time, s: arc (0 to 1), current A, voltage V, gas flow
    l/min, pressure bar.

    Fast noise belongs to the instruments and is not in here; events that interrupt the current are.
    """

    time_s: np.ndarray
    arc: np.ndarray
    current_a: np.ndarray
    voltage_v: np.ndarray
    flow_l_min: np.ndarray
    pressure_bar: np.ndarray

    def at(self, name: str, time_s: np.ndarray) -> np.ndarray:
        """One of the states, interpolated; beyond the ends it keeps its last value."""
        return np.interp(time_s, self.time_s, getattr(self, name))


def weld(recording: Recording) -> Process:
    """The state of one weld; a pure function of the recording."""
    session = recording.session
    rng = recording.rng(ELECTRICS_STREAM)
    time = np.arange(-3.0, recording.duration_s + 3.0, STEP_S)
    on, off = recording.arc_on_s, recording.arc_off_s
    arc = ((time >= on) & (time < off)).astype(float)
    wander = np.interp(time, np.linspace(time[0], time[-1], 9), rng.normal(0, 0.012, 9))
    current = session.current_a * (1 + rng.normal(0, 0.012)) * (1 + wander)
    voltage = session.voltage_v * (1 + rng.normal(0, 0.012)) * (1 - 0.4 * wander)

    # A sound weld fills its crater: the current falls over the last 2 s. An abrupt stop does not.
    fill = np.clip(1 - recording.cues["sensor"]["abrupt"], 0, 1)
    ending = np.clip((off - time) / 2.0, 0, 1)
    current = current * (1 - 0.55 * fill * (1 - ending))
    holes = recording.shown("hole", "sensor")
    for place, mark in zip(recording.at(holes.place), holes.mark, strict=True):
        dip = np.exp(-0.5 * ((time - place) / 0.35) ** 2)
        current, voltage = (
            current * (1 - min(0.85, 0.55 * mark) * dip),
            voltage * (1 + 0.25 * min(1.0, mark) * dip),
        )
    stubs = recording.shown("stub", "sensor")
    for place, mark in zip(recording.at(stubs.place), stubs.mark, strict=True):
        short = np.exp(-0.5 * ((time - place) / 0.12) ** 2)
        current, voltage = (
            current * (1 + 0.18 * mark * short),
            voltage * (1 - 0.3 * min(2.0, mark) * short),
        )

    flow, pressure = _gas(recording, time)
    return Process(time, arc, arc * current, arc * voltage, flow, pressure)


def _gas(recording: Recording, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flow, l/min, and pressure, bar: the valve opens 1.5 s before the arc and closes 1.5 s after
    it.
    """
    gas_bar = recording.session.set_gas_bar
    opened, closed = recording.arc_on_s - 1.5, recording.arc_off_s + 1.5
    since, after = time - opened, time - closed
    # Overshoot about 3 s after opening: 38 l/min at 4 bar, 11 at 2 bar; then a decay with tau 2 s
    # to 7-10.
    peak = recording.session.flow_factor * np.interp(gas_bar, [0, 2, 4, 5], [0, 11, 38, 46])
    steady = recording.session.flow_factor * np.interp(gas_bar, [0, 2, 3, 4, 5], [0, 7, 8, 9.5, 10])
    rise = np.clip(since / 3.0, 0, 1)
    flow = np.where(
        since < 3,
        peak * rise,
        steady + (peak - steady) * np.exp(-np.clip(since - 3, 0, None) / 2.0),
    )
    flow = np.where(after > 0, flow * np.exp(-np.clip(after, 0, None) / 0.4), flow) * (since > 0)
    gauge = recording.session.gauge_factor
    recovered = 0.25 * (1 - np.exp(-np.clip(since - 1, 0, None) / 12.0))
    open_pressure = gas_bar * np.where(since < 1, 1 - 0.97 * np.clip(since, 0, 1), 0.03 + recovered)
    pressure = np.where(
        after > 0,
        gas_bar * (1 - (1 - recovered) * np.exp(-np.clip(after, 0, None) / 3.0)),
        open_pressure,
    )
    return flow, gauge * np.where(since < 0, gas_bar, pressure)

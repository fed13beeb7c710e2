"""The welding machine's log: six columns on an irregular clock of its own, five channels in
truth.
"""

from __future__ import annotations

import datetime

import numpy as np

from quadlib.data.sources.weldsim.plan import SENSOR_STREAM, Recording
from quadlib.data.sources.weldsim.process import Process
from quadlib.data.sources.weldsim.settings import Geometry

# The trailing blank belongs to the format.
HEADER = (
    "Date,Time,Part No,Pressure,CO2 Weld Flow,Feed,Primary Weld Current,Wire Consumed,Secondary "
    "Weld Voltage,Remarks "
)
WIRE_M_AT_150_A = 1.7
LONGEST_GAP_S = 118.0


def sensor_csv(recording: Recording, process: Process, geometry: Geometry) -> bytes:
    """The whole CSV file, rows of nine fields under ten names as the machine writes them."""
    rng = recording.rng(SENSOR_STREAM)
    elapsed = _clock(recording, geometry, rng)
    weld_time = elapsed / geometry.time_scale - recording.session.clock_offset_s["sensor"]
    current, voltage = _electrics(recording, process, weld_time, rng)
    flow = np.maximum(process.at("flow_l_min", weld_time) + rng.normal(0, 0.15, len(elapsed)), 0)
    pressure = np.maximum(
        process.at("pressure_bar", weld_time) + rng.normal(0, 0.02, len(elapsed)), 0
    )
    wire = _wire(recording, process, weld_time)
    # The machine divides by whole seconds, at least one: the feed is a saw-tooth of the wire, not a
    # channel of its own.
    feed = wire / np.maximum(np.floor(elapsed), 1)

    stamps = elapsed.copy()
    if recording.time_gap:
        at = int(rng.integers(len(stamps) // 4, 3 * len(stamps) // 4))
        stamps[at:] += rng.uniform(0.1, 1.0) * LONGEST_GAP_S * geometry.time_scale
    if recording.clock_fault:
        for at in rng.choice(np.arange(2, len(stamps) - 1), 4, replace=False):
            stamps[at] = stamps[at - 1] if rng.random() < 0.5 else stamps[at - 2] - 0.001
    start = datetime.datetime.combine(
        recording.session.date, datetime.time(8)
    ) + datetime.timedelta(minutes=3 * recording.number)
    lines = [HEADER]
    for k in range(len(stamps)):
        at_time = start + datetime.timedelta(milliseconds=round(float(stamps[k]) * 1000))
        stamp = f"{at_time:%m/%d/%Y},{at_time:%H:%M:%S}.{at_time.microsecond // 1000:03d}"
        lines.append(
            f"{stamp},{recording.part},{pressure[k]:.3f},{flow[k]:.2f},{feed[k]:.4f},"
            f"{current[k]:.1f},{wire[k]:.3f},{voltage[k]:.2f}"
        )
    return ("\n".join(lines) + "\n").encode()


def _clock(recording: Recording, geometry: Geometry, rng: np.random.Generator) -> np.ndarray:
    """Seconds since the first row: a rate of its own for each file, and uneven steps."""
    rate = rng.uniform(*geometry.sensor_rate_hz)
    count = int(recording.duration_s * geometry.time_scale * rate)
    steps = rng.gamma(60.0, 1 / 60.0, count - 1) / rate
    return np.concatenate([[0.0], np.cumsum(steps)])


def _electrics(
    recording: Recording, process: Process, time: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Measured current, A, and voltage, V: white noise, anticorrelated, with the spikes of an
    unsteady arc.
    """
    arc = process.at("arc", time) > 0.5
    noise = rng.normal(size=(2, len(time)))
    # An unsteady arc shorts now and then: current up, voltage down, and far from normal.
    unsteady = max(0.0, recording.cues["sensor"]["noise"]) * 0.8
    shorts = rng.standard_t(4, len(time)) * unsteady
    current = process.at("current_a", time) * (1 + 0.6 * shorts) + arc * 8.5 * noise[0]
    voltage = process.at("voltage_v", time) * (1 - 0.9 * shorts) + arc * 0.45 * (
        0.93 * noise[1] - 0.36 * noise[0]
    )
    current = np.where(arc, np.maximum(current, 6), np.abs(noise[0]) * 0.4)
    voltage = np.where(arc, np.clip(voltage, 2, 60), np.abs(noise[1]) * 0.1)
    first = int(np.argmax(arc))
    open_circuit = slice(max(0, first - int(rng.integers(1, 3))), first)
    voltage[open_circuit] = rng.uniform(40, 82, len(voltage[open_circuit]))
    return current, voltage


def _wire(recording: Recording, process: Process, time: np.ndarray) -> np.ndarray:
    """Wire used so far, m: a staircase of encoder steps; about 1.7 m at 150 A, 5 m at 280 A."""
    speed = (process.at("current_a", time) / 150) ** 1.7 * WIRE_M_AT_150_A / 26.0
    used = (
        np.concatenate([[0.0], np.cumsum(speed[1:] * np.diff(time))])
        * recording.session.wire_factor
    )
    return np.floor(used / 0.015) * 0.015

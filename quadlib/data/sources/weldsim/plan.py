"""The plan of a set: every recording with its names, split, booked label, expressed cues and
events, before any file is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from quadlib.data.sources.weldsim.classes import CLASSES, CUES, WeldClass
from quadlib.data.sources.weldsim.events import Events, draw_events
from quadlib.data.sources.weldsim.session import Session, draw_session
from quadlib.data.sources.weldsim.settings import MODALITIES, Geometry, WeldSimSettings

# How often a modality does not show the defect at all: out of view, drowned, or in the part not
# recorded.
HIDDEN = {"video": 0.2, "image": 0.15, "audio": 0.2, "sensor": 0.45}
CUE_SPREAD = 0.1
PLAN_STREAM = 2**31
# From 1: numpy pads keys with zeros, so that (seed, session, 0, 0) would be the session's own
# generator again.
WELD_STREAM, ELECTRICS_STREAM, VIDEO_STREAM, IMAGE_STREAM, AUDIO_STREAM, SENSOR_STREAM = range(1, 7)


@dataclass(frozen=True)
class Recording:
    """One weld to be made: who it is, what happens, and which faults its files carry.

    `cues[modality][cue]` are expressed strengths, `visibility[modality]` how clearly the modality
    shows the class's own events (0 hidden, about 1 clear); times in seconds of weld time.
    """

    number: int
    part: str
    session: Session
    booked: WeldClass
    split: str
    seed: int
    duration_s: float
    arc_on_s: float
    arc_off_s: float
    cues: Mapping[str, Mapping[str, float]]
    visibility: Mapping[str, float]
    events: Mapping[str, tuple[Events, Events]]
    missing: str = ""
    photoless: bool = False
    time_gap: bool = False
    clock_fault: bool = False
    sticker_leak: bool = False

    @property
    def folder(self) -> str:
        """Where the recording lies, below the root of the set."""
        return f"{self.session.folder}/{self.part}"

    def rng(self, stream: int) -> np.random.Generator:
        """This recording's own generator for one stream: no recording and no modality moves
        another's numbers.
        """
        return np.random.default_rng([self.seed, self.session.index, self.number, stream])

    def has(self, modality: str) -> bool:
        """Whether the modality's files are written."""
        return self.missing != modality and not (modality == "image" and self.photoless)

    def shown(self, kind: str, modality: str) -> Events:
        """Events of a kind as a modality shows them: the background, and the class's own scaled by
        visibility.
        """
        background, own = self.events[kind]
        return background + own.seen(self.visibility[modality])

    def at(self, place: np.ndarray) -> np.ndarray:
        """Weld time, s, of places along the arc."""
        return self.arc_on_s + place * (self.arc_off_s - self.arc_on_s)


def make_plan(geometry: Geometry, seed: int, settings: WeldSimSettings) -> list[Recording]:
    """Every recording of a set in the order of the manifest; a pure function of its arguments.

    Half of each class's sessions are train, a quarter val, a quarter test (at least one each);
    every share of the settings is met exactly, up to rounding.
    """
    rng = np.random.default_rng([seed, PLAN_STREAM])
    recordings = []
    for weld_class in CLASSES:
        count = geometry.sessions_per_class
        held_out = max(1, count // 4)
        splits = rng.permutation(
            ["TRAIN"] * (count - 2 * held_out) + ["VAL"] * held_out + ["TEST"] * held_out
        )
        sessions = [
            draw_session(weld_class.code * count + k, k, weld_class, seed, settings)
            for k in range(count)
        ]
        if weld_class.code % 4 == 0:
            # One welding day booked twice: the last part name of one session is the first of the
            # next.
            last = sessions[0].first_number + geometry.recordings_per_session - 1
            sessions[1] = replace(sessions[1], date=sessions[0].date, first_number=last)
        for session, split in zip(sessions, splits, strict=True):
            recordings += [
                _draw_recording(session, k, str(split), seed, settings)
                for k in range(geometry.recordings_per_session)
            ]
    return _with_faults(recordings, rng, settings)


def _draw_recording(
    session: Session, number: int, split: str, seed: int, settings: WeldSimSettings
) -> Recording:
    rng = np.random.default_rng([seed, session.index, number, WELD_STREAM])
    effect = float(np.sqrt(settings.difficulty))
    weld_class = session.weld_class
    visibility, cues = {}, {}
    for modality in MODALITIES:
        hidden = rng.random() < 1 - (1 - HIDDEN[modality]) ** settings.difficulty
        visibility[modality] = (
            float(rng.uniform(0, 0.3) if hidden else rng.uniform(0.7, 1.2)) / effect
        )
        own = weld_class.cues.get(modality, {})
        cues[modality] = {
            cue: visibility[modality] * own.get(cue, 0.0)
            + session.cues[modality][cue]
            + effect * float(rng.normal(0, CUE_SPREAD))
            for cue in CUES[modality]
        }
    duration = session.duration_s + (0.0 if settings.fixed_length else float(rng.normal(0, 0.25)))
    arc_on, arc_off = duration * (np.array([0.16, 0.86]) + rng.normal(0, 0.006, 2))
    return Recording(
        number=number,
        part=_part(session, number, weld_class),
        session=session,
        booked=weld_class,
        split=split,
        seed=seed,
        duration_s=duration,
        arc_on_s=float(arc_on),
        arc_off_s=float(arc_off),
        cues=cues,
        visibility=visibility,
        events=draw_events(weld_class, rng),
    )


def _part(session: Session, number: int, weld_class: WeldClass) -> str:
    date = session.date.strftime("%m-%d-%y")
    return f"{date}-{session.first_number + number:04d}-{weld_class.code:02d}"


def _with_faults(
    recordings: list[Recording], rng: np.random.Generator, settings: WeldSimSettings
) -> list[Recording]:
    """The same recordings with the faults that the settings ask for; each fault is dealt
    independently of the others.
    """

    def chosen(share: float, count: int) -> set[int]:
        return set(rng.permutation(count)[: round(share * count)].tolist())

    count = len(recordings)
    splits = _mixed_splits(recordings, rng, settings.session_mixing)
    missing, photoless = chosen(settings.missing_modality, count), chosen(settings.photoless, count)
    gaps, clocks = chosen(settings.time_gaps, count), chosen(settings.clock_faults, count)
    noisy, leaking = chosen(settings.label_noise, count), chosen(settings.sticker_leak, count)
    lacks = rng.choice(MODALITIES, count)
    shifts = rng.integers(1, len(CLASSES), count)
    faulty = []
    for k, recording in enumerate(recordings):
        booked = (
            CLASSES[(recording.booked.code + int(shifts[k])) % len(CLASSES)]
            if k in noisy
            else recording.booked
        )
        faulty.append(
            replace(
                recording,
                booked=booked,
                part=_part(recording.session, recording.number, booked),
                split=splits[k],
                missing=str(lacks[k]) if k in missing else "",
                photoless=k in photoless,
                time_gap=k in gaps,
                clock_fault=k in clocks,
                sticker_leak=k in leaking,
            )
        )
    return faulty


def _mixed_splits(recordings: list[Recording], rng: np.random.Generator, share: float) -> list[str]:
    """Splits with a share of each class's sessions mixed: their recordings swap splits, so that
    every count stays as it was.
    """
    splits = np.array([recording.split for recording in recordings])
    for weld_class in CLASSES if share else ():
        own = np.array(
            [
                recording.session.index if recording.session.weld_class == weld_class else -1
                for recording in recordings
            ]
        )
        sessions = rng.permutation(np.unique(own[own >= 0]))
        # One session alone has nobody to swap with.
        rows = np.flatnonzero(np.isin(own, sessions[: max(2, round(share * len(sessions)))]))
        splits[rows] = rng.permutation(splits[rows])
    return splits.tolist()

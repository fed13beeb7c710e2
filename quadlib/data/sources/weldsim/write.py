"""Writing a set: complete or not at all, in as many processes as there are cores, the same bytes
whatever their number.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import quadlib
from quadlib.config import read_settings
from quadlib.data.sources.weldsim.audio import write_audio
from quadlib.data.sources.weldsim.photo import photo_jpegs
from quadlib.data.sources.weldsim.plan import Recording, make_plan
from quadlib.data.sources.weldsim.process import weld
from quadlib.data.sources.weldsim.sensor import sensor_csv
from quadlib.data.sources.weldsim.settings import MODALITIES, Geometry, WeldSimSettings, geometry_of
from quadlib.data.sources.weldsim.video import write_video
from quadlib.files import FileError, locked, read_json, usable_cores, write_json

VERSION = 2
MANIFEST_COLUMNS = (
    "CATEGORY",
    "WELD_TYPE",
    "THICKNESS_MM",
    "STEEL_TYPE",
    "SAMPLES",
    "CURRENT_A",
    "VOLTAGE_V",
    "GAS_BAR",
    "ROBOT_SPEED_CPM",
    "DIRECTORY",
    "SUBDIRS",
    "SPLIT",
)


def make(
    folder: str | Path,
    size: str = "demo",
    seed: int = 0,
    *,
    processes: int | None = None,
    **switches: Any,
) -> Path:
    """Writes a set of simulated weld recordings into `folder`, complete or not at all, and returns
    the folder.

    The bytes are a function of size, seed and switches (fields of WeldSimSettings) alone. A folder
    that already holds this very set is returned at once; two processes may ask for the same folder
    at the same time. `weldsim.json` records what was made, `oracles.json` what can be scored
    without looking at any recording. Raises FileError when the folder holds anything else,
    SettingsError on wrong switches or an unknown size.
    """
    folder = Path(folder).expanduser().resolve()
    settings = read_settings(WeldSimSettings, switches)
    geometry = geometry_of(size, settings)
    wanted = {"version": VERSION, "size": size, "seed": seed, "switches": settings.model_dump()}
    if _is_made(folder, wanted):
        return folder
    with locked(folder.with_name(f".{folder.name}.lock")):
        if _is_made(folder, wanted):
            return folder
        # Under the lock only a killed process can have left this behind.
        building = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(building, ignore_errors=True)
        try:
            _build(building, wanted, geometry, settings, processes)
            os.replace(building, folder)
        except OSError as error:
            raise FileError(
                f"{folder} could not be made ({error.strerror or error}); free some disk space or "
                "choose another folder."
            ) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _is_made(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether the folder holds exactly this set; raises FileError when it holds something else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / "weldsim.json").is_file():
        raise FileError(
            f"{folder} holds files that weldsim did not write; choose an empty or a new folder."
        )
    found = read_json(folder / "weldsim.json")
    held, asked = _flat(found), _flat(wanted)
    differing = [name for name in asked if held.get(name) != asked[name]]
    if differing:
        raise FileError(
            f"{folder} holds another set: "
            + "; ".join(
                f"{name} is {held.get(name)!r} there, {asked[name]!r} was asked for"
                for name in differing
            )
            + ". Choose another folder or delete this one."
        )
    return True


def _flat(marker: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: marker.get(name) for name in ("version", "size", "seed")},
        **marker.get("switches", {}),
    }


def _build(
    folder: Path,
    wanted: dict[str, Any],
    geometry: Geometry,
    settings: WeldSimSettings,
    processes: int | None,
) -> None:
    recordings = make_plan(geometry, wanted["seed"], settings)
    if len({recording.folder for recording in recordings}) < len(recordings):
        raise ValueError(
            f"seed {wanted['seed']}: two recordings fell on one folder; this is a fault of the "
            "simulator, take another seed"
        )
    # Only here: the writing processes start twice as fast without a classifier library.
    from quadlib.data.sources.weldsim.oracles import oracle_scores

    folder.mkdir()
    workers = processes or (1 if wanted["size"] == "tiny" else min(usable_cores(), 16))
    if workers == 1:
        write_share(folder, wanted, 0, 1)
    else:
        _write_in_processes(folder, wanted, workers)
    (folder / "manifest.csv").write_bytes(manifest_csv(recordings, geometry))
    write_json(folder / "oracles.json", oracle_scores(recordings, wanted["seed"]))
    mislabelled = {
        recording.folder: recording.session.weld_class.name
        for recording in recordings
        if recording.booked != recording.session.weld_class
    }
    # The marker comes last: a folder that has it is complete.
    write_json(
        folder / "weldsim.json",
        {**wanted, "counts": _counts(recordings), "mislabelled": mislabelled},
    )


def _write_in_processes(folder: Path, wanted: dict[str, Any], workers: int) -> None:
    """Each process writes every n-th recording; started afresh, so that it works from notebooks and
    threads alike.
    """
    paths = [str(Path(quadlib.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                __package__,
                str(folder),
                json.dumps(wanted),
                str(share),
                str(workers),
            ],
            env=environment,
            stderr=subprocess.PIPE,
        )
        for share in range(workers)
    ]
    try:
        complaints = [process.communicate()[1].decode(errors="replace") for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    failed = [
        complaint
        for process, complaint in zip(running, complaints, strict=True)
        if process.returncode
    ]
    if failed:
        raise OSError(
            f"{len(failed)} of {workers} writing processes failed; the first said: "
            f"{failed[0].strip()[-600:]}"
        )


def write_share(folder: Path, wanted: dict[str, Any], share: int, shares: int) -> None:
    """Writes every recording whose number is `share` modulo `shares`; stops when the process that
    asked for it is gone.
    """
    settings = read_settings(WeldSimSettings, wanted["switches"])
    geometry = geometry_of(wanted["size"], settings)
    parent = os.getppid()
    for recording in make_plan(geometry, wanted["seed"], settings)[share::shares]:
        if os.getppid() != parent:
            return
        write_recording(folder, recording, geometry)


def write_recording(root: Path, recording: Recording, geometry: Geometry) -> Path:
    """Writes the files of one recording below `root` and returns their folder; a pure function of
    its arguments.
    """
    folder = root / recording.folder
    folder.mkdir(parents=True)
    process = weld(recording)
    if recording.has("video"):
        write_video(folder / f"{recording.part}.avi", recording, process, geometry)
    if recording.has("audio"):
        write_audio(folder / f"{recording.part}.flac", recording, process, geometry)
    if recording.has("sensor"):
        (folder / f"{recording.part}.csv").write_bytes(sensor_csv(recording, process, geometry))
    if recording.has("image"):
        (folder / "images").mkdir()
        for number, jpeg in enumerate(photo_jpegs(recording, geometry)):
            (folder / "images" / f"{recording.part}_{number}.jpg").write_bytes(jpeg)
    return folder


def manifest_csv(recordings: list[Recording], geometry: Geometry) -> bytes:
    """The manifest, one row a recording; SUBDIRS already contains DIRECTORY, SAMPLES is the
    session's count.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    for recording in recordings:
        session = recording.session
        writer.writerow(
            [
                recording.booked.name,
                session.joint,
                session.weld_class.thickness_mm,
                session.steel,
                geometry.recordings_per_session,
                session.set_current_a,
                session.set_voltage_v,
                session.set_gas_bar,
                session.set_speed_cpm,
                session.folder,
                recording.folder,
                recording.split,
            ]
        )
    return text.getvalue().encode()


def _counts(recordings: list[Recording]) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "recordings": len(recordings),
        "sessions": len({recording.session.index for recording in recordings}),
    }
    counts.update(
        {
            split: sum(recording.split == split for recording in recordings)
            for split in ("TRAIN", "VAL", "TEST")
        }
    )
    counts.update(
        {
            modality: sum(recording.has(modality) for recording in recordings)
            for modality in MODALITIES
        }
    )
    return counts

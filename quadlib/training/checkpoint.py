"""latest_model.pth and best_model.pth: the two checkpoint files of a run, written atomically and
checked when read.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from quadlib.files import atomic_write, leftovers_of
from quadlib.runs.run import BEST, LATEST

FORMAT = 1
# than some checkpoints; they start where those lack them
YOUNGER = ("fusion.trust", "alone", "progress")
NAMES = {"latest": LATEST, "best": BEST}


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of something else; the message names the file and a way
    out.
    """


def save_checkpoint(path: Path, content: dict[str, Any]) -> str:
    """Writes a checkpoint of plain types and tensors atomically and returns its SHA-256; the old
    file survives any failure.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    data = buffer.getvalue()
    with atomic_write(path) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, refusing what is not one of ours, damaged, or would run
    code.

    torch.load does not check the archive's own checksums, so every entry's CRC is tested first; a
    compressed entry (never written by torch) is refused before it can expand. Raises
    CheckpointError.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; train first, or name another run")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise CheckpointError(
                    f"{path} holds compressed entries, which no checkpoint of ours has; do not "
                    "trust it"
                )
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(
                f"{path} is damaged: the checksum of {damaged} fails. {_other(path)}"
            )
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except (
        Exception
    ) as error:  # a damaged archive surfaces as a dozen types from zipfile, pickle and torch
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: "
            f"{str(error).splitlines()[0]}). {_other(path)}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        written = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path} has format {written}, this version reads format {FORMAT}; use the version "
            "that wrote it"
        )
    return content


def load_weights(
    module: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, *, finite: bool = True
) -> None:
    """Loads weights that fit exactly; anything missing, surplus or of another shape is refused with
    the whole difference, and so are values that are not finite, unless finite is False.
    """
    expected = module.state_dict()
    state = {name: expected[name] for name in YOUNGER if name in expected} | state
    problems = [
        f"missing {name} {tuple(expected[name].shape)}" for name in expected if name not in state
    ]
    problems += [
        f"surplus {name} {tuple(state[name].shape)}" for name in state if name not in expected
    ]
    problems += [
        f"{name} is {tuple(state[name].shape)} in the file and {tuple(expected[name].shape)} in "
        "the model"
        for name in expected
        if name in state and expected[name].shape != state[name].shape
    ]
    problems += [
        f"{name} holds values that are not finite"
        for name, value in state.items()
        if finite and value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if problems:
        raise CheckpointError(
            f"{path} does not fit the model:\n" + "\n".join(f"  {problem}" for problem in problems)
        )
    module.load_state_dict(state)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that killed writers may have left; call it only while holding
    the run's lock.
    """
    for name in (LATEST, BEST):
        for path in leftovers_of(folder / name):
            path.unlink()


def _other(path: Path) -> str:
    other = path.with_name(BEST if path.name == LATEST else LATEST)
    return (
        f"The other checkpoint is {other}."
        if other.is_file()
        else "There is no other checkpoint in this run; train it anew."
    )

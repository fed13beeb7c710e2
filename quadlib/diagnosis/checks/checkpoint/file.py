"""Contract of the checkpoint file: it can be read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from quadlib.diagnosis.checks.checkpoint.contracts import C07
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(C07, "the checkpoint can be read", "epoch")
def readable(x: Examination) -> Iterator[Finding]:
    given = x.subject.checkpoint
    paths = [Path(given)] if isinstance(given, (str, Path)) else []
    if given is None and x.subject.run is None:
        raise Unavailable("no checkpoint")
    if x.subject.run is not None:
        paths += sorted((x.run_folder / "checkpoints").glob("*.pth"))
    for path in paths:
        problem = _problem(path)
        if problem:
            yield C07.broken(
                "error",
                f"the checkpoint {path.name} cannot be read: {problem}",
                where=str(path),
                evidence=(f"{path.stat().st_size} bytes" if path.is_file() else "no such file",),
                ruled_out=() if not path.is_file() else ("a missing file",),
                help="take the other checkpoint of the run, or train again; write to a temporary "
                "file and rename it   [changes the file]",
            )


def _problem(path: Path) -> str:
    """Why a checkpoint file cannot be read, in words; empty where it can, or where reading it would
    run code.
    """
    if not path.is_file():
        return "it is not there"
    if not path.stat().st_size:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        # before torch 1.6 a checkpoint was a plain pickle
        return (
            ""
            if path.read_bytes()[:1] == b"\x80" and _loads(path)
            else f"{type(error).__name__}: {error}"
        )
    except Exception as error:  # a damaged directory of the archive surfaces as many types
        return f"{type(error).__name__}: {error}"
    return f"the checksum of {damaged} fails" if damaged else ""


def _loads(path: Path) -> bool:
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        return "weights_only" in str(error)
    return True

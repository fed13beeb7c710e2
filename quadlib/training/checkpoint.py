"""latest_model.pth and best_model.pth: the two checkpoint files of a run, written atomically and
checked when read.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from quadlib.files import atomic_write
from quadlib.runs.run import BEST, LATEST

FORMAT = 2  # 1 had no digest
DIGEST_BYTES = 64  # in hexadecimal, as the archive's comment, which is what a file ends with
# All that plain types and tensors need, beside storages. Of other names that torch takes for safe,
# one with a number makes gigabytes.
NAMED = {
    *("collections OrderedDict", "torch Size", "torch device", "torch.serialization _get_layout"),
    *(f"torch._utils _rebuild_{what}" for what in ("tensor_v2", "tensor_v3", "parameter")),
    *(f"{module} {name}" for module in ("builtins", "__builtin__") for name in ("set", "complex")),
    "_codecs encode",
    *(f"torch {name}" for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
}
STORAGE = re.compile(r"torch \w+Storage|torch.storage UntypedStorage")
# than some checkpoints; they start where those lack them
YOUNGER = ("fusion.trust", "alone", "progress")
NAMES = {"latest": LATEST, "best": BEST}


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of something else; the message names the file and a way
    out.
    """


def save_checkpoint(content: dict[str, Any], *paths: Path) -> str:
    """Writes a checkpoint of plain types and tensors to each path in turn, atomically, ending with
    the SHA-256 of all before it, and returns that of the whole file; the old file survives any
    failure.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    data = buffer.getvalue()[:-2] + DIGEST_BYTES.to_bytes(2, "little")  # the comment's length
    data += hashlib.sha256(data).hexdigest().encode()
    for path in paths:
        with atomic_write(path) as file:
            file.write(data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, refusing what is not one of ours, changed since, would run
    code, or would need more memory than the file has bytes.

    torch.load does not check the archive's own checksums, and expands what is compressed (nothing
    that torch writes) or repeated; so all of that is looked at first. Raises CheckpointError.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; train first, or name another run")
    try:
        with zipfile.ZipFile(path) as archive:
            sealed = len(archive.comment) == DIGEST_BYTES
            _check_entries(path, archive)
            damaged = None if sealed else archive.testzip()
        if damaged is not None or (sealed and not _is_whole(path)):
            what = damaged or "its content"
            raise CheckpointError(
                f"{path} is damaged: the checksum of {what} fails. {_other(path)}"
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
    written = content.get("format") if isinstance(content, dict) else type(content).__name__
    if written not in (1, FORMAT):
        raise CheckpointError(
            f"{path} has format {written}, this version reads formats 1 and {FORMAT}; use the "
            "version that wrote it"
        )
    if written == FORMAT and not sealed:
        raise CheckpointError(f"{path} is damaged: its digest is gone. {_other(path)}")
    size = path.stat().st_size
    for tensor in _tensors(content):
        stored = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > stored or stored > size:
            raise CheckpointError(
                f"{path} of {size} bytes holds a tensor of {tuple(tensor.shape)}, for which it "
                f"would have to be larger; do not trust it"
            )
    return content


def _check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses compressed entries, and names of what no checkpoint of ours is made of."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise CheckpointError(
            f"{path} holds compressed entries, which no checkpoint of ours has; do not trust it"
        )
    for name in archive.namelist():
        if not name.endswith("/data.pkl"):
            continue
        for operation, argument, _ in pickletools.genops(archive.read(name)):
            known = argument in NAMED or STORAGE.fullmatch(str(argument))
            if operation.name in ("GLOBAL", "STACK_GLOBAL", "INST") and not known:
                raise CheckpointError(
                    f"{path} names {argument or 'something'}, which no checkpoint of ours is made "
                    "of; do not trust it"
                )


def _is_whole(path: Path) -> bool:
    """Whether the file's last bytes are the digest of all before them."""
    sha, left = hashlib.sha256(), os.path.getsize(path) - DIGEST_BYTES
    with open(path, "rb") as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            sha.update(piece)
            left -= len(piece)
        return file.read() == sha.hexdigest().encode()


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested dictionaries and lists."""
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list | tuple):
        for item in content.values() if isinstance(content, dict) else content:
            yield from _tensors(item)


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


def _other(path: Path) -> str:
    other = path.with_name(BEST if path.name == LATEST else LATEST)
    return (
        f"The other checkpoint is {other}; training goes on from it once this one is deleted."
        if other.is_file()
        else "There is no other checkpoint in this run; train it anew."
    )

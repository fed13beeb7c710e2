"""Deleting decoded recordings: all of them can be made again."""

from __future__ import annotations

import shutil

from quadlib.data.store import channels, contents
from quadlib.files import outputs_folder


def clean_store(outputs: str = "") -> tuple[int, int]:
    """Deletes every entry of the store, left-overs of killed processes and the remembered digests;
    returns how many entries and bytes they were. A run that has an entry open goes on reading it.
    """
    root = outputs_folder(outputs) / "store"
    count = size = 0
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if path.name in (contents.NAME, channels.NAME) or path.suffix == ".lock":
            path.unlink()
        elif (path / "index.json").is_file() or path.suffix == ".tmp":
            size += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            count += path.suffix != ".tmp"
            shutil.rmtree(path)
    return count, size

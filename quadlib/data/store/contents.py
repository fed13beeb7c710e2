"""What files hold, by digest: read once, and again only where a file was touched since."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from quadlib.files import digest_file, read_record, write_record

NAME = "files.json"


class Contents:
    """SHA-256 of files, remembered in a store's folder by path, size, times of change and inode.

    The time of the inode's last change moves with every write, also where the file's own time is
    set back; a copy or a touch of the same bytes keeps its digest.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / NAME
        self.changed = False
        try:
            self.known: dict[str, list[int | str]] = read_record(self.path, "files")
        except (OSError, ValueError):  # none yet, or damaged since: all are read again
            self.known = {}

    def digest(self, path: Path) -> str:
        """Digest of a file's content, "" where it cannot be read: its decoder says why."""
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                return ""
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            name = str(path)
            if self.known.get(name, [])[:-1] != stamp:
                self.known[name] = [*stamp, digest_file(path)]
                self.changed = True
        except (OSError, ValueError):
            return ""
        return str(self.known[name][-1])

    def save(self) -> None:
        """Writes what was learned; of two writers the last one wins, and the other reads again."""
        if self.changed:
            write_record(self.path, "files", self.known)
            self.changed = False

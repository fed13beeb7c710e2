"""What files hold, by digest: read once, and again only where a file was touched since."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from quadlib.files import digest_file, read_record, write_record

NAME = "files.json"
COARSEST_CLOCK_NS = 2 * 10**9  # of a file system: what is younger may change with the same stamp


class Contents:
    """SHA-256 of files, remembered in a store's folder by path, size, times of change and inode.

    The time of the inode's last change moves with every write, also where the file's own time is
    set back; a copy or a touch of the same bytes keeps its digest. With `verify`, what is
    remembered is read again all the same; `altered` are the files that hold other bytes though no
    write was recorded, as where a disk fails: of them the old digest stays.
    """

    def __init__(self, root: Path, *, verify: bool = False) -> None:
        self.path, self.verify = root / NAME, verify
        self.began = time.time_ns()
        self.read: dict[str, list[int | str]] = {}
        self.altered: set[str] = set()
        try:
            self.known: dict[str, list[int | str]] = read_record(self.path, "files")
        except (OSError, ValueError):  # none yet, or damaged since: all are read again
            self.known = {}

    def digest(self, path: str | Path) -> str:
        """Digest of a file's content, "" where it cannot be read: its decoder says why."""
        name = str(path)
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                return ""
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            for memory in [self.read] if self.verify else [self.read, self.known]:
                if memory.get(name, [])[:-1] == stamp:
                    return str(memory[name][-1])
            self.read[name] = [*stamp, digest_file(path)]
        except (OSError, ValueError):
            return ""
        before = self.known.get(name, [])
        if before[:-1] == stamp and before != self.read[name]:
            self.altered.add(name)
        return str(self.read[name][-1])

    def save(self) -> None:
        """Writes what was learned; of two writers the last one wins, and the other reads again."""
        settled = {
            name: entry
            for name, entry in self.read.items()
            if name not in self.altered and int(entry[2]) < self.began - COARSEST_CLOCK_NS
        }
        if not settled.items() <= self.known.items():
            write_record(self.path, "files", self.known | settled)

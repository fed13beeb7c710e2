"""Names of runs, which are names of folders."""

from __future__ import annotations

import datetime
import os
import secrets

MOST_BYTES = 200  # a folder's name may have 255, and pages put endings to it


def name_problem(name: str) -> str:
    """What is wrong with a name, with a way out; "" where it may name a run."""
    if name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        return f"{name!r} is not a plain folder name; use letters, digits and dashes"
    if (count := len(os.fsencode(name))) > MOST_BYTES:
        return f"{name[:40]!r}... is a name of {count} bytes; shorten it to {MOST_BYTES} at most"
    return ""


def new_name(kind: str) -> str:
    """A sortable, readable run name: UTC date, time, kind and four random hex digits."""
    return f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{kind}-{secrets.token_hex(2)}"

"""Files of JSON lines, sealed: a line that was changed, left out or put in between is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quadlib.files import FileError

SEAL = ', "seal": "'  # with its digest it ends every line


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file that `lines_text` wrote; empty when it is missing. Raises FileError
    naming the line that is torn, or that was changed since; how many lines there were, the last
    one's seal tells, which a checkpoint knows.
    """
    if not path.exists():
        return []
    records, seal, sealed = [], "", False
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path} is not valid UTF-8 ({error}); the file was damaged since quadlib wrote it."
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        body, mark, rest = line.rpartition(SEAL)
        sealed = sealed or bool(mark)
        try:
            records.append(json.loads(body + "}" if sealed else line))
        except ValueError as error:
            raise FileError(
                f"{path}, line {number} is not valid JSON ({error}); the file was damaged since "
                "quadlib wrote it."
            ) from error
        if sealed and rest != f'{(seal := _seal(seal, body))}"}}':
            raise FileError(
                f"{path} was changed since quadlib wrote it: line {number} does not follow from "
                "those before it. Bring it back from a copy, or train the run anew."
            )
    return records


def lines_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as JSON lines, each sealed with a digest of itself and of all before it; NaN and
    infinity are refused, since JSON has none.

    Example:
        >>> lines_text([{"loss": 0.5}])
        '{"loss": 0.5, "seal": "588319f02d0fe3f0"}\\n'
    """
    return sealed_text(records)[0]


def sealed_text(records: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The text of `lines_text`, and the seal of its last line, which stands for all of them."""
    lines, seal = [], ""
    for record in records:
        body = json.dumps(record, allow_nan=False)[:-1]
        seal = _seal(seal, body)
        lines.append(f'{body}{SEAL}{seal}"}}\n')
    return "".join(lines), seal


def _seal(before: str, body: str) -> str:
    return hashlib.sha256((before + body).encode()).hexdigest()[:16]

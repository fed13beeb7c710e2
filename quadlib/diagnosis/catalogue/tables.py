"""The tables of the README, made from the code; this module run as a script writes them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from quadlib.diagnosis import conventions
from quadlib.diagnosis.finding import STAGES
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.registry import contracts

README = Path(__file__).parents[1] / "README.md"


def codes() -> str:
    """quadlib's own codes, stage by stage."""
    rows = [
        (code, STAGES[code[3]], entry.title)
        for code, entry in contracts().items()
        if code.startswith("QL-")
    ]
    return _table(("code", "stage", "what it says"), rows)


def names() -> str:
    """The names searched for, each with the comment above it."""
    lines = Path(conventions.__file__).read_text().splitlines()
    found = [
        (lines[node.lineno - 2].removeprefix("# "), node.targets[0].id)
        for node in ast.parse("\n".join(lines)).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    return _table(
        ("what", "names, in the order of the search"),
        [(what, _values(getattr(conventions, name))) for what, name in found],
    )


def limits() -> str:
    """The thresholds, each with what it bounds and where it comes from."""
    rows = [
        (f"`{item.name}`", f"{item.default:,g}", item.metadata["what"], item.metadata["origin"])
        for item in fields(Limits)
    ]
    return _table(("limit", "value", "what it bounds", "origin"), rows)


TABLES: dict[str, Callable[[], str]] = {"codes": codes, "names": names, "limits": limits}


def rendered(text: str) -> str:
    """A README's text with its tables, from `<!-- NAME -->` to `<!-- end -->`, as they are now."""
    for name, make in TABLES.items():
        head, start, tail = text.partition(f"<!-- {name} -->\n")
        text = head + start + make() + "<!-- end -->" + tail.partition("<!-- end -->")[2]
    return text


def _values(value: Any) -> str:
    if isinstance(value, re.Pattern):
        return f"`{value.pattern}`".replace("|", "\\|")
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, dict):
        return "; ".join(f"{_values(str(key))} {_plain(item)}" for key, item in value.items())
    return ", ".join(
        f"`{' … '.join(item)}`" if isinstance(item, tuple) else f"`{item}`"
        for item in (sorted(value) if isinstance(value, frozenset) else value)
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(sorted(value))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    README.write_text(rendered(README.read_text()))

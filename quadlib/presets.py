"""Presets: settings in a YAML file, read so that what is written is what is meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from quadlib.config import SettingsError

LARGEST_BYTES = 100_000
PLAIN = (str, int, float, bool)


class _StrictLoader(yaml.SafeLoader):
    """YAML without surprises: 1e-3 is a number, only true and false are booleans, nothing else is
    guessed, no name stands twice.
    """


# Own resolvers, since YAML 1.1's read NO as false, 012 as ten, 12:30 as 750 and 1e-3 as text.
_StrictLoader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        "-+.0123456789",
    ),
):
    _StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first)
    )


def read_preset(path: str | Path) -> dict[str, Any]:
    """The settings of a preset file: names with texts, numbers, booleans or lists of them. Raises
    SettingsError naming file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"preset: {path} cannot be read ({error}); give the path of a YAML file"
        ) from None
    if len(text) > LARGEST_BYTES:
        raise SettingsError(
            f"preset: {path} has {len(text):,} characters, more than a preset can need "
            f"({LARGEST_BYTES:,})"
        )
    try:
        tree = yaml.compose(text, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"preset: {path} is not YAML: {error}") from None
    if tree is None:
        return {}
    problems = _problems(tree, path)
    if problems:
        raise SettingsError("\n".join(problems))
    return dict(_StrictLoader(text).get_data())


def _problems(tree: yaml.Node, path: Path) -> list[str]:
    """What is not `name: value` or `name: [value, ...]`, or stands twice."""
    if not isinstance(tree, yaml.MappingNode):
        return [f"preset: {path} should hold lines of `name: value`"]
    problems, seen = [], set()
    for key, value in tree.value:
        place = f"preset: {path}, line {key.start_mark.line + 1}"
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        if name in seen:
            problems.append(f"{place}: {name} stands twice; keep one")
        seen.add(name)
        parts = (
            value.value
            if isinstance(value, yaml.SequenceNode) and value.tag == _tag("seq")
            else [value]
        )
        if not all(
            isinstance(part, yaml.ScalarNode)
            and part.tag in map(_tag, ("str", "int", "float", "bool"))
            for part in parts
        ):
            problems.append(
                f"{place}: {name} should be a text, a number, true, false or a list of them"
            )
    return problems


def _tag(kind: str) -> str:
    return f"tag:yaml.org,2002:{kind}"

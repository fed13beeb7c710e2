"""Settings from plain values and from preset files, with every mistake named at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from quadlib.config.base import Settings, SettingsError

Model = TypeVar("Model", bound=Settings)


def read_settings(
    model: type[Model], values: Mapping[str, Any], further: Sequence[str] = ()
) -> Model:
    """Builds settings from plain values, every one of them checked.

    Args:
        model: Settings model of the stage, such as TrainSettings.
        values: Names and values; texts are read by the declared type, as from a command line.
        further: Problems that the caller saw in the values, to be listed with the others.

    Returns:
        The settings; what `values` leaves out has its default.

    Raises:
        SettingsError: Some names or values are wrong; the message lists all of them.

    Example:
        >>> from quadlib.config import TrainSettings
        >>> read_settings(TrainSettings, {"epochs": "12"}).epochs
        12
        >>> read_settings(TrainSettings, {"epoch": 12})
        Traceback (most recent call last):
        quadlib.config.base.SettingsError: one setting is wrong:
          epoch: no such setting; did you mean epochs?
    """
    problems = list(further)
    try:
        settings = model(**values)
    except ValidationError as error:
        problems = [*(_explain(model, item) for item in error.errors()), *further]
    if not problems:
        return settings
    plural = "one setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    raise SettingsError(
        f"{plural} wrong:\n" + "\n".join(f"  {problem}" for problem in problems), problems
    )


def read_preset(model: type[Settings], path: str | Path) -> dict[str, Any]:
    """The settings that a preset file names, every one of them checked against the model.

    Args:
        model: Settings model that the preset is for.
        path: TOML file with one `name = value` a line; names are those of the settings.

    Returns:
        The values that the file holds, to be merged with others and read by `read_settings`.

    Raises:
        SettingsError: The file cannot be read, is no TOML (with the line), or holds wrong names or
            values (all of them).

    Example:
        >>> from quadlib.config import TrainSettings
        >>> _ = Path("small.toml").write_text("epochs = 5\\nlearning_rate = 1e-3\\n")
        >>> read_preset(TrainSettings, "small.toml")
        {'epochs': 5, 'learning_rate': 0.001}
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        read_settings(model, values)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"preset: {path} cannot be read ({error}); give the path of a TOML file"
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(
            f"preset: {path} is not TOML: {error}; write one setting a line and each once, such as "
            'batch_size = 16 or source = "mfeat"'
        ) from None
    except SettingsError as error:
        raise SettingsError(f"preset: {path}: {error}") from None
    return values


def read_options(
    model: type[Settings], parameters: list[str] | None, preset: Path | None
) -> dict[str, Any]:
    """Settings of the preset and the -p options, still as they were written; raises SettingsError
    listing all that is wrong with the preset and every malformed option.
    """
    values: dict[str, Any] = {}
    problems = []
    if preset is not None:
        try:
            values = read_preset(model, preset)
        except SettingsError as error:
            problems.append(str(error))
    pairs = [text.partition("=") for text in parameters or []]
    names = [name for name, _, _ in pairs]
    problems += [
        f"-p {name}: NAME=VALUE was expected, for example -p batch_size=16"
        for name, equals, _ in pairs
        if not equals or not name
    ]
    problems += [
        f"-p {name}: occurs {names.count(name)} times; keep one"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    return values | {name: _unquoted(value) for name, _, value in pairs}


def _unquoted(text: str) -> str:
    """A text without the quotation marks that a message or a notebook shows around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _explain(model: type[Settings], item: Any) -> str:
    """One line for one pydantic error: the setting, the value, what was expected, a way out."""
    name = str(item["loc"][0]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(model.model_fields), n=1)
        return f"{name}: no such setting; " + (
            f"did you mean {near[0]}?" if near else f"known are {', '.join(model.model_fields)}"
        )
    message = str(item["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    return (
        f"{name}: {item['input']!r} does not fit: {message} "
        f"({model.model_fields[name].description})"
    )

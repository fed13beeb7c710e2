"""What every settings model is: immutable, documented, strict about names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class SettingsError(ValueError):
    """One or more settings are wrong; the message lists every one of them with what was
    expected, and `problems` holds them one by one.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the message, since no line of ours is at fault."""
        return [f"{type(self).__name__}: {self}"]


class Settings(BaseModel):
    """Base of all settings: immutable, documented fields, unknown names refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )

    def changed(self, model: type[Settings] | None = None) -> dict[str, Any]:
        """The values that are not defaults, of all fields or of those of one stage."""
        return {
            name: getattr(self, name)
            for name, field in (model or type(self)).model_fields.items()
            if getattr(self, name) != field.default
        }

    @field_validator("*", mode="before")
    @classmethod
    def _read_plain_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Lists may come as text from a command line; a boolean is never a number."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if get_origin(annotation) is list and isinstance(value, str):
            return list_from_text(value)
        if get_origin(annotation) is dict and isinstance(value, str):
            return dict_from_text(value)
        if annotation in (int, float) and isinstance(value, bool):
            raise ValueError("a number was expected, not a boolean")
        return value


def dict_from_text(text: str) -> Any:
    """Names and values as a command line writes them, in JSON or as a=1,b=2; malformed text stays
    text.
    """
    text = text.strip()
    if text.startswith("{"):
        try:
            return json.loads(text.replace("'", '"'))
        except ValueError:
            return text
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if all(sign for _, sign, _ in pairs):
        return {name.strip(): value.strip() for name, _, value in pairs}
    return text


def list_from_text(text: str) -> Any:
    """A list as a command line writes it, in JSON, also without the quotation marks that a shell
    takes away, or with commas; malformed JSON stays text.
    """
    text = text.strip()
    if text.startswith("["):
        try:
            return json.loads(text.replace("'", '"'))
        except ValueError:
            if not text.endswith("]") or set(text[1:-1]) & set("[]\"'") or ",," in text:
                return text
            text = text[1:-1]
    return [part.strip() for part in text.split(",") if part.strip()]

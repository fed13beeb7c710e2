"""What a notebook needs beside the library: its settings from the parameter cell, and a headline that is filled in at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from quadlib.config import Settings, SettingsError, read_settings

Model = TypeVar("Model", bound=Settings)


def settings_from(model: type[Model], namespace: Mapping[str, Any]) -> Model:
    """The settings that the parameter cell (and whatever papermill injected after it) left in the notebook's variables.

    Raises SettingsError listing every wrong value, or every parameter that was removed from the cell.
    """
    missing = [name for name in model.model_fields if name not in namespace]
    if missing:
        raise SettingsError(f"the notebook has no {', '.join(missing)}; run its parameter cell first, or put the line back")
    return read_settings(model, {name: namespace[name] for name in model.model_fields})


class Headline:
    """The place of the verdict, above everything that it rests on: shown at once, filled in when the verdict is known."""

    def __init__(self, waiting: str) -> None:
        from IPython.display import Markdown, display

        self._handle = display(Markdown(f"*{waiting}*"), display_id=True)

    def update(self, verdict: Any) -> None:
        """Puts the verdict where the headline stands."""
        if self._handle is not None:  # None where nothing can be displayed: a plain interpreter
            self._handle.update(verdict)

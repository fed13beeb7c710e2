"""What can be added from outside: kinds of data, sources, encoders, losses and checks, each known
by a name.

A package adds its own by an entry point of the group `quadlib.plugins` that names a module which
calls the functions at the end of this one; a script or a notebook calls them itself.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

GROUP = "quadlib.plugins"

T = TypeVar("T")


class RegistryError(ValueError):
    """A name is taken, or nothing of that name is registered; the message says what there is."""


class Registry(Generic[T]):
    """Objects by name: those of `home`, the module that registers quadlib's own, and those of
    installed plugins.

    Both are imported when something is first looked up, so that this module costs nothing.
    """

    def __init__(self, what: str, home: str) -> None:
        self.what, self.home = what, home
        self._entries: dict[str, T | str] = {}

    def register(self, name: str, entry: T | str, *, replace: bool = False) -> None:
        """Adds one object under a name that no other has.

        Args:
            name: what settings, tables and errors call it.
            entry: the object, or "module:attribute", which is imported when it is first needed.
            replace: take the place of an entry of this name, as a notebook's cell that runs again.

        Raises:
            RegistryError: the name is taken.
        """
        import_module(self.home)
        if name in self._entries and not replace:
            raise RegistryError(
                f"{self.what} {name!r} is registered already; choose another name, or pass "
                "replace=True to take its place"
            )
        self._entries[name] = entry

    def require(self, name: str) -> str:
        """The name, if it is registered, without importing its object; else raises RegistryError
        that names the near one and all.
        """
        known = list(self)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise RegistryError(
                "; ".join(
                    [f"no {self.what} {name!r}; {hint}known are {', '.join(known)}", *failures()]
                )
            )
        return name

    def __getitem__(self, name: str) -> T:
        """The object of a name; raises RegistryError as `require` does."""
        entry = self._entries[self.require(name)]
        if isinstance(entry, str):
            entry = self._entries[name] = resolve_name(entry)
        return entry  # type: ignore[return-value]  # T is never a text

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        """The names, quadlib's own first, in the order in which they were registered."""
        import_module(self.home)
        failures()
        return iter(list(self._entries))

    def items(self) -> Iterator[tuple[str, T]]:
        """Every name with its object."""
        return ((name, self[name]) for name in self)


_failures: list[str] | None = None


def failures() -> list[str]:
    """Imports every installed plugin once; a line for each that could not be, which is also a
    warning.
    """
    global _failures
    if _failures is None:
        _failures = []  # before the imports: a plugin may look up what it builds on
        for entry in entry_points(group=GROUP):
            try:
                entry.load()
            except Exception as error:  # whatever a foreign module raises is its package's fault
                package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
                _failures.append(
                    f"plugin {entry.name!r} ({entry.value}) of the package {package} cannot be "
                    f"imported: {type(error).__name__}: {error}"
                )
                warnings.warn(
                    f"{_failures[-1]}; fix or uninstall the package", RuntimeWarning, stacklevel=2
                )
    return _failures


KINDS: Registry[Any] = Registry("kind", "quadlib.data.kinds")
SOURCES: Registry[Any] = Registry("source", "quadlib.data.sources")
ENCODERS: Registry[Any] = Registry("encoder", "quadlib.model.encoders")
MODELS: Registry[Any] = Registry("model", "quadlib.model.quad")
LOSSES: Registry[Any] = Registry("loss", "quadlib.training.objective")
CHECKS: Registry[Any] = Registry("check", "quadlib.diagnosis.checks")

register_kind = KINDS.register
register_source = SOURCES.register
register_encoder = ENCODERS.register
register_model = MODELS.register
register_loss = LOSSES.register
register_check = CHECKS.register

"""Import paths that earlier READMEs and notebooks showed lead to where the code stands now."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "quadlib.doctor": "quadlib.training.watcher",
    "quadlib.notebook": "quadlib.jupyter.cells",
    "quadlib.restore": "quadlib.training.restore",
    "quadlib.widgets": "quadlib.jupyter.widgets",
}


class MovedModules(MetaPathFinder, Loader):
    """Finds a module of MOVED by its old name, and fills it with the names of the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        home = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {home}", DeprecationWarning, stacklevel=2)
        module.__dict__.update(
            {
                name: value
                for name, value in vars(import_module(home)).items()
                if not name.startswith("__")
            }
        )


sys.meta_path.append(MovedModules())

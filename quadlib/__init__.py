"""quadlib: supervised contrastive learning on four-modality recordings, from label composition to
reports to trust.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from quadlib.data.open import open_source as open_source
    from quadlib.data.open import open_table as open_table
    from quadlib.data.samples import SampleTable as SampleTable
    from quadlib.data.splits import assign_splits as assign_splits
    from quadlib.diagnosis import Subject as Subject
    from quadlib.diagnosis import diagnose as diagnose
    from quadlib.diagnosis.doors import observe as observe
    from quadlib.evaluation import KnnValidator as KnnValidator
    from quadlib.evaluation.evaluate import evaluate as evaluate
    from quadlib.jupyter.inspector import inspect_batches as inspect_batches
    from quadlib.loss import SupConLoss as SupConLoss
    from quadlib.loss import bounds as bounds
    from quadlib.model.quad import QuadModel as QuadModel
    from quadlib.registry import register_check as register_check
    from quadlib.registry import register_encoder as register_encoder
    from quadlib.registry import register_kind as register_kind
    from quadlib.registry import register_loss as register_loss
    from quadlib.registry import register_model as register_model
    from quadlib.registry import register_source as register_source
    from quadlib.runs import Run as Run
    from quadlib.sampler import StratifiedBatchSampler as StratifiedBatchSampler
    from quadlib.sampler.plan import BatchPlan as BatchPlan
    from quadlib.training.restore import open_dataset as open_dataset
    from quadlib.training.restore import restore as restore
    from quadlib.training.trainer import Trainer as Trainer

    __version__: str

# Resolved on first use: the command line answers --help without loading torch.
_HOMES = {
    "SampleTable": "data.samples",
    "open_source": "data.open",
    "open_table": "data.open",
    "assign_splits": "data.splits",
    "StratifiedBatchSampler": "sampler",
    "BatchPlan": "sampler",
    "inspect_batches": "jupyter.inspector",
    "SupConLoss": "loss",
    "QuadModel": "model",
    "Trainer": "training.trainer",
    "KnnValidator": "evaluation",
    "evaluate": "evaluation",
    "diagnose": "diagnosis",
    "Subject": "diagnosis",
    "observe": "diagnosis.doors",
    "Run": "runs",
    "open_dataset": "training.restore",
    "restore": "training.restore",
    "register_kind": "registry",
    "register_source": "registry",
    "register_encoder": "registry",
    "register_model": "registry",
    "register_loss": "registry",
    "register_check": "registry",
}
__all__ = ["bounds", "log_to_stdout", *_HOMES]  # noqa: PLE0604

# Import paths that earlier READMEs and notebooks showed, and where the code stands now.
_MOVED = {
    "quadlib.doctor": "quadlib.training.watcher",
    "quadlib.notebook": "quadlib.jupyter.cells",
    "quadlib.restore": "quadlib.training.restore",
    "quadlib.widgets": "quadlib.jupyter.widgets",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("quadlib")
    if name == "bounds":
        return import_module("quadlib.loss.bounds")
    if name not in _HOMES:
        raise AttributeError(f"module quadlib has no attribute {name!r}")
    return getattr(import_module(f"quadlib.{_HOMES[name]}"), name)


def log_to_stdout() -> None:
    """Shows what quadlib says while it works, one line a message, on standard output.

    The command line and the notebooks call it; a script of your own may. Without it the messages go
    wherever your program sends those of the logger `quadlib`.

    Example:
        >>> import logging
        >>> log_to_stdout()
        >>> logging.getLogger("quadlib.data").info("decoded 12 recordings")
        decoded 12 recordings
    """
    import logging

    from quadlib.terminal import say

    class Stdout(logging.Handler):
        """Prints to what sys.stdout is at the moment: a notebook's kernel puts its own there."""

        def emit(self, record: logging.LogRecord) -> None:
            say(self.format(record))

    logger = logging.getLogger("quadlib")
    if not any(handler.name == "stdout" for handler in logger.handlers):
        handler = Stdout()
        handler.name = "stdout"
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext quadlib` makes the cell magic %%doctor known."""
    import_module("quadlib.jupyter.magic").load_ipython_extension(shell)


class _MovedModules:
    """Finds a module by its old name, and fills it with the names of the new one."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self) if name in _MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """A module that can be called, since importing `quadlib.restore` puts it in the place of
        the function `quadlib.restore`.
        """
        from types import ModuleType

        class Moved(ModuleType):
            def __call__(self, *args: Any, **named: Any) -> Any:
                return getattr(self, spec.name.rpartition(".")[2])(*args, **named)

        return Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        import warnings

        home = _MOVED[module.__name__]
        warnings.warn(f"{module.__name__} is now {home}", DeprecationWarning, stacklevel=2)
        names = vars(import_module(home)).items()
        vars(module).update({name: value for name, value in names if name[:2] != "__"})


sys.meta_path.append(_MovedModules())

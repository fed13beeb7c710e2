"""Whether what a checkpoint holds can be gone on from: it may have the right form, and be of
anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from quadlib.training.checkpoint import CheckpointError
from quadlib.training.device import global_generators_kept, set_random_state

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

FOREIGN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
PART = {"batch": int, "seconds": dict, "last_step": dict, "random": dict}


@contextmanager
def taken_from(path: Path) -> Iterator[None]:
    """Whatever fails while the content of a checkpoint is taken is a CheckpointError that names the
    file; errors of quadlib's own go on as they are.
    """
    try:
        yield
    except FOREIGN as error:
        if type(error).__module__.startswith("quadlib."):
            raise
        raise CheckpointError(
            f"{path} does not hold what a checkpoint of this training holds "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); bring "
            "it back from a copy, or train anew with resume='never'"
        ) from error


def check_counters(values: dict[str, Any], like: Trainer, path: Path) -> None:
    """Raises CheckpointError where a number of the loop is none, or counts below 0."""
    problems = []
    for name, value in values.items():
        kind = type(getattr(like, name))
        right = isinstance(value, int | float if kind is float else kind)
        if not right or isinstance(value, bool) or (kind is int and value < 0):
            problems.append(f"{name} is {value!r:.60}; {kind.__name__} was expected")
    _raise(problems, path)


def check_part(part: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError where an epoch could not be gone on with from what is there of it."""
    if part == {}:
        return
    _raise(
        [
            f"{name} of the epoch is no {kind.__name__}"
            for name, kind in PART.items()
            if not isinstance(part[name], kind)
        ],
        path,
    )
    with global_generators_kept():
        for state in (part["random"], *part.get("others", [])):
            set_random_state(state)


def check_memory(trainer: Trainer, path: Path) -> None:
    """Raises CheckpointError where the memory of earlier batches holds what none can have left."""
    if trainer.objective.memory is None:
        return
    memory, table = trainer.objective.memory.entries, trainer.dataset.table
    limits = (
        ("class", memory.codes, len(table.class_names)),
        ("recording", memory.index, len(table)),
    )
    problems = [
        f"the memory of earlier batches names a {what} beyond the {limit} that there are"
        for what, values, limit in limits
        if (values >= limit).any()
    ]
    if int(memory.stored) < 0 or int(trainer.objective.memory.batches) < 0:
        problems.append("the memory of earlier batches counts below 0")
    elif ((memory.rows[: len(memory)].norm(dim=1) - 1).abs() > 1e-3).any():
        problems.append("the memory of earlier batches holds what is no embedding of length 1")
    _raise(problems, path)


def check_moments(trainer: Trainer, path: Path) -> None:
    """Raises CheckpointError where the optimiser that was just loaded keeps tensors of other shapes
    than its parameters'.
    """
    kept = trainer.optimiser.state.items()
    _raise(
        [
            f"{name} of a parameter of {tuple(parameter.shape)} is {tuple(value.shape)}"
            for parameter, state in kept
            for name, value in state.items()
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape
        ],
        path,
    )


def _raise(problems: list[str], path: Path) -> None:
    if problems:
        raise CheckpointError(f"{path} cannot be gone on from: {'; '.join(problems)}")

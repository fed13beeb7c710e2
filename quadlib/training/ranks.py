"""What the processes that train one model tell each other. One process tells nobody anything, and
every function here is then trivial.

Each builds the same batch and takes every world_size-th row of it; embeddings are gathered with
their gradient, so that each computes the loss of the whole batch; gradients are averaged once a
step. So all hold the same weights and history, and the first one alone writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from quadlib.config import SettingsError
from quadlib.data.dataset import Batch
from quadlib.loss.gather import alone, gather_batch, is_distributed
from quadlib.model.quad import Embeddings
from quadlib.training.device import (
    DeviceError,
    choose_device,
    seed_everything,
    set_random_state,
)
from quadlib.training.errors import TrainingError

T = TypeVar("T")

# The others wait as long while the first one validates, or examines.
PATIENCE = timedelta(days=7)
GO_ON = "What was saved is whole: train with the same settings again to go on"


class PeerLost(TrainingError):
    """Another process of the training ended, or could not be reached."""


def join() -> None:
    """Joins the processes that were started with this one, by torchrun or by a trainer; does
    nothing where it was started alone.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        meet(os.environ.get("QUADLIB_MEETING", "env://"), int(os.environ["RANK"]), world_size)


def meet(place: str, number: int, world_size: int) -> None:
    """Waits until all processes have come to a place, as torch.distributed names one."""
    with _meeting():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            init_method=place,
            rank=number,
            world_size=world_size,
        )


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if is_distributed() else 0


def local_rank() -> int:
    """Its number on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """How many processes share each batch."""
    return dist.get_world_size() if is_distributed() else 1


def first() -> bool:
    """Whether this is the one that writes, validates and examines."""
    return rank() == 0


def own(rows: Sequence[int]) -> Sequence[int]:
    """This process's rows of a batch; as batches are sorted by class, each gets some of every class
    that has enough.
    """
    if len(rows) < world_size():
        raise SettingsError(
            f"nproc: {world_size()} processes, but a batch of {len(rows)}, so that some would have "
            "none of it; start fewer, or raise batch_size"
        )
    return rows[rank() :: world_size()]


def own_batches(batches: Any) -> Any:
    """This process's rows of every batch."""
    return [own(rows) for rows in batches] if is_distributed() else batches


def whole(embeddings: Embeddings, batch: Batch) -> tuple[Embeddings, Batch]:
    """The embeddings of all processes with their gradient, and their batch without its inputs, in
    the order in which one process has them.
    """
    if not is_distributed():
        return embeddings, batch
    sessions = batch.labels if batch.sessions is None else batch.sessions
    rows = torch.cat([embeddings.fused[:, None], embeddings.by_modality], dim=1)
    facts = torch.cat([torch.stack([batch.labels, batch.index, sessions]).T, batch.present], dim=1)
    with _meeting():  # few messages, since each costs as much as what it carries
        rows, columns = gather_batch(rows, facts, embeddings.weights.detach())
    order = _order(len(rows)).to(rows.device)
    rows, (facts, weights) = rows[order], (cast(Tensor, column)[order] for column in columns)
    labels, index, sessions = facts[:, :3].unbind(dim=1)
    return (
        Embeddings(rows[:, 0], rows[:, 1:], weights),
        Batch({}, facts[:, 3:].bool(), labels, index, None if batch.sessions is None else sessions),
    )


def whole_labels(labels: Tensor) -> Tensor:
    """The labels of the batch of all processes, in the order in which one process has them."""
    if not is_distributed():
        return labels
    with _meeting():
        parts, _ = gather_batch(labels)
    return parts[_order(len(parts)).to(parts.device)]


def _order(count: int) -> Tensor:
    """Where each row of a batch lies behind the rows of all processes, one after the other."""
    step = dist.get_world_size()
    return torch.cat([torch.arange(start, count, step) for start in range(step)]).argsort()


def seed(number: int, epoch: int, *further: int) -> None:
    """Seeds the global generators of each process from its own number too, so that no two draw the
    same dropout; those of the first as where it is alone.
    """
    seed_everything(number, epoch, *([rank(), *further] if rank() or further else []))


def restore_random(part: Mapping[str, Any], number: int, epoch: int) -> None:
    """Puts the global generators of each process to where they were when a part of an epoch was
    saved; where there are more or fewer processes now, seeds them anew from that place.
    """
    states = [part["random"], *part.get("others", [])]
    if len(states) == world_size():
        set_random_state(states[rank()])
    else:
        seed(number, epoch, part["batch"])


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """The gradient of every process becomes the mean of all; a parameter that has none in any keeps
    none.
    """
    if not is_distributed():
        return
    by_kind: dict[Any, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_kind.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    for alike in by_kind.values():
        has = [parameter.new_tensor([parameter.grad is not None]) for parameter in alike]
        flat = torch.cat(
            [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in alike] + has
        )
        with _meeting():
            dist.all_reduce(flat)
        flat, counts = flat[: -len(alike)] / dist.get_world_size(), flat[-len(alike) :].tolist()
        parts = flat.split([parameter.numel() for parameter in alike])
        for parameter, part, count in zip(alike, parts, counts, strict=True):
            parameter.grad = part.view_as(parameter).clone() if count else None


def any_of(*flags: bool) -> tuple[bool, ...]:
    """Of each flag whether any process has raised it; the same answer for all."""
    if not is_distributed():
        return flags
    raised = torch.tensor(flags, dtype=torch.int32)
    with _meeting():
        dist.all_reduce(raised, dist.ReduceOp.MAX, _control())
    return tuple(map(bool, raised.tolist()))


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, alone, while the others wait for it."""
    if not is_distributed():
        return make()
    made = [None]
    if first():
        with alone():
            made = [make()]  # type: ignore[list-item]
    with _meeting():
        dist.broadcast_object_list(made, 0, _control())
    return made[0]  # type: ignore[return-value]


def first_before_others(make: Callable[[], T]) -> T:
    """What each makes for itself, the others after the first one, which leaves them its stores and
    whose error is said once.
    """
    made = [make()] if first() else []
    from_first(lambda: None)
    return (made or [make()])[0]


def from_all(value: T) -> list[T]:
    """What every process has, the first one's first."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * world_size()
    with _meeting():
        dist.all_gather_object(values, value, _control())
    return values


def own_device(device: torch.device) -> torch.device:
    """Of several GPUs the one of this process."""
    if device.type == "cpu" or not is_distributed():
        return device
    if device.index is not None:
        raise DeviceError(
            f"device: {str(device)!r} is one GPU, but {world_size()} processes share each batch, "
            f"each on one of its own; choose {device.type}"
        )
    return choose_device(f"{device.type}:{local_rank()}")


def check_same(facts: dict[str, Any]) -> None:
    """Raises TrainingError where processes are not about to train the same on the same."""
    (mine, *others) = from_all(facts)
    problems = [
        f"  {name}: {mine[name]!r:.200} in the first, {theirs[name]!r:.200} in process {number}"
        for number, theirs in enumerate(others, start=2)
        for name in mine
        if theirs[name] != mine[name]
    ]
    if problems:
        raise TrainingError("the processes would train different models:\n" + "\n".join(problems))


_groups: list[Any] = []


def _control() -> Any:
    """The group in which words are exchanged: patient, and on the CPU whatever the device."""
    if not _groups or _groups[0] is not dist.group.WORLD:
        _groups[:] = [dist.group.WORLD, dist.new_group(backend="gloo", timeout=PATIENCE)]
    return _groups[1]


@contextmanager
def _meeting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # without the file of the backend, and its guesses
        reason = re.sub(r"^\[.*?\] *", "", str(error).splitlines()[0]).split(". ")[0]
        raise PeerLost(
            f"another process of this training ended, or cannot be reached ({reason:.200}). {GO_ON}"
        ) from error

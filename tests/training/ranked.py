"""What each of several processes does in test_ranks.py; imported by processes that are forked from
one that has loaded everything.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch._dynamo  # which every optimiser loads: here it is loaded once for all
import torch.distributed as dist

from quadlib.config import TrainSettings
from quadlib.data.dataset import Batch
from quadlib.evaluation import KnnValidator
from quadlib.runs import Run
from quadlib.training import ranks, step
from quadlib.training.joining import _on_loopback
from quadlib.training.other_process import say_nothing
from quadlib.training.restore import open_dataset
from quadlib.training.trainer import Trainer

WHOLE = {"dropout": 0.0, "modality_dropout": 0.0}
EVERY_TERM = {
    **{"cross_gate": 0.0, "cross_entropy_weight": 0.3},
    **{"memory_rows": 24, "memory_warmup_batches": 1},
}
# Rows of the table `features`: some of one class with lone anchors of others between them, of which
# every process holds another number; and a batch of its usual kind, which no number divides.
LONE = [0, 1, 2, 31, 61, 91, 3]
USUAL = [4, 5, 6, 7, 8, 32, 33, 34, 62, 63, 64, 65, 92, 93, 94]


@contextmanager
def in_float64() -> Iterator[None]:
    """All of it, so that what differs is wrong and not rounded: embeddings and losses are of
    float32 by design.
    """
    single, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float = single
        torch.set_default_dtype(torch.float32)


def as_default(model, arguments):
    """The batch that a model takes, in the default precision."""
    (batch,) = arguments
    return (
        batch._each(
            lambda values: (
                values.to(torch.get_default_dtype()) if values.is_floating_point() else values
            )
        ),
    )


def trainer_of(settings: TrainSettings, watcher=(), validator=None, **changes) -> Trainer:
    settings = settings.model_copy(update=changes)
    run = Run(ranks.from_first(lambda: Run.create(settings).folder))
    trainer = Trainer(open_dataset(settings), settings, run, validator=validator, watcher=watcher)
    trainer.model.register_forward_pre_hook(as_default)
    return trainer


def batches_with_gaps(trainer: Trainer, per_class: int):
    """This process's part of two batches in which a third of the modalities is absent."""
    for number, rows in enumerate((LONE, USUAL)):
        rows = [row // 30 * per_class + row % 30 for row in rows]
        batch = trainer.dataset.__getitems__(rows)
        draw = torch.rand(batch.present.shape, generator=torch.Generator().manual_seed(number))
        present = (draw > 0.3) | (draw == draw.max(dim=1, keepdim=True).values)
        whole = Batch(batch.inputs, present, batch.labels, batch.index, batch.sessions)
        yield whole._each(lambda tensor: tensor[ranks.rank() :: ranks.world_size()])


def gradients(trainer: Trainer, per_class: int = 30) -> torch.Tensor:
    """The loss and the gradient of two batches, the second one with what the first left in the
    memory.
    """
    step.training_mode(trainer)
    parameters = [*trainer.model.parameters(), *trainer.objective.parameters()]
    found = []
    for batch in batches_with_gaps(trainer, per_class):
        value = step.forward(trainer, batch)
        step.backward(trainer, value)
        step.unscale(trainer)
        trainer.objective.follow(value)
        found += [value.total.detach().flatten(), *(p.grad.flatten() for p in parameters)]
        trainer.optimiser.zero_grad()
    assert value.memory is not None and value.memory != value.fused
    return torch.cat(found)


def fit(settings: TrainSettings, watcher=(), stop_at: int = 0, **changes) -> Trainer:
    """A run, which the last process, as it alone is asked to, ends after a step."""
    trainer = trainer_of(settings, watcher, KnnValidator(settings), **changes)

    def ask(*_):
        if trainer.step + 1 == stop_at and ranks.rank() == ranks.world_size() - 1:
            trainer.stop()

    trainer.optimiser.register_step_post_hook(ask)
    trainer.fit()
    return trainer


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def end_with_the_test() -> None:
    """Also where the process waits for another one for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def work(number: int, folder: str, settings: TrainSettings) -> None:
    """One process of two, and then of four."""
    threading.Thread(target=end_with_the_test, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    say_nothing()
    try:
        with _on_loopback():
            for count in (2, 4):
                if number < count:
                    ranks.meet(f"file://{folder}/meeting-{count}", number, count)
                    found = together(settings, count)
                    torch.save(found, Path(folder, f"{count}-{number}.pt"))
                    dist.destroy_process_group()
    except BaseException:
        Path(folder, f"error-{number}").write_text(traceback.format_exc())
        os._exit(1)


def measure(number: int, count: int, folder: str, settings: TrainSettings) -> None:
    """One of so many processes, for the benchmark; the first one leaves what it finds."""
    torch.set_num_threads(1)
    say_nothing()
    with _on_loopback():
        if count > 1:
            ranks.meet(f"file://{folder}/meeting-{count}", number, count)
        with in_float64():
            found = {"gradient in float64": gradients(trainer_of(settings, run=f"g-{count}"), 200)}
            trainer = fit(settings, run=f"double-{count}")
            found[f"weights after {trainer.step} steps in float64"] = weights(trainer)
        found["gradient in float32"] = gradients(trainer_of(settings, run=f"f-{count}"), 200)
        trainer = fit(settings, run=f"single-{count}")
        found[f"weights after {trainer.step} steps in float32"] = weights(trainer)
        if ranks.first():
            torch.save(found, Path(folder, f"measured-{count}.pt"))


def together(settings: TrainSettings, count: int) -> dict:
    found = {}
    with in_float64():
        for size in (0, 3) if count == 2 else (0,):
            changes = WHOLE | EVERY_TERM | {"micro_batch": size}
            found[f"gradients {size}"] = gradients(trainer_of(settings, **changes))
        # stopped by two, gone on with by four, which stop too
        changes = WHOLE | EVERY_TERM | {"stop_at": 33 if count == 2 else 42}
        trainer = fit(settings, **changes, run="stopped", epochs=10)
        found |= {"weights": weights(trainer), "history": trainer.history}
    if count == 2:  # with dropout, of which each process draws its own
        found["whole"] = weights(fit(settings, run="whole"))
        fit(settings, stop_at=7, run="broken")
        found["broken"] = weights(fit(settings, run="broken"))
    return found

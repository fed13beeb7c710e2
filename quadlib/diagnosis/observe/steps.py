"""Single training steps under the recorder, and what the declared loss was called with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.observe.leaving import EnoughSeen
from quadlib.diagnosis.observe.names import Names
from quadlib.diagnosis.observe.record import Backward, Fetch
from quadlib.diagnosis.observe.recorder import Recorder
from quadlib.diagnosis.subject import Subject, Unavailable

NO_STEP = (
    "no training step was seen; give train_step=..., a function that takes one step on a batch, or "
    "run the loop under `with quadlib.observe() as seen:`"
)
NO_ROWS = (
    "the rows that the loss compares were not seen in train_step; give loss=..., the module that "
    "it calls with them"
)


@dataclass(frozen=True)
class LossPass:
    """One backward pass, with what the loss was computed from.

    rows: (N, D), several views stacked view by view; the one tensor with gradient that the declared
    loss was called with, else the rows found in the graph, else what the outermost module gave
    last. view_axis: the loss was given
    (N, V, D). labels: path of the batch's leaf that the loss was given as labels, "" where that was
    not seen. sizes: samples in each call of the loss.
    """

    loss: float
    rows: Tensor | None = field(repr=False)
    view_axis: bool = False
    labels: str = ""
    sizes: tuple[int, ...] = ()


class StepRecorder(Recorder):
    """Records calls of a step, and reads from every pass what the loss was computed from."""

    def __init__(self, loss: Any, steps: int, *, traced_steps: int = 1) -> None:
        super().__init__(steps, traced_steps=traced_steps)
        self.loss = loss
        self.passes: list[LossPass] = []
        self._given: list[LossPass] = []

    @property
    def names(self) -> Names:
        return self._names

    def take(self, subject: Subject, batch: Any) -> Any:
        """What the subject's step gives for a batch, whose tensors are marked as such."""
        assert subject.train_step is not None
        if not self.record.modules:
            self._names.know(subject.model)
        self.fetched(subject.loader, batch, None)
        value = subject.train_step(batch)
        self._end_trace()
        return value.detach() if isinstance(value, Tensor) else value

    def look_round(self) -> None:
        """Nothing: what else lives does not matter to a step that is undone."""

    def calling(self, module: nn.Module, args: Any, kwargs: Any) -> dict[str, str] | None:
        inputs = super().calling(module, args, kwargs)
        if module is self.loss:
            with self.looking():
                self._given.append(self._loss_call([t for _, t in tensors_in((args, kwargs))]))
        return inputs

    def before_backward(self, tensors: Any) -> None:
        super().before_backward(tensors)
        event = self.record.events[-1] if self.record.events else None
        if not isinstance(event, Backward):
            return  # of no single loss
        with self.looking():
            first = self._given[0] if self._given else LossPass(0.0, None)
            rows, view_axis = first.rows, first.view_axis
            if rows is None and event.comparison is not None:
                rows = event.comparison.left
            elif rows is None:
                rows, view_axis = _stacked([value for _, _, value in self._outputs.values()][-1:])
            sizes = tuple(size for call in self._given for size in call.sizes)
            self.passes.append(LossPass(event.loss, rows, view_axis, first.labels, sizes))
            self._given = []

    def reads_graph(self) -> bool:
        return self._trace is not None or not self._given or self._given[0].rows is None

    def _loss_call(self, tensors: list[Tensor]) -> LossPass:
        wide = [t for t in tensors if t.is_floating_point() and t.ndim in (2, 3)]
        learned = [t for t in wide if t.requires_grad] or [
            t for t in wide if not self._batches.mark_of(t)
        ]
        rows, view_axis = _stacked(learned)
        size = len(wide[0]) if wide else 0
        return LossPass(0.0, rows, view_axis, self._label_leaf(tensors), (size,) * bool(size))

    def _label_leaf(self, tensors: list[Tensor]) -> str:
        """The one leaf of one number a row that a flat argument of the loss was made from."""
        fetch = next(self.record.of(Fetch), None)
        if self._trace is None or fetch is None:
            return ""
        flat = {leaf.path for leaf in fetch.leaves if len(leaf.shape) == 1 and leaf.dtype != "bool"}
        marks = {mark for t in tensors if t.ndim == 1 for mark in self._trace.of(t)} & flat
        return marks.pop() if len(marks) == 1 else ""


def _stacked(tensors: list[Tensor]) -> tuple[Tensor | None, bool]:
    """One tensor (N, D) or (N, V, D) as (N, D), view by view, and whether it had views; None for
    any other shape or number.
    """
    if len(tensors) != 1 or tensors[0].ndim not in (2, 3):
        return None, False
    rows = tensors[0].detach()
    return (rows.clone(), False) if rows.ndim == 2 else (rows.transpose(0, 1).flatten(0, 1), True)


class _UpToBackward(StepRecorder):
    """Leaves the step at its first backward pass."""

    def __init__(self, loss: Any, names: Names | None) -> None:
        super().__init__(loss, 1, traced_steps=0)
        self._names = names or self._names

    def before_backward(self, tensors: Any) -> None:
        super().before_backward(tensors)
        if self.passes:
            raise EnoughSeen


def replay(
    subject: Subject, batch: Any, names: Names | None, *, evaluation: bool = True
) -> LossPass:
    """The subject's own step on a batch, from one fixed random state, up to its backward pass.

    evaluation: whatever the step does, all modules are in evaluation mode. The caller puts the
    subject back. Raises Unavailable where the step has no backward pass.
    """
    if subject.train_step is None:
        raise Unavailable(NO_STEP)
    recorder = _UpToBackward(subject.loss, names)
    devices = range(torch.cuda.device_count())
    mode = evaluation_mode(subject.model) if evaluation else nullcontext()
    with mode, torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        with recorder:
            recorder.take(subject, batch)
    if recorder.record.faults:
        raise RuntimeError(recorder.record.faults[0])
    if not recorder.passes:
        raise Unavailable("train_step calls no backward(), so its loss cannot be told")
    return recorder.passes[0]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode that `train()` does not end; all modes are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    train = nn.Module.train

    def stay(module: nn.Module, mode: bool = True) -> nn.Module:
        return train(module, False)

    nn.Module.train = stay  # type: ignore[method-assign,assignment]
    try:
        model.eval()
        yield
    finally:
        nn.Module.train = train  # type: ignore[method-assign]
        for module, training in modes:
            module.training = training

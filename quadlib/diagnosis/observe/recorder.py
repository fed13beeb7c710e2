"""Watches a training loop, unchanged, and writes down what happens in it.

Hooks stand where every loop must pass: a module's call, a loader's next batch, a backward pass, an
optimiser's step. They are put in and taken out together; nothing of them is left behind, and the
loop's numbers are bit for bit those of an unwatched one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis.observe.at_hand import note_at_hand
from quadlib.diagnosis.observe.batches import BatchWatch
from quadlib.diagnosis.observe.digests import note_digests
from quadlib.diagnosis.observe.evaluations import scales_of
from quadlib.diagnosis.observe.forces import ForceWatch
from quadlib.diagnosis.observe.frames import frames_of
from quadlib.diagnosis.observe.gradients import GradientWatch, RowWatch, parameter_step
from quadlib.diagnosis.observe.graph import read_comparison
from quadlib.diagnosis.observe.hooks import Hooks
from quadlib.diagnosis.observe.journal import Journal
from quadlib.diagnosis.observe.layers import LayerWatch
from quadlib.diagnosis.observe.leaves import describe, tensors_in
from quadlib.diagnosis.observe.leaving import AlreadyObserving, EnoughSeen, observing
from quadlib.diagnosis.observe.loss_graph import read_loss
from quadlib.diagnosis.observe.masks import read_masks
from quadlib.diagnosis.observe.names import note_living
from quadlib.diagnosis.observe.record import (
    Backward,
    Gradients,
    ModuleCall,
    OptimiserStep,
    ScalerStep,
)
from quadlib.diagnosis.observe.stored import stored_in
from quadlib.diagnosis.observe.trace import MODULE, Trace

MOST_CALLS_A_STEP = 4000
# A loop that accumulates, or whose scaler skips every step, is left all the same.
MOST_PASSES_A_STEP = 32
# Traced passes keep their tensors: so many, and no more.
MOST_TRACED_PASSES = 8


class Recorder(Journal):
    """Records the loop that runs inside its with-block, in this thread of this process.

    steps: optimiser steps that are watched. traced_steps: of how many it is followed, operation by
    operation, which parts of a batch reach the loss. stop: whether the loop is left after the last
    watched step; else it goes on unwatched. Raises AlreadyObserving where two are nested.

    Example:
        >>> model = torch.nn.Linear(3, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def train():  # your own loop
        ...     for _ in range(10):
        ...         optimizer.zero_grad()
        ...         model(torch.ones(8, 3)).square().mean().backward()
        ...         optimizer.step()
        >>> with Recorder(steps=4) as recorder:
        ...     train()
        >>> recorder.record.n_steps
        4
    """

    def __init__(self, steps: int = 8, *, traced_steps: int = 2, stop: bool = True) -> None:
        if steps < 1:
            raise ValueError(f"steps is {steps}; at least one optimiser step must be watched")
        self.steps, self.traced_steps, self.stop = steps, min(traced_steps, steps), stop
        super().__init__()
        self._hooks = Hooks(self)
        self._trace: Trace | None = None
        self._layers = LayerWatch()
        self._depth = 0
        self._calls = 0
        self._outputs: dict[Any, tuple[str, str, Tensor]] = {}
        self._passes = 0
        self._batches = BatchWatch(self.record)
        self._gradients = GradientWatch()
        self._unscaled: tuple[int, Tensor, float] | None = None
        self._before: dict[int, Tensor] = {}
        self._rows = RowWatch()
        self._forces = ForceWatch()

    # entering and leaving

    def __enter__(self) -> Recorder:
        if not observing.acquire(blocking=False):
            raise AlreadyObserving(
                "a loop is being observed already, and two observers would see each other; "
                "leave the outer `observe` first"
            )
        self.put_in()
        return self

    def put_in(self) -> None:
        """Begins the watching of steps."""
        self.record.arguments = tuple(sys.argv[1:])
        self._log.install()
        self._encodings.install()
        self._hooks.install()
        if self.traced_steps:
            self._trace = Trace()
            self._trace.__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> bool:
        self.detach()
        with self.looking():
            self.look_at_hand(frames_of(traceback))
        if kind is EnoughSeen:
            self.record.ended = "enough"
            return True
        self.record.ended = self.record.ended or ("finished" if kind is None else kind.__name__)
        self.record.error = error
        return False

    def detach(self) -> None:
        """Takes every hook out; safe to call twice."""
        if self._hooks.installed:
            self.take_out()
            self.release()

    def take_out(self) -> None:
        """Ends the watching of steps: what was put into torch is taken out of it."""
        self._end_trace()
        self._hooks.remove()
        with self.looking():
            self.look_round()
        self._forget_step()
        self._before.clear()

    def release(self) -> None:
        """Another loop may be observed from now on."""
        self.end_log()
        observing.release()

    def end_log(self) -> None:
        self._encodings.remove()
        self._log.remove()

    def look_at_hand(self, frames: Iterable[FrameType]) -> None:
        """What the loop's variables hold beside the parts that took part."""
        note_at_hand(self.record, frames)

    def look_round(self) -> None:
        """Once at the end: what lives beside the parts that took part."""
        note_living(self.record)
        note_digests(self.record)
        self.record.rewritten = {s.path: s.changed().tolist() for s in self.record.stored}
        self.record.stored.clear()

    # what the hooks call

    def fetched(self, loader: Any, batch: Any, rows: tuple[int, ...] | None) -> None:
        training = torch.is_grad_enabled()
        with self.looking():
            if not any(item is loader for item in self.record.loaders):
                self.record.loaders.append(loader)
                if training:
                    self.record.stored += stored_in(getattr(loader, "dataset", None))
            place = next(n for n, item in enumerate(self.record.loaders) if item is loader)
            self._batches.note(self._step, place, tensors_in(batch), rows, training, self._trace)

    def calling(self, module: nn.Module, args: Any, kwargs: Any) -> dict[str, str] | None:
        """Before a call: which of its arguments are leaves of the batch, as they are then."""
        self._depth += 1
        if self._calls >= MOST_CALLS_A_STEP:
            return None
        bare = self._trace is not None and self._depth == 1 and not self.record.loaders
        bare = bare and torch.is_grad_enabled()
        with self.looking():
            if bare:
                name = self._names.of_module(module)
                self._batches.note_arguments(self._step, name, args, kwargs, self._trace)
            return {
                path: self._batches.mark_of(tensor) for path, tensor in tensors_in((args, kwargs))
            }
        return None

    def called(
        self, module: nn.Module, inputs: dict[str, str] | None, args: Any, result: Any
    ) -> None:
        self._depth -= 1
        if inputs is None or self._calls >= MOST_CALLS_A_STEP:
            return
        gradient = torch.is_grad_enabled()
        with self.looking():
            self._calls += 1
            name = self._names.of_module(module)
            pairs = tensors_in(result)
            for path, tensor in pairs:
                if tensor.grad_fn is not None:
                    self._outputs[tensor.grad_fn] = (name, path, tensor)
            if gradient and self._trace is not None:
                turned = read_masks(self._step, name, module, args[1], self._batches.named())
                self.record.events.extend(turned)
            if isinstance(module, nn.Embedding):
                self.record.looked_up |= set(inputs.values()) - {""}
            has_parts = next(module.children(), None) is not None
            leaf = not has_parts or isinstance(module, nn.MultiheadAttention)
            if self._trace is not None and leaf:
                self._layers.saw(name, module, args, result, gradient, self._trace.rows)
                if next(module.parameters(False), None) is not None:
                    for _, tensor in pairs:
                        self._trace.mark(tensor, MODULE + name)
            if self._depth == 0 or has_parts:
                outputs = tuple(describe(path, tensor) for path, tensor in pairs)
                finite = all(bool(t.isfinite().all()) for _, t in pairs if t.is_floating_point())
                call = ModuleCall(
                    self._step, name, type(module).__name__, self._depth, inputs, outputs,
                    module.training, gradient, finite,
                    {} if self._trace is None else scales_of(args, self._trace.computed),
                )  # fmt: skip
                self.record.events.append(call)

    def left_call(self) -> None:
        """A call that raised."""
        self._depth -= 1

    def scaled(self, value: Tensor, result: Any, factor: float) -> None:
        if isinstance(result, Tensor):
            self._unscaled = (id(result), value, factor)

    def before_backward(self, tensors: Any) -> None:
        loss = tensors[0] if isinstance(tensors, (tuple, list)) and tensors else tensors
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            return
        scale = 1.0
        if self._unscaled is not None and self._unscaled[0] == id(loss):
            loss, scale = self._unscaled[1], self._unscaled[2]
        with self.looking():
            self._names.know_optimisers()
            if not self._passes:
                note_digests(self.record)
                self.averages.start()
            self._passes += 1
            discarded = self._gradients.before_backward(self.record.parameters)
            trace = self._trace
            marks = frozenset() if trace is None else trace.of(loss)
            leaves = self._batches.leaves
            comparison = read_comparison(loss, self._outputs) if self.reads_graph() else None
            alone = trace is not None and self._forces.watch(
                self._step, loss, trace.comparisons, self._outputs
            )
            if trace is not None:
                self.record.events += [*trace.crossed(self._step), *read_loss(self._step, loss)]
            self.record.events.append(
                Backward(
                    self._step,
                    float(loss.detach()),
                    None if trace is None else marks & leaves,
                    frozenset() if trace is None else trace.hidden & leaves,
                    discarded,
                    comparison,
                    self._layers.take(),
                    frozenset(
                        mark.removeprefix(MODULE) for mark in marks if mark.startswith(MODULE)
                    ),
                    frozenset() if trace is None else trace.touched & leaves,
                    scale,
                    alone,
                )
            )
            if trace is not None and comparison is not None:
                self._rows.watch(self._step, comparison, self._outputs)
        if self._trace is not None:
            self._trace.paused = True  # weights are no leaves, nor are their gradients

    def after_backward(self) -> None:
        with self.looking():
            norms = self._gradients.after_backward(self.record.parameters)
            self.record.events.extend(self._rows.take())
            self.record.events.extend(self._forces.take())
            self.record.events.append(Gradients(self._step, norms))
            self._forget_step()
        if self._trace is not None:
            self._trace.paused = False
            self._trace.pass_over()
            if self._passes >= MOST_TRACED_PASSES:
                self._end_trace()
        if self._passes >= MOST_PASSES_A_STEP * self.steps:
            self._end()

    def scaler_stepped(self, scaler: Any, skipped: bool) -> None:
        with self.looking():
            self.record.events.append(ScalerStep(self._step, float(scaler.get_scale()), skipped))
            if skipped:  # the gradients were looked at and thrown away on purpose
                self._gradients.forget()

    def before_step(self, optimiser: Any) -> None:
        # the trace goes on: a closure may compute the whole loss inside the step
        with self.looking():
            if not any(item is optimiser for item in self.record.optimisers):
                self.record.optimisers.append(optimiser)
            if self._step == self.steps - 1:  # what follows the weights has followed the last step
                self.record.averages = list(self.averages.measure(self._step))
            every = [p for group in optimiser.param_groups for p in group["params"]]
            self._before = {id(p): p.detach().clone() for p in every}

    def after_step(self, optimiser: Any) -> None:
        with self.looking():
            self._names.know_optimisers()
            parameters = {
                self._names.of(p): parameter_step(p, self._before.get(id(p)))
                for group in optimiser.param_groups
                for p in group["params"]
            }
            followed = [n for n, taken in parameters.items() if taken.gradient is not None]
            groups = optimiser.param_groups
            place = next(n for n, o in enumerate(self.record.optimisers) if o is optimiser)
            self.record.events.append(
                OptimiserStep(
                    self._step,
                    place,
                    tuple(float(group.get("lr", 0.0)) for group in groups),
                    tuple(float(group.get("weight_decay", 0.0)) for group in groups),
                    parameters,
                    self._gradients.used(followed),
                )
            )
            self._before.clear()
        self._step += 1
        if self._step == self.traced_steps:
            self._end_trace()
        if self._step >= self.steps:
            self._end()

    def read_out(self, tensor: Tensor) -> None:
        """A tensor left for numpy or Python."""
        if self._trace is not None:
            self._trace.leave(tensor)

    def reads_graph(self) -> bool:
        """Whether what this pass compares is read: at traced steps, and once more at the last."""
        return self._trace is not None or self._step >= self.steps - 1

    # inside

    def _end(self) -> None:
        self.record.ended = "enough"
        if self.stop:
            raise EnoughSeen
        self.detach()

    def _end_trace(self) -> None:
        if self._trace is not None:
            self._trace.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._trace.forget()
            self._trace = None
            self._layers.clear()

    def _forget_step(self) -> None:
        self._outputs.clear()
        self._calls = 0
        self._batches.fetched = 0
        self._unscaled = None

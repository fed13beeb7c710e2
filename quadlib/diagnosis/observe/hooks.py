"""The hooks of the recorder: put into torch together, taken out together."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from quadlib.diagnosis.observe.patches import Patches

if TYPE_CHECKING:
    from quadlib.diagnosis.observe.recorder import Recorder

INTO_PYTHON = ("numpy", "tolist", "__array__")


class Hooks(Patches):
    """Every place where an observed loop is looked at; `install` and `remove` are exact opposites.

    Methods are replaced on their classes, since a loop may hold a reference to an instance but
    hardly to the class's own function, and since global forward hooks see no keyword arguments.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def install(self) -> None:
        self.installed = True
        self._replace(nn.Module, "__call__", self._call)
        self._replace(nn.Module, "train", self._train)
        self._replace(nn.Module, "zero_grad", self._zero_grad)
        self._replace(nn.Module, "load_state_dict", self._load_state_dict)
        self._replace(DataLoader, "_get_iterator", self._get_iterator)
        self._replace(_BaseDataLoaderIter, "_next_index", self._next_index)
        self._replace(_BaseDataLoaderIter, "_reset", self._reset)
        self._replace(_BaseDataLoaderIter, "__next__", self._next)
        self._replace(torch.autograd, "backward", self._backward)
        self._replace(torch.autograd, "grad", self._grad)
        self._replace(Optimizer, "zero_grad", self._zero_grad)
        self._replace(GradScaler, "scale", self._scale)
        self._replace(GradScaler, "step", self._scaler_step)
        self._replace(GradScaler, "unscale_", self._unscale)
        self._replace(torch, "load", self._load)
        for owner in (Optimizer, LRScheduler, GradScaler):
            self._replace(owner, "load_state_dict", self._restore)
        self._replace(nn.utils, "clip_grad_norm_", self._clip)
        self._replace(nn.utils.clip_grad, "clip_grad_norm_", self._clip)
        for name in INTO_PYTHON:
            self._replace(Tensor, name, self._read_out)
        before = register_optimizer_step_pre_hook(self._before_step)
        after = register_optimizer_step_post_hook(self._after_step)
        self._undo += [before.remove, after.remove]
        stance = torch.compiler.set_stance("force_eager")  # compiled code hides its operations
        self._undo.append(lambda: stance.__exit__(None, None, None))

    def _call(self, old: Any) -> Any:
        recorder = self.recorder

        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if not recorder.watching():
                return old(module, *args, **kwargs)
            inputs = recorder.calling(module, args, kwargs)
            try:
                result = old(module, *args, **kwargs)
            except BaseException:
                recorder.left_call()
                raise
            recorder.called(module, inputs, (args, kwargs), result)
            return result

        return __call__

    def _train(self, old: Any) -> Any:
        recorder = self.recorder

        def train(module: nn.Module, mode: bool = True) -> Any:
            if not recorder.watching():
                return old(module, mode)
            recorder.set_mode(module, mode)
            with recorder.passing_on():  # a module hands the mode on to its parts
                return old(module, mode)

        return train

    def _zero_grad(self, old: Any) -> Any:
        recorder = self.recorder

        def zero_grad(part: Any, *args: Any, **kwargs: Any) -> Any:
            if recorder.watching():
                recorder.cleared()
            return old(part, *args, **kwargs)

        return zero_grad

    def _load_state_dict(self, old: Any) -> Any:
        recorder = self.recorder

        def load_state_dict(
            module: nn.Module, state: Any, strict: bool = True, *args: Any, **kwargs: Any
        ) -> Any:
            keys = list(state)
            result = old(module, state, strict, *args, **kwargs)
            if recorder.watching():
                recorder.loaded(module, keys, result, strict)
            return result

        return load_state_dict

    def _get_iterator(self, old: Any) -> Any:
        recorder = self.recorder

        def _get_iterator(loader: Any) -> Any:
            iterator = old(loader)
            if recorder.watching():
                iterator._observed_loader = loader
            return iterator

        return _get_iterator

    def _next_index(self, old: Any) -> Any:
        recorder = self.recorder

        def _next_index(iterator: Any) -> Any:
            index = old(iterator)
            if recorder.watching():  # workers are asked ahead of time, in the order of delivery
                vars(iterator).setdefault("_observed_rows", deque()).append(index)
            return index

        return _next_index

    def _reset(self, old: Any) -> Any:
        def _reset(iterator: Any, loader: Any, first_iter: bool = False) -> Any:
            vars(iterator).pop("_observed_rows", None)  # of an epoch that was left early
            return old(iterator, loader, first_iter)

        return _reset

    def _next(self, old: Any) -> Any:
        recorder = self.recorder

        def __next__(iterator: Any) -> Any:
            batch = old(iterator)
            if recorder.watching() and hasattr(iterator, "_observed_loader"):
                rows = vars(iterator).get("_observed_rows")
                index = rows.popleft() if rows else None
                recorder.fetched(iterator._observed_loader, batch, rows_of(index))
            return batch

        return __next__

    def _backward(self, old: Any) -> Any:
        recorder = self.recorder

        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if not recorder.watching():
                return old(tensors, *args, **kwargs)
            recorder.before_backward(tensors)
            result = old(tensors, *args, **kwargs)
            recorder.after_backward()
            return result

        return backward

    def _grad(self, old: Any) -> Any:
        recorder = self.recorder

        def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if recorder.watching():
                recorder.functional_gradient(inputs)
            return old(outputs, inputs, *args, **kwargs)

        return grad

    def _scale(self, old: Any) -> Any:
        recorder = self.recorder

        def scale(scaler: Any, outputs: Any) -> Any:
            result = old(scaler, outputs)
            if recorder.watching() and isinstance(outputs, Tensor):
                recorder.scaled(outputs, result, float(scaler.get_scale()))
            return result

        return scale

    def _scaler_step(self, old: Any) -> Any:
        recorder = self.recorder

        def step(scaler: Any, optimiser: Any, *args: Any, **kwargs: Any) -> Any:
            if not recorder.watching() or not scaler.is_enabled():
                return old(scaler, optimiser, *args, **kwargs)
            before = recorder.record.n_steps
            result = old(scaler, optimiser, *args, **kwargs)
            recorder.scaler_stepped(scaler, recorder.record.n_steps == before)
            return result

        return step

    def _unscale(self, old: Any) -> Any:
        recorder = self.recorder

        def unscale_(scaler: Any, optimiser: Any) -> Any:
            if recorder.watching() and scaler.is_enabled():
                recorder.unscaled()
            return old(scaler, optimiser)

        return unscale_

    def _load(self, old: Any) -> Any:
        recorder = self.recorder

        def load(file: Any, *args: Any, **kwargs: Any) -> Any:
            content = old(file, *args, **kwargs)
            if recorder.watching():
                recorder.read_file(file, content)
            return content

        return load

    def _restore(self, old: Any) -> Any:
        recorder = self.recorder

        def load_state_dict(part: Any, *args: Any, **kwargs: Any) -> Any:
            if recorder.watching():
                recorder.restored(part)
            return old(part, *args, **kwargs)

        return load_state_dict

    def _clip(self, old: Any) -> Any:
        recorder = self.recorder

        def clip_grad_norm_(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Any:
            norm = old(parameters, max_norm, *args, **kwargs)
            if recorder.watching():
                recorder.clipped(norm, max_norm)
            return norm

        return clip_grad_norm_

    def _read_out(self, old: Any) -> Any:
        recorder = self.recorder

        def read_out(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if recorder.watching():
                recorder.read_out(tensor)
            return old(tensor, *args, **kwargs)

        return read_out

    def _before_step(self, optimiser: Any, args: Any, kwargs: Any) -> None:
        if self.recorder.watching():
            self.recorder.before_step(optimiser)

    def _after_step(self, optimiser: Any, args: Any, kwargs: Any) -> None:
        if self.recorder.watching():
            self.recorder.after_step(optimiser)


def rows_of(index: Any) -> tuple[int, ...] | None:
    """Row numbers of a batch as the sampler gave them; None where they are not numbers."""
    values = index if isinstance(index, (list, tuple)) else [index]
    try:
        return tuple(int(value) for value in values)
    except (TypeError, ValueError):
        return None

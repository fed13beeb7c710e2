"""The hooks that stay after the watched steps: in a training step they cost a few comparisons."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from quadlib.diagnosis.observe.hooks import rows_of
from quadlib.diagnosis.observe.patches import Patches

if TYPE_CHECKING:
    from quadlib.diagnosis.observe.later_watch import LaterWatch


class LaterHooks(Patches):
    """Calls without gradients, loaders, saves, loads and the count of steps; nothing of a training
    step's own modules, tensors or gradients.
    """

    def __init__(self, watch: LaterWatch) -> None:
        super().__init__()
        self.watch = watch

    def install(self) -> None:
        self.installed = True
        self._replace(nn.Module, "__call__", self._call)
        self._replace(nn.Module, "load_state_dict", self._load_state_dict)
        self._replace(DataLoader, "_get_iterator", self._get_iterator)
        self._replace(_BaseDataLoaderIter, "_next_index", self._next_index)
        self._replace(_BaseDataLoaderIter, "_reset", self._reset)
        self._replace(_BaseDataLoaderIter, "__next__", self._next)
        self._replace(torch, "save", self._save)
        self._undo.append(register_optimizer_step_post_hook(self._after_step).remove)
        stance = torch.compiler.set_stance("force_eager")
        self._undo.append(lambda: stance.__exit__(None, None, None))

    def _call(self, old: Any) -> Any:
        watch = self.watch

        def __call__(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():
                watch.learning = True
                return old(module, *args, **kwargs)
            if not watch.watching():
                return old(module, *args, **kwargs)
            watch.calling()
            result = None
            try:
                result = old(module, *args, **kwargs)
            finally:
                watch.called(module, (args, kwargs), result)
            return result

        return __call__

    def _load_state_dict(self, old: Any) -> Any:
        watch = self.watch

        def load_state_dict(
            module: nn.Module, state: Any, strict: bool = True, *args: Any, **kwargs: Any
        ) -> Any:
            if not watch.watching():
                return old(module, state, strict, *args, **kwargs)
            own = watch.loads_itself(module, state)
            result = old(module, state, strict, *args, **kwargs)
            watch.loaded(module, state, result, strict, own)
            return result

        return load_state_dict

    def _get_iterator(self, old: Any) -> Any:
        watch = self.watch

        def _get_iterator(loader: Any) -> Any:
            iterator = old(loader)
            if watch.watching():
                iterator._observed_loader = loader
            return iterator

        return _get_iterator

    def _next_index(self, old: Any) -> Any:
        watch = self.watch

        def _next_index(iterator: Any) -> Any:
            index = old(iterator)
            if watch.watching() and not vars(iterator).get("_trained_on", False):
                vars(iterator).setdefault("_later_rows", deque()).append(index)
            return index

        return _next_index

    def _reset(self, old: Any) -> Any:
        def _reset(iterator: Any, loader: Any, first_iter: bool = False) -> Any:
            for name in ("_later_rows", "_trained_on"):  # of an epoch before
                vars(iterator).pop(name, None)
            return old(iterator, loader, first_iter)

        return _reset

    def _next(self, old: Any) -> Any:
        watch = self.watch

        def __next__(iterator: Any) -> Any:
            known = vars(iterator)
            try:
                batch = old(iterator)
            except StopIteration:
                if watch.watching():
                    watch.exhausted(iterator)
                raise
            if watch.watching() and "_observed_loader" in known:
                rows = known.get("_later_rows")
                index = rows.popleft() if rows else None
                watch.fetched(iterator, batch, rows_of(index))
            return batch

        return __next__

    def _save(self, old: Any) -> Any:
        watch = self.watch

        def save(content: Any, file: Any, *args: Any, **kwargs: Any) -> Any:
            result = old(content, file, *args, **kwargs)
            if watch.watching():
                watch.saved(content, file)
            return result

        return save

    def _after_step(self, optimiser: Any, args: Any, kwargs: Any) -> None:
        if self.watch.watching():
            self.watch.stepped(optimiser)

"""Which tensors of a batch flow into which other tensors, operation by operation.

A dispatch mode sees every operation below autograd, in eager code. Marks belong to storages, so
that views and in-place changes carry them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NOTHING: frozenset[str] = frozenset()
# The operation behind .item() and bool(tensor): what leaves the tensors cannot be followed.
INTO_PYTHON = "aten::_local_scalar_dense"


class Trace(TorchDispatchMode):
    """Follows marked tensors. `touched`: marks that any operation has read; `hidden`: marks of
    what was read into Python or numpy, and may reach anything from there.

    The tensors met are kept alive until `clear`, so that a storage's number stays its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[int, frozenset[str]] = {}
        self.kept: list[Tensor] = []
        self.touched: set[str] = set()
        self.hidden: set[str] = set()

    def mark(self, tensor: Tensor, marks: Iterable[str]) -> None:
        """Adds marks to a tensor and to whatever shares its storage."""
        key = _storage(tensor)
        self.marks[key] = self.marks.get(key, NOTHING) | frozenset(marks)
        self.kept.append(tensor)

    def of(self, tensor: Tensor) -> frozenset[str]:
        """The marks that have reached a tensor."""
        return self.marks.get(_storage(tensor), NOTHING)

    def leave(self, tensor: Tensor) -> None:
        """Notes that a tensor was read into Python or numpy."""
        self.hidden |= self.of(tensor)

    def clear(self) -> None:
        self.marks.clear()
        self.kept.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        reached = NOTHING
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                reached |= self.of(value)
        if not reached:
            return result
        self.touched |= reached
        schema = func._schema
        if schema.name == INTO_PYTHON:
            self.hidden |= reached
            return result
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self.mark(value, reached)
        for place, argument in enumerate(schema.arguments):  # changed in place, or out=
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                for tensor in tree_leaves(value):
                    if isinstance(tensor, Tensor):
                        self.mark(tensor, reached)
        return result


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and opaque tensors have none
        return id(tensor)

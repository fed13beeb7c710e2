"""The tensors inside a nested value, by path."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor

MOST_LEAVES = 64
MOST_DEPTH = 6


@dataclass(frozen=True)
class Leaf:
    """A tensor inside a nested value: where it lies ("[0]['video']"), its shape and dtype."""

    path: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat", "complex"))


def holds_items(value: Any) -> bool:
    """Whether it is a dict or an OrderedDict, by whatever name; a mapping of another kind may load
    what it holds when it is asked.
    """
    return getattr(type(value), "items", None) in (dict.items, OrderedDict.items)


def tensors_in(value: Any) -> list[tuple[str, Tensor]]:
    """(path, tensor) of the tensors in a value: tuples, lists, mappings, dataclasses and objects
    that behave like a mapping (a transformers ModelOutput, a tensordict), to a depth of six.
    """
    pairs = []
    for pair in _walk(value, "", 0):
        pairs.append(pair)
        if len(pairs) == MOST_LEAVES:
            break
    return pairs


def describe(path: str, tensor: Tensor) -> Leaf:
    return Leaf(path, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def replaced(value: Any, changes: Mapping[str, Tensor], path: str = "") -> Any:
    """The value with the tensors at these paths, as `tensors_in` names them, replaced in copies of
    what holds them.
    """
    if isinstance(value, Tensor):
        return changes.get(path, value)
    if not any(name.startswith(path) for name in changes) or isinstance(value, (str, bytes)):
        return value
    if isinstance(value, Mapping) or (hasattr(value, "keys") and hasattr(value, "items")):
        result: Any = copy.copy(value)
        for key, item in value.items():
            result[key] = replaced(item, changes, f"{path}[{key!r}]")
        return result
    if isinstance(value, (tuple, list)):
        parts = [replaced(item, changes, f"{path}[{n}]") for n, item in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        result = copy.copy(value)
        for entry in fields(value):
            part = replaced(getattr(value, entry.name), changes, f"{path}.{entry.name}")
            object.__setattr__(result, entry.name, part)
        return result
    return value


def _walk(value: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif depth == MOST_DEPTH or isinstance(value, (str, bytes)):
        return
    elif isinstance(value, Mapping) or (hasattr(value, "keys") and hasattr(value, "items")):
        for key, item in value.items():
            yield from _walk(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from _walk(item, f"{path}[{place}]", depth + 1)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _walk(getattr(value, entry.name), f"{path}.{entry.name}", depth + 1)

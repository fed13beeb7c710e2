"""Which row of the batch every row of a tensor is made of, operation by operation.

Operations that only rearrange are repeated on the rows' numbers; through others a row keeps its
number where it keeps its place. Views of one storage are told apart by offset, shape and strides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MOST_NUMBERS = 1 << 21
UNKNOWN = -1
REARRANGING = frozenset(
    f"aten::{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "permute", "transpose", "t", "cat", "stack", "index",
        "index_select", "slice", "select", "expand", "repeat", "unsqueeze", "squeeze", "split",
        "split_with_sizes", "unbind", "chunk", "roll", "flip", "unfold",
    )
)  # fmt: skip
SAME = frozenset(f"aten::{name}" for name in ("clone", "_to_copy", "detach", "alias"))
# Places in the result are not those of the input, or an input's place says nothing.
PLACELESS = frozenset(
    f"aten::{name}"
    for name in (
        "index_put_", "scatter_", "index_add_", "index_copy_", "scatter_add_", "scatter",
        "index_add", "index_copy", "index_put", "masked_select", "nonzero", "unique2", "_unique2",
        "take", "trace", "triu_indices", "as_strided", "masked_scatter", "masked_scatter_",
    )
)  # fmt: skip
PRODUCTS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::baddbmm": 1}
KEEPING = ("aten::_softmax", "aten::_log_softmax")  # that have a dimension and keep every place
BATCH_SECOND = (nn.RNNBase, nn.MultiheadAttention)


@dataclass(frozen=True)
class Rows:
    """numbers: of the batch's row that each row along a dimension is made of, UNKNOWN where that is
    not one. dim None: numbers have the tensor's own shape, as no one dimension tells them.
    """

    dim: int | None
    numbers: Tensor

    def full(self, shape: torch.Size) -> Tensor:
        if self.dim is None:
            return self.numbers
        places = [1] * len(shape)
        places[self.dim] = -1
        return self.numbers.view(places).expand(shape)


class RowTrace:
    """Follows the rows of a batch's tensors; who marks them keeps their storages alive."""

    def __init__(self) -> None:
        self._known: dict[int, dict[Any, Rows]] = {}

    def begin(self, tensor: Tensor) -> None:
        """A tensor of the batch: row i along its first dimension is row i of the batch."""
        if tensor.ndim and tensor.layout == torch.strided:
            self._set(tensor, Rows(0, torch.arange(len(tensor), dtype=torch.int32)))

    def knows(self, tensor: Tensor) -> bool:
        """Whether it was followed to this tensor."""
        return self._get(tensor) is not None

    def of(self, tensor: Tensor, dim: int = 0) -> Tensor | None:
        """(n,) the batch's row of each row along a dimension, UNKNOWN for those of none; None where
        a row is of several, or was not followed.
        """
        rows = self._get(tensor)
        return None if rows is None or rows.dim != dim % max(tensor.ndim, 1) else rows.numbers

    def across(self, one: Tensor, other: Tensor) -> bool:
        """Whether the rows of two tensors lie along different dimensions of what they broadcast to,
        one value of each a row: (n, 1) against (n,).
        """
        n = max(one.ndim, other.ndim)
        dims = []
        for tensor in (one, other):
            rows = self._get(tensor)
            if rows is None or rows.dim is None or len(rows.numbers.unique()) < 2:
                return False
            if tensor.numel() != len(rows.numbers):
                strides = [s for d, s in enumerate(tensor.stride()) if d != rows.dim]
                if any(strides):  # more than one value a row
                    return False
            dims.append(rows.dim + n - tensor.ndim)
        return n == 2 and dims[0] != dims[1]

    def torn(self, tensor: Tensor, dim: int | None) -> bool:
        """Whether rows along a dimension (None: all but the last one) hold parts of several rows of
        the batch, each of which lies in several of them: what a reshape in place of a transpose
        leaves. Whole rows that were joined are not torn.
        """
        rows = self._get(tensor)
        if rows is None or rows.dim is not None and (dim is None or rows.dim == dim):
            return False
        numbers = rows.full(tensor.shape)
        if tensor.numel() > MOST_NUMBERS or bool((numbers == UNKNOWN).any()):
            return False
        table = numbers.movedim(dim, 0).flatten(1) if dim is not None else numbers.flatten(0, -2)
        mixed = (table != table[:, :1]).any(1)
        if not bool(mixed.any()):
            return False
        places = torch.arange(len(table), dtype=torch.int32)[:, None].expand_as(table)
        pairs = torch.stack([table.flatten(), places.flatten()]).unique(dim=1)
        homes = torch.bincount(pairs[0].long())
        return bool((homes[table[mixed].unique().long()] > 1).all())

    def forget(self) -> None:
        self._known.clear()

    def follow(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> None:
        """After an operation: what the rows of its results are made of."""
        name = func._schema.name
        inputs = [value for value in _flat(args) if isinstance(value, Tensor)]
        known = [(value, rows) for value in inputs if (rows := self._get(value)) is not None]
        written = name.endswith("_") and not name.endswith("__")
        if not known:
            if written and inputs:
                self._drop(inputs[0])
            return
        if not results:
            return
        if name in SAME:
            self._set(results[0], known[0][1])
            return
        if name in REARRANGING:
            self._rearranged(func, args, kwargs, results)
            return
        if name == "aten::embedding":
            self._copied(args[1], results[0])
            return
        if name in PRODUCTS:
            known = [pair for pair in known if pair[0] is args[PRODUCTS[name]]]
        dims = () if name in KEEPING else _dims(func, args, kwargs)
        found = [(value, _by_place(value, known, dims)) for value in results]
        if written:
            self._drop(results[0])
        for value, rows in found:
            if rows is not None and name not in PLACELESS:
                self._set(value, rows)

    def _rearranged(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> None:
        indexed = func._schema.name in ("aten::index", "aten::index_select")
        if indexed and self._get(args[0]) is None:
            places = [value for value in _flat(args[1:]) if isinstance(value, Tensor)]
            if len(places) == 1 and places[0].ndim == 1:
                self._copied(places[0], results[0])
            return
        if sum(value.numel() for value in results) > MOST_NUMBERS and not self._compact(args):
            return
        data = args[:1] if indexed else args
        shadows = [self._shadow(value) for value in data]
        if any(shadow is None for shadow in shadows):
            return
        try:
            made = func(*shadows, *args[len(data) :], **(kwargs or {}))
        except RuntimeError:  # numbers repeat along a stride of 0, which a view cannot follow
            made = func(*_whole(shadows), *args[len(data) :], **(kwargs or {}))
        for value, numbers in zip(results, _flat(made), strict=False):
            if numbers.shape == value.shape:
                self._set(value, _compact(numbers.to(torch.int32)))

    def _compact(self, args: Any) -> bool:
        """Whether the rows' numbers need no copy as large as the tensors."""
        return all(
            rows is None or rows.dim is not None
            for value in _flat(args)
            if isinstance(value, Tensor)
            for rows in (self._get(value),)
        ) and all(value.numel() <= 16 * MOST_NUMBERS for value in _flat(args) if _is(value))

    def _shadow(self, value: Any) -> Any:
        """The numbers in place of a tensor, or of each in a list; None where it is too large."""
        if isinstance(value, (list, tuple)) and any(_is(part) for part in value):
            parts = [self._shadow(part) for part in value]
            return None if any(part is None for part in parts) else parts
        if not isinstance(value, Tensor):
            return value
        rows = self._get(value)
        if rows is None:
            return torch.full((1,), UNKNOWN, dtype=torch.int32).expand(value.shape)
        return rows.full(value.shape)

    def _copied(self, source: Tensor, result: Tensor) -> None:
        rows = self._get(source)
        if rows is not None and rows.dim == 0 and result.ndim and len(result) == len(source):
            self._set(result, rows)

    def _get(self, tensor: Any) -> Rows | None:
        if tensor.layout != torch.strided:
            return None
        return self._known.get(_storage(tensor), {}).get(place_of(tensor)[1:])

    def _set(self, tensor: Tensor, rows: Rows) -> None:
        self._known.setdefault(_storage(tensor), {})[place_of(tensor)[1:]] = rows

    def _drop(self, tensor: Tensor) -> None:
        """It was written to: of other views of its storage nothing is known any more."""
        if tensor.layout == torch.strided:
            self._known.pop(_storage(tensor), None)


def batch_dim(module: nn.Module) -> int | None:
    """The dimension along which a layer takes the rows of a batch; None: all but the last."""
    if isinstance(module, BATCH_SECOND):
        return 0 if module.batch_first else 1
    return 0 if isinstance(module, nn.modules.conv._ConvNd) else None


def _dims(func: Any, args: Any, kwargs: Any) -> tuple[int, ...]:
    """The dimensions along which an operation is said to work, of its first argument."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.name in ("dim", "dims"):
            value = args[place] if place < len(args) else (kwargs or {}).get(argument.name)
            dims = value if isinstance(value, (list, tuple)) else [value]
            n = max(getattr(args[0], "ndim", 1), 1)
            return tuple(dim % n for dim in dims if isinstance(dim, int)) or tuple(range(n))
    return ()


def _by_place(
    result: Tensor, known: list[tuple[Tensor, Rows]], dims: tuple[int, ...]
) -> Rows | None:
    """Row i of a result is made of row i of what has as many; UNKNOWN where several differ. dims:
    along which the operation works, so that no place is kept there.
    """
    if not result.ndim or result.layout != torch.strided:
        return None
    parts: dict[int, list[Tensor]] = {}
    for value, rows in known:
        if rows.dim is None or rows.dim in dims:
            continue
        lost = sum(dim < rows.dim for dim in dims) if result.ndim < value.ndim else 0
        dim = rows.dim - lost
        if dim and result.ndim != value.ndim - len(dims) and result.ndim != value.ndim:
            continue
        if dim < result.ndim and result.shape[dim] == len(rows.numbers):
            parts.setdefault(dim, []).append(rows.numbers)
    if parts:
        dim = min(parts)
        numbers = parts[dim][0]
        for part in parts[dim][1:]:
            numbers = torch.where(numbers == part, numbers, UNKNOWN)
        return Rows(dim, numbers)
    same = [rows for value, rows in known if rows.dim is None and value.shape == result.shape]
    return same[0] if same else None


def _compact(numbers: Tensor) -> Rows:
    """The one dimension that tells the numbers, if there is one."""
    for dim in range(numbers.ndim):
        table = numbers.movedim(dim, 0)
        first = table.reshape(len(table), -1)[:, :1] if table.numel() else table.flatten()[:0]
        if table.numel() and _constant(table):
            return Rows(dim, first[:, 0].contiguous())
    return Rows(None, numbers.contiguous())


def _constant(table: Tensor) -> bool:
    """Whether each row holds one number; a stride of 0 says so at once."""
    kept = table
    for dim in range(table.ndim - 1, 0, -1):
        if kept.stride(dim) == 0 or kept.shape[dim] == 1:
            kept = kept.select(dim, 0)
    if kept.ndim == 1:
        return True
    flat = kept.flatten(1)
    return bool((flat == flat[:, :1]).all())


def _whole(values: list[Any]) -> list[Any]:
    return [_whole(v) if isinstance(v, list) else v.contiguous() if _is(v) else v for v in values]


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in _flat(item)]
    return [value]


def _is(value: Any) -> bool:
    return isinstance(value, Tensor)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def place_of(tensor: Tensor) -> tuple[Any, ...]:
    """What tells a view from the others of its storage, and that from other storages."""
    return _storage(tensor), tensor.storage_offset(), tuple(tensor.shape), tensor.stride()

"""Which tensors of a batch, and which modules' outputs, flow into which other tensors, operation by
operation.

A dispatch mode sees every operation below autograd, in eager code. Marks belong to storages, so
that views and in-place changes carry them. Data is followed, not gradient: a detached tensor keeps
its marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from quadlib.diagnosis.observe.forces import Comparisons
from quadlib.diagnosis.observe.loss_events import Crossed
from quadlib.diagnosis.observe.row_trace import RowTrace

MODULE = "module "  # in front of a module's name among the marks
# Operations that set one value against another.
PAIRING = (
    "aten::sub",
    "aten::mse_loss",
    "aten::l1_loss",
    "aten::smooth_l1_loss",
    "aten::huber_loss",
)
# A loop without a loader takes its batch out of the data so.
TAKING = ("aten::index", "aten::index_select")
FEWEST_TAKEN = 4
TAKEN = "taken"  # the mark of such rows, which is no leaf's: they are followed, and told to nobody
# The operation behind .item() and bool(tensor): what leaves the tensors cannot be followed.
INTO_PYTHON = "aten::_local_scalar_dense"


class Trace(TorchDispatchMode):
    """Follows marked tensors, except while it is `paused`.

    A set of marks is one integer, a bit a mark. The tensors met are kept alive until `forget`, so
    that a storage's number stays its own. rows: which rows of the batch their rows are made of;
    comparisons: where such rows are compared.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.paused = False
        self.rows = RowTrace()
        self.comparisons = Comparisons(self.rows)
        self._bits: dict[str, int] = {}
        self._marks: dict[int, int] = {}
        self._kept: list[Tensor] = []
        self._touched = 0
        self._hidden = 0
        self._crossed: list[tuple[str, Tensor, Tensor]] = []
        self.takes = True  # until a loader gives a batch
        self._rows_taken: Tensor | None = None  # by which the present pass takes its batch

    def mark(self, tensor: Tensor, mark: str) -> None:
        """Adds a mark to a tensor and to whatever shares its storage."""
        self._add(tensor, self._bits.setdefault(mark, 1 << len(self._bits)))

    def of(self, tensor: Tensor) -> frozenset[str]:
        """The marks that have reached a tensor."""
        return self._names(self._marks.get(_storage(tensor), 0))

    def leave(self, tensor: Tensor) -> None:
        """Notes that a tensor was read into Python or numpy."""
        self._hidden |= self._marks.get(_storage(tensor), 0)

    def computed(self, tensor: Tensor) -> bool:
        """Whether a module with weights has had a part in a tensor."""
        return any(mark.startswith(MODULE) for mark in self.of(tensor))

    def crossed(self, step: int) -> list[Crossed]:
        """Where every row that modules gave was set against every row of the batch, since the last
        question.
        """
        events = [
            Crossed(step, name.removeprefix("aten::"), tuple(given.shape), tuple(wanted.shape))
            for name, given, wanted in self._crossed
        ]
        self._crossed.clear()
        return events

    def _note_crossing(self, name: str, args: Any) -> None:
        sides = [value for value in args[:2] if isinstance(value, Tensor)]
        if len(sides) < 2 or not self.rows.across(*sides):
            return
        learned = [self.computed(side) for side in sides]
        if learned[0] != learned[1]:
            given, wanted = sides if learned[0] else sides[::-1]
            self._crossed.append((name, given, wanted))

    @property
    def hidden(self) -> frozenset[str]:
        """Marks of what was read into Python or numpy, and may reach anything from there."""
        return self._names(self._hidden)

    @property
    def touched(self) -> frozenset[str]:
        """Marks that any operation has read."""
        return self._names(self._touched)

    def pass_over(self) -> None:
        """A backward pass has ended: what is taken out of the data next is another batch."""
        self._rows_taken = None

    def _take(self, args: Any, result: Tensor) -> None:
        """Rows that are taken out of a table by their numbers, the first ones of a pass and all
        that the same numbers take, are the rows of its batch.
        """
        places = list(_tensors(args[1:]))
        if len(places) != 1 or places[0].ndim != 1 or len(result) != len(places[0]):
            return
        if places[0].is_floating_point() or len(result) < FEWEST_TAKEN or args[0].requires_grad:
            return
        data = result.is_floating_point() and result.ndim >= 2
        if self._rows_taken is None and data and not self._marks.get(_storage(args[0]), 0):
            self._rows_taken = places[0]
        if self._rows_taken is places[0]:
            self.mark(result, TAKEN)
            self.rows.begin(result)

    def forget(self) -> None:
        """Lets go of every tensor and of where the marks were; what was hidden stays known."""
        self._marks.clear()
        self._kept.clear()
        self.rows.forget()
        self.comparisons.forget()

    def _add(self, tensor: Tensor, bits: int) -> None:
        key = _storage(tensor)
        self._marks[key] = self._marks.get(key, 0) | bits
        self._kept.append(tensor)

    def _names(self, bits: int) -> frozenset[str]:
        named = (name for name, bit in self._bits.items() if bits & bit)
        return frozenset(name for name in named if name != TAKEN)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.takes and not self.paused and func._schema.name in TAKING:
            self._take(args, result)
        if self.paused or not self._marks:
            return result
        reached = 0
        for value in _tensors((args, kwargs)):
            reached |= self._marks.get(_storage(value), 0)
        if not reached:
            return result
        self._touched |= reached
        schema = func._schema
        if schema.name == INTO_PYTHON:
            self._hidden |= reached
            return result
        results = list(_tensors(result))
        for value in results:
            self._add(value, reached)
        self.rows.follow(func, args, kwargs, results)
        self.comparisons.note(schema.name, args, results)
        if schema.name in PAIRING:
            self._note_crossing(schema.name, args)
        for place, argument in enumerate(schema.arguments):  # changed in place, or out=
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                for tensor in _tensors(value):
                    self._add(tensor, reached)
        return result


def _tensors(value: Any) -> Iterable[Tensor]:
    return (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and opaque tensors have none
        return id(tensor)

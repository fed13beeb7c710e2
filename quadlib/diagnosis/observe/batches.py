"""The batches of a loop: what came out of a loader, and which tensor is which part of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.checksums import checksum
from quadlib.diagnosis.observe.leaves import describe, tensors_in
from quadlib.diagnosis.observe.record import Fetch, Record
from quadlib.diagnosis.observe.trace import Trace

# A loop that only reads, as for statistics, must not fill the memory with what it read.
MOST_BATCHES_A_PASS = 8


class BatchWatch:
    """Knows the tensors of the batches that were fetched since the last backward pass."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.fetched = 0  # since the last backward pass
        self._size = 0  # rows of the first of them
        self._marks: dict[int, str] = {}  # id of a batch's tensor -> its mark
        self._tensors: list[Tensor] = []

    @property
    def leaves(self) -> set[str]:
        """The marks of the present batches' tensors."""
        return set(self._marks.values())

    def mark_of(self, tensor: Tensor) -> str:
        """The mark of a tensor, "" where it is none of a batch."""
        return self._marks.get(id(tensor), "")

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """The present batches' tensors, and their marks."""
        return ((self.mark_of(tensor), tensor) for tensor in self._tensors)

    def note(
        self,
        step: int,
        place: int,
        pairs: list[tuple[str, Tensor]],
        rows: tuple[int, ...] | None,
        training: bool,
        trace: Trace | None,
    ) -> None:
        """Writes down a batch, and marks its tensors where it is trained on."""
        kept = {
            path: tensor.detach().cpu().clone()
            for path, tensor in pairs
            if trace is not None or (tensor.ndim == 1 and not tensor.is_floating_point())
        }
        broken = tuple(
            path
            for path, tensor in pairs
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
        )
        leaves = tuple(describe(path, tensor) for path, tensor in pairs)
        stream = rows is None and place >= 0
        digest = hash(tuple(checksum(tensor) for _, tensor in pairs)) if stream else None
        event = Fetch(step, place, leaves, rows, training, kept, broken, digest)
        self.record.events.append(event)
        if not training:
            return
        if trace is not None and place >= 0:
            trace.takes = False
        if self.fetched == 0:
            self._marks.clear()
            self._tensors.clear()
        sizes = [len(tensor) for _, tensor in pairs if tensor.ndim]
        size = len(rows) if rows is not None else max(sizes, key=sizes.count, default=0)
        self.fetched += 1
        if self.fetched > MOST_BATCHES_A_PASS:
            self.forget(trace)
            self.fetched = 1
        if self.fetched == 1:
            self._size = size
        # no loader: what modules are handed one after the other are the parts of one batch
        follows = self.fetched == 1 or (place < 0 and size == self._size)
        for path, tensor in pairs:
            self._marks[id(tensor)] = event.mark(path)
            self._tensors.append(tensor)
            if trace is not None:
                trace.mark(tensor, event.mark(path))
                known = place < 0 and trace.rows.knows(tensor)
                if follows and tensor.ndim and len(tensor) == size and not known:
                    trace.rows.begin(tensor)

    def note_arguments(
        self, step: int, name: str, args: Any, kwargs: Any, trace: Trace | None
    ) -> None:
        """A module was called and no loader gave its inputs: they stand for the batch."""
        pairs = [
            (f"{name}{path}", tensor)
            for path, tensor in tensors_in((args, kwargs))
            if tensor.grad_fn is None
            and not tensor.requires_grad
            and tensor.ndim
            and not self.mark_of(tensor)
            and (trace is None or not trace.of(tensor))
        ]
        if pairs:
            self.note(step, -1, pairs, None, True, trace)

    def forget(self, trace: Trace | None) -> None:
        self._marks.clear()
        self._tensors.clear()
        if trace is not None:
            trace.forget()

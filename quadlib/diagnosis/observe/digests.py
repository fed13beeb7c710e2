"""Whether tensors that no optimiser moves change all the same: a teacher, a queue, statistics."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from quadlib.diagnosis.observe.checksums import checksum
from quadlib.diagnosis.observe.names import living
from quadlib.diagnosis.observe.record import Record


def note_digests(record: Record) -> None:
    """Takes the checksums of what no optimiser that has stepped can move: the first time both,
    later the second one anew.
    """
    for name, tensor in _unmoved(record):
        now = checksum(tensor)
        first = record.digests.get(name, (now, now))[0]
        record.digests[name] = (first, now)


def _unmoved(record: Record) -> Iterator[tuple[str, Tensor]]:
    moved = {
        id(parameter)
        for optimiser in record.optimisers
        for group in optimiser.param_groups
        for parameter in group["params"]
        if parameter.requires_grad
    }
    for name, parameter in record.parameters.items():
        if id(parameter) not in moved:
            yield name, parameter
    for name, module in record.modules.items():
        for part, buffer in module.named_buffers(recurse=False):
            yield f"{name}.{part}", buffer


class Bystanders:
    """Checksums of weights that took no part in the watched steps: copies, averages, teachers."""

    def __init__(self, record: Record) -> None:
        known = {id(parameter) for parameter in record.parameters.values()}
        self._first = {
            id(parameter): (parameter, checksum(parameter))
            for module in living(nn.Module)
            for parameter in module._parameters.values()
            if parameter is not None and id(parameter) not in known
        }

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All of their weights, under names of no meaning."""
        return {f"copy {n}": kept for n, (kept, _) in enumerate(self._first.values())}

    def still(self, module: nn.Module) -> bool:
        """Whether all weights of a module are the ones that it had."""
        own = list(module.parameters())
        return bool(own) and all(
            id(p) in self._first and checksum(p) == self._first[id(p)][1] for p in own
        )

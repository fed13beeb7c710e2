"""What each layer does to the variation over the batch: where it dies, the layer is named."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from quadlib.diagnosis.observe.leaves import tensors_in
from quadlib.diagnosis.observe.record import LayerCall
from quadlib.diagnosis.observe.row_trace import RowTrace, batch_dim
from quadlib.diagnosis.observe.variation import variation

MOST_LAYERS = 2000
CHANGED_BY_MODE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class LayerWatch:
    """Collects the calls of leaf modules between two backward passes."""

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []

    def saw(
        self, name: str, module: nn.Module, args: Any, result: Any, gradient: bool, rows: RowTrace
    ) -> None:
        entering, leaving = _variation(args), _variation(result)
        if entering is None or leaving is None or len(self.calls) >= MOST_LAYERS:
            return
        kind, torn = type(module).__name__, _torn(module, args, rows)
        self.calls.append(LayerCall(name, kind, entering, leaving, module.training, gradient, torn))

    def take(self) -> tuple[LayerCall, ...]:
        """The calls so far; the next ones start a new list."""
        calls, self.calls = tuple(self.calls), []
        return calls

    def clear(self) -> None:
        self.calls = []


def _torn(module: nn.Module, args: Any, rows: RowTrace) -> tuple[int, ...]:
    """The shape of a layer's input whose rows are torn; empty where they are whole."""
    if not module._parameters:
        return ()
    for _, tensor in tensors_in(args)[:1]:
        if rows.torn(tensor, batch_dim(module)):
            return tuple(tensor.shape)
    return ()


def _variation(value: Any) -> float | None:
    """Mean variance over the rows relative to the mean square, of the first float tensor of more
    than one row; NaN where it is not finite, None where there is none.
    """
    for _, tensor in tensors_in(value):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim >= 2:
            if len(tensor) < 2:
                return None
            return variation(tensor)
    return None


def differs_in_training(module: nn.Module) -> bool:
    """Whether the module computes something else in training mode, in which it is."""
    return any(part.training and _changes(part) for part in module.modules())


def _changes(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.dropout._DropoutNd):
        return layer.p > 0
    return isinstance(layer, CHANGED_BY_MODE) and layer.running_mean is not None


def gathers_statistics(module: nn.Module) -> bool:
    """Whether a batch norm in it takes the plain mean over the batches to come, as an update of the
    statistics after weight averaging does, in training mode on purpose.
    """
    norms = (m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return any(part.training and part.momentum is None for part in norms)

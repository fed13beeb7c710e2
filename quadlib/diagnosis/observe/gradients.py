"""Gradients of weights and of compared rows: whether each is used once, and where it points."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.graph import Comparison
from quadlib.diagnosis.observe.record import ParameterStep, RowGradient

HALF = (torch.float16, torch.bfloat16)


class GradientWatch:
    """Follows the parameters' gradients from a backward pass to the step that uses them."""

    def __init__(self) -> None:
        self._state: dict[str, str] = {}  # parameter -> "fresh" or "used"
        self._carried: set[str] = set()  # gradients with a part that a step has used already
        self._followed = False  # whether a step has used any gradient of the last pass

    def before_backward(self, parameters: Mapping[str, Tensor]) -> int:
        """How many gradients were cleared before a step, of a pass of which none was used: one part
        may leave gradients in another's weights, which that one clears.
        """
        present = {
            name
            for name in self._state
            if (gradient := parameters[name].grad) is not None and bool(gradient.any())
        }
        used = {name for name, state in self._state.items() if state == "used"}
        fresh = {name for name, state in self._state.items() if state == "fresh"}
        self._carried = present & (self._carried | used)
        return 0 if present & fresh or self._followed else len(fresh)

    def after_backward(self, parameters: Mapping[str, Tensor]) -> dict[str, float | None]:
        """The norm of every gradient, None where there is none."""
        self._followed = False
        names = [name for name, parameter in parameters.items() if parameter.grad is not None]
        gradients = [_dense(parameters[name].grad) for name in names]
        norms: dict[str, float | None] = dict.fromkeys(parameters)
        for name, norm in zip(names, norms_of(gradients), strict=True):
            norms[name] = norm
            if norm != 0:
                self._state[name] = "fresh"
        return norms

    def used(self, names: Collection[str]) -> frozenset[str]:
        """A step followed these gradients; those with a part that an earlier one had followed."""
        self._state |= dict.fromkeys(names, "used")
        self._followed = self._followed or bool(names)
        again = self._carried & set(names)
        self._carried -= again
        return frozenset(again)

    def forget(self) -> None:
        """The gradients were thrown away on purpose, as a scaler does."""
        self._state.clear()
        self._carried.clear()


def norms_of(tensors: list[Tensor]) -> list[float]:
    """The norm of each tensor, in as few kernels and copies as there are devices and dtypes."""
    if not tensors:
        return []
    norms = torch._foreach_norm(tensors)
    if len({norm.device for norm in norms}) == 1:
        return torch.stack([norm.float() for norm in norms]).tolist()
    return [float(norm) for norm in norms]


def _dense(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient.coalesce().values() if gradient.is_sparse else gradient


class RowWatch:
    """Notes the loss's derivative by the compared outputs when a backward pass reaches them."""

    def __init__(self) -> None:
        self._noted: list[RowGradient] = []

    def watch(
        self, step: int, comparison: Comparison, outputs: Mapping[Any, tuple[str, str, Tensor]]
    ) -> None:
        """Hooks the outputs (module, path, value) that are nearest behind a comparison."""
        self._noted.clear()
        for name, path, rows in outputs.values():
            if (name, path) in comparison.source and rows.ndim == 2:
                rows.register_hook(self._noting(step, name, path, rows))

    def take(self) -> list[RowGradient]:
        """What the last pass left."""
        noted, self._noted = self._noted, []
        return noted

    def _noting(self, step: int, name: str, path: str, rows: Tensor) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            kept = (value.detach().float().cpu().clone() for value in (rows, gradient))
            self._noted.append(RowGradient(step, name, path, *kept))

        return note


def parameter_step(parameter: Tensor, before: Tensor | None) -> ParameterStep:
    """Norms of a parameter's gradient, of its change since `before`, and of that."""
    if before is None or before.shape != parameter.shape:
        return ParameterStep(None, 0.0, float(parameter.norm()))
    gradient = None if parameter.grad is None else float(parameter.grad.norm())
    unmoved = None
    if parameter.dtype in HALF and parameter.grad is not None and not parameter.grad.is_sparse:
        followed = parameter.grad != 0
        still = (parameter == before) & followed
        unmoved = float(still.sum()) / max(int(followed.sum()), 1)
    update = float((parameter - before).norm())
    return ParameterStep(gradient, update, float(before.norm()), unmoved)

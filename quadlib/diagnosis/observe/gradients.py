"""Gradients of weights and of compared rows: whether each is used once, and where it points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.graph import Comparison
from quadlib.diagnosis.observe.record import ParameterStep, RowGradient


class GradientWatch:
    """Follows the parameters' gradients from a backward pass to the step that uses them."""

    def __init__(self) -> None:
        self._state: dict[str, str] = {}  # parameter -> "fresh" or "used"

    def before_backward(self, parameters: Mapping[str, Tensor]) -> tuple[int, int]:
        """How many gradients that a step has used are still there, and how many fresh ones were
        cleared before a step.
        """
        present = {
            name
            for name in self._state
            if (gradient := parameters[name].grad) is not None and bool(gradient.any())
        }
        used = {name for name, state in self._state.items() if state == "used"}
        fresh = {name for name, state in self._state.items() if state == "fresh"}
        return len(present & used), 0 if present & fresh else len(fresh)

    def after_backward(self, parameters: Mapping[str, Tensor]) -> dict[str, float | None]:
        """The norm of every gradient, None where there is none."""
        names = [name for name, parameter in parameters.items() if parameter.grad is not None]
        gradients = [_dense(parameters[name].grad) for name in names]
        norms: dict[str, float | None] = dict.fromkeys(parameters)
        for name, norm in zip(names, norms_of(gradients), strict=True):
            norms[name] = norm
            if norm != 0:
                self._state[name] = "fresh"
        return norms

    def used(self, name: str) -> None:
        self._state[name] = "used"

    def forget(self) -> None:
        """The gradients were thrown away on purpose, as a scaler does."""
        self._state.clear()


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
    return ParameterStep(gradient, float((parameter - before).norm()), float(before.norm()))

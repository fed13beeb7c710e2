"""Whether every gradient is used once: not again after a step, and not cleared before one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


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

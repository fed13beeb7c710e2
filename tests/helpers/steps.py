"""Training steps as a user would write them, for the small models of the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def step_of(model: Any, loss: Any, optimizer: Any = None) -> Callable[[Any], Tensor]:
    """zero_grad, forward, loss, backward, step over (inputs, labels), or a batch with them by name;
    without an optimiser no weight moves.
    """

    def train_step(batch: Any) -> Tensor:
        named = isinstance(batch, Mapping)
        inputs, labels = (batch["inputs"], batch["labels"]) if named else batch
        model.zero_grad()
        value: Tensor = loss(model(inputs), labels)
        value.backward()
        if optimizer is not None:
            optimizer.step()
        return value.detach()

    return train_step

"""What a pipeline's own step gives its loss, and which parameters get a gradient, without any
doctor: for the self-checks.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.subject import Subject


@dataclass(frozen=True)
class Watched:
    """rows and labels that the loss was called with; names of parameters that got a gradient."""

    rows: Tensor
    labels: Tensor
    gradients: frozenset[str]


def watched_step(subject: Subject, batch: Any) -> Watched:
    """One step of the pipeline, which is put back afterwards."""
    assert subject.train_step is not None
    parts = [part for part in (subject.model, subject.optimizer) if part is not None]
    states, random = [copy.deepcopy(part.state_dict()) for part in parts], torch.get_rng_state()
    given: list[tuple[Tensor, ...]] = []
    gradients: set[str] = set()
    handles: list[Any] = [
        subject.loss.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    ]
    handles += [
        p.register_post_accumulate_grad_hook(lambda p, name=name: gradients.add(name))
        for name, p in subject.model.named_parameters()
        if p.requires_grad
    ]
    try:
        subject.train_step(batch)
    finally:
        for handle in handles:
            handle.remove()
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
        torch.set_rng_state(random)
    rows, labels = given[0][0].detach().clone(), torch.as_tensor(given[0][1])
    return Watched(rows, labels, frozenset(gradients))

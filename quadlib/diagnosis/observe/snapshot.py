"""Keeps a subject as it was: whatever an examination touches is put back, bit for bit."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn


class Snapshot:
    """Random states, weights, buffers, gradients, modes and optimiser, scheduler, scaler and
    generator states of a subject.

    Everything is copied back in place, so that object identities (a parameter in an optimiser) stay
    what they were.
    """

    def __init__(self, model: Any, stateful: list[Any]) -> None:
        self.model = model if isinstance(model, nn.Module) else None
        self.random = (
            random.getstate(),
            np.random.get_state(),  # noqa: NPY002 - the user's code may draw from it
            torch.get_rng_state(),
            torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        )
        self.stateful = [
            (item, copy.deepcopy(item.state_dict()))
            for item in stateful
            if hasattr(item, "state_dict") and hasattr(item, "load_state_dict")
        ]
        self.generators = [
            pair
            for item in stateful
            for value in getattr(item, "__dict__", {}).values()
            for pair in _generator(value)
        ]
        modules = [] if self.model is None else list(self.model.modules())
        parameters = {id(p): p for module in modules for p in module.parameters(recurse=False)}
        # a step also moves what only the optimiser holds, such as a classifier that belongs to the
        # loss
        parameters |= {
            id(p): p
            for item in stateful
            for group in getattr(item, "param_groups", ())
            for p in group["params"]
        }
        buffers = [] if self.model is None else list(self.model.buffers())
        self.modes = [(module, module.training) for module in modules]
        self.values = [
            (tensor, tensor.detach().clone()) for tensor in (*parameters.values(), *buffers)
        ]
        self.gradients = [
            (p, p.grad, None if p.grad is None else p.grad.detach().clone())
            for p in parameters.values()
        ]
        self.hooks = [
            (module, {name: dict(getattr(module, name)) for name in HOOKS}) for module in modules
        ]

    def restore(self) -> None:
        with torch.no_grad():
            for tensor, value in self.values:
                tensor.copy_(value)
            for parameter, gradient, kept in self.gradients:
                parameter.grad = gradient
                if gradient is not None and kept is not None:
                    gradient.copy_(kept)
        for module, training in self.modes:
            module.training = training
        for module, hooks in self.hooks:
            for name, entries in hooks.items():
                own = getattr(module, name)
                own.clear()
                own.update(entries)
        for item, state in self.stateful:
            # load_state_dict of an optimiser casts and may share what it is given: hand it a copy
            item.load_state_dict(copy.deepcopy(state))
        for put_back, state in self.generators:
            put_back(state)
        python, legacy, cpu, cuda = self.random
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _generator(value: Any) -> list[tuple[Callable[[Any], object], Any]]:
    """How a random generator's state is put back, and that state; none for anything else."""
    if isinstance(value, torch.Generator):
        return [(value.set_state, value.get_state())]
    if isinstance(value, np.random.Generator):
        return [(partial(setattr, value.bit_generator, "state"), value.bit_generator.state)]
    return [(value.setstate, value.getstate())] if isinstance(value, random.Random) else []

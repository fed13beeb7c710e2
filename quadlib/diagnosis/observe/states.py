"""Mappings of weights: which of them are the living weights, and what a saved one holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis.observe.leaves import holds_items

MOST_DEPTH = 4
MOST_COMPARED_BYTES = 64 << 20
# A module's own tables of tensors, which are no state that somebody kept.
OWN_TABLES = ("_parameters", "_buffers", "_modules")


def is_state(value: Any) -> bool:
    """Whether a value maps names to tensors that are no parameters, as a state dict does."""
    return (
        holds_items(value)
        and bool(value)
        and all(type(key) is str for key in value)
        and any(isinstance(item, Tensor) for item in value.values())
        and not any(isinstance(item, nn.Parameter) for item in value.values())
    )


def states_at_hand(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The state dicts among a loop's variables, in lists and mappings of them too."""
    for name, value in pairs:
        if name in OWN_TABLES:
            continue
        if is_state(value):
            yield name, value
        elif type(value) in (list, tuple):
            yield from ((f"{name}[{n}]", item) for n, item in enumerate(value) if is_state(item))
        elif holds_items(value):
            for key, item in list(value.items()):
                if is_state(item):
                    yield f"{name}[{key!r}]", item


def living(state: Mapping[str, Any], addresses: Mapping[int, str]) -> list[str]:
    """Names of the living parameters of which a state holds the very storage."""
    tensors = (item for item in state.values() if isinstance(item, Tensor))
    return [addresses[t.data_ptr()] for t in tensors if t.data_ptr() in addresses]


def addresses_of(parameters: Mapping[str, Tensor]) -> dict[int, str]:
    """Where each parameter's values lie in memory -> its name."""
    return {p.data_ptr(): name for name, p in parameters.items() if p.numel() and p.data_ptr()}


def weights_in(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """The tensors of a saved object, without those of an optimiser's state."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.state_dict().values()
    elif depth == MOST_DEPTH or is_optimiser_state(value):
        return
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from weights_in(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from weights_in(item, depth + 1)


def optimiser_states_in(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The optimisers' states inside a saved object."""
    if is_optimiser_state(value):
        yield value
    elif isinstance(value, Mapping) and depth < MOST_DEPTH:
        for item in value.values():
            yield from optimiser_states_in(item, depth + 1)
    elif isinstance(value, (list, tuple)) and depth < MOST_DEPTH:
        for item in value:
            yield from optimiser_states_in(item, depth + 1)


def is_optimiser_state(value: Any) -> bool:
    return isinstance(value, Mapping) and {"state", "param_groups"} <= set(value)


def held_by(tensors: Iterable[Tensor], parameters: Mapping[str, Tensor]) -> frozenset[str]:
    """Names of the parameters whose values are among these tensors."""
    addresses = addresses_of(parameters)
    by_shape: dict[tuple[int, ...], list[Tensor]] = {}
    names, compared = set(), 0
    for tensor in tensors:
        if tensor.data_ptr() in addresses:
            names.add(addresses[tensor.data_ptr()])
        else:
            by_shape.setdefault(tuple(tensor.shape), []).append(tensor.detach())
    for name, parameter in parameters.items():
        compared += parameter.numel() * parameter.element_size()
        if name in names or compared > MOST_COMPARED_BYTES:
            continue
        value = parameter.detach().cpu()
        copies = by_shape.get(tuple(parameter.shape), ())
        if any(torch.equal(value, copy.cpu().to(value.dtype)) for copy in copies):
            names.add(name)
    return frozenset(names)


def lacking(
    tensors: Iterable[Tensor], live: frozenset[int], wanted: Mapping[str, Tensor]
) -> frozenset[str]:
    """Names of the wanted parameters of which a saved object holds neither the values (of those the
    ids are live) nor, left over, others of their shape.
    """
    shapes = Counter(tuple(tensor.shape) for tensor in tensors)
    shapes.subtract(tuple(part.shape) for part in wanted.values() if id(part) in live)
    missing = [name for name, part in wanted.items() if id(part) not in live]
    return frozenset(name for name in missing if shapes[tuple(wanted[name].shape)] <= 0)


def statistics_left_out(content: Any, modules: Iterable[nn.Module]) -> tuple[str, ...]:
    """Names of the running statistics of an outermost module of which a saved object holds every
    parameter by name, and none of these; empty where there is no such module.
    """
    tables = list(_tables_in(content))
    every = {name for table in tables for name in table}
    modules = list(modules)
    inner = {id(child) for module in modules for child in module.children()}
    for module in modules:
        own = [n for n, _ in module.named_buffers() if n.endswith(("running_mean", "running_var"))]
        if id(module) in inner or not own or every & set(own):
            continue
        weights = dict(module.named_parameters())
        if any(all(_fits(table.get(n), w) for n, w in weights.items()) for table in tables):
            return tuple(own)
    return ()


def _fits(value: Any, weight: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == weight.shape


def _tables_in(value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The mappings of a saved object that name tensors."""
    if not isinstance(value, Mapping) or depth == MOST_DEPTH or is_optimiser_state(value):
        return
    if any(isinstance(item, Tensor) for item in value.values()):
        yield value
    for item in value.values():
        yield from _tables_in(item, depth + 1)


def holds_schedule(value: Any, depth: int = 0) -> bool:
    """Whether a saved object holds the state of a scheduler."""
    if not isinstance(value, Mapping) or depth == MOST_DEPTH:
        return False
    return "last_epoch" in value or any(holds_schedule(v, depth + 1) for v in value.values())


def loaded_onto_itself(module: nn.Module, state: Any) -> bool:
    """Whether most of what is loaded into a module are its own weights, as they live."""
    own = {t.data_ptr() for t in module.parameters() if t.numel()}
    given = [t for t in state.values() if isinstance(t, Tensor) and t.numel()]
    shared = {t.data_ptr() for t in given} & own
    return bool(own) and len(shared) > 0.5 * len(own)

"""Forward passes in evaluation mode on changed copies of a batch: which input moves which row of
the embeddings.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis.evidence.features import by_modality
from quadlib.diagnosis.observe.variation import variation
from quadlib.diagnosis.subject import Subject, Unavailable

if TYPE_CHECKING:
    from quadlib.diagnosis.evidence.examination import Examination


@dataclass(frozen=True)
class ModuleTrace:
    """One call of a module: its variance over the batch relative to the mean square, of what went
    in and of what came out.
    """

    name: str
    leaf: bool
    entering: float
    leaving: float


class Forward:
    """Embeddings of the first batch, and of copies of it with inputs or presence changed, in
    evaluation mode.

    Dropout is off, the random state is the same in every pass, modes and random states are put
    back. Raises Unavailable where the inputs of a batch are not tensors of one row a sample.
    """

    def __init__(self, x: Examination) -> None:
        self.subject, self.batch, self.limits = x.subject, x.batches[0], x.limits
        self.has_view_axis = False  # whether the model gives (N, V, D), known after the first pass

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The batch's inputs by modality, floating point, all of one length."""
        return inputs_of(self.subject, self.batch)

    @property
    def rows(self) -> int:
        """How many samples the batch holds."""
        return len(next(iter(self.inputs.values())))

    @cached_property
    def present(self) -> Tensor | None:
        """The batch's own mask (B, M), or None where it has none."""
        return presence_of(self.batch, self.rows, len(self.inputs))

    @cached_property
    def base(self) -> Tensor:
        """Embeddings of the batch as it is: (N, D) on the CPU, several views stacked view by
        view.
        """
        return self.embed()

    def embed(
        self, changed: Mapping[str, Tensor] | None = None, present: Tensor | None = None
    ) -> Tensor:
        """The same with some inputs, or the mask, replaced."""
        batch = with_inputs(self.subject, self.batch, changed) if changed else copy.copy(self.batch)
        if present is not None:
            batch = _with(batch, "present", present)
        with evaluation_mode(self.subject.model):
            embeddings = self.subject.embed_batch(batch).detach().float().cpu()
        self.has_view_axis = embeddings.ndim == 3
        return embeddings.transpose(0, 1).flatten(0, 1) if self.has_view_axis else embeddings

    def there(self, name: str) -> Tensor:
        """Which rows have a modality, by the batch's mask: (B,) bool."""
        if self.present is None:
            return torch.ones(self.rows, dtype=torch.bool)
        return self.present[:, list(self.inputs).index(name)].bool().cpu()

    @cached_property
    def varying(self) -> list[str]:
        """The modalities that vary over the rows that have them."""
        return [
            name
            for name, values in self.inputs.items()
            if self.there(name).sum() > 1
            and variation(values[self.there(name).to(values.device)]) > self.limits.dead_variance
        ]

    @cached_property
    def sensitivity(self) -> dict[str, float]:
        """Mean squared change of the unit embeddings when one varying modality is exchanged among
        the rows that have it.
        """
        found = {}
        base = nn.functional.normalize(self.base, dim=1)
        for name in self.varying:
            values, rows = (
                self.inputs[name].clone(),
                self.there(name).nonzero().flatten().to(self.inputs[name].device),
            )
            values[rows] = values[rows.roll(max(len(rows) // 2, 1))]
            found[name] = float(
                (nn.functional.normalize(self.embed({name: values}), dim=1) - base)
                .square()
                .sum(dim=1)
                .mean()
            )
        return found

    @cached_property
    def trace(self) -> list[ModuleTrace]:
        """Every module of the model in the order in which it was left."""
        seen: list[ModuleTrace] = []

        def hook(name: str, leaf: bool) -> Any:
            def look(module: nn.Module, inputs: Any, output: Any) -> None:
                entering, leaving = _first_tensor(inputs), _first_tensor(output)
                if leaving is not None and len(leaving) > 1:
                    seen.append(
                        ModuleTrace(
                            name,
                            leaf,
                            variation(entering) if entering is not None else float("nan"),
                            variation(leaving),
                        )
                    )

            return look

        handles = [
            module.register_forward_hook(hook(name, not list(module.children())))
            for name, module in self.subject.model.named_modules()
            if name
        ]
        try:
            self.embed()
        finally:
            for handle in handles:
                handle.remove()
        return seen


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Evaluation mode, no gradient and one fixed random state inside; everything as before
    afterwards.
    """
    modes = (
        [(module, module.training) for module in model.modules()]
        if isinstance(model, nn.Module)
        else []
    )
    if modes:
        model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(0)
            yield
    finally:
        for module, training in modes:
            module.training = training


def inputs_of(subject: Subject, batch: Any) -> dict[str, Tensor]:
    """Floating inputs of a batch by modality: of a mapping, an object with `inputs`, a sequence of
    tensors, or one tensor as "input".
    """
    inputs = by_modality(subject.inputs_of(batch))
    found = {
        str(name): value
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.ndim >= 2 and value.is_floating_point()
    }
    if not found:
        raise Unavailable("a batch holds no floating input tensors of shape (N, ...)")
    if len({len(value) for value in found.values()}) > 1:
        raise Unavailable(
            "the inputs differ in rows: "
            f"{', '.join(f'{name} {len(value)}' for name, value in found.items())}"
        )
    return found


def presence_of(batch: Any, rows: int, modalities: int) -> Tensor | None:
    """A batch's mask `present` (B, M) as booleans, or None."""
    mask = batch.get("present") if isinstance(batch, Mapping) else getattr(batch, "present", None)
    return mask.bool() if isinstance(mask, Tensor) and mask.shape == (rows, modalities) else None


def with_inputs(subject: Subject, batch: Any, changed: Mapping[str, Tensor]) -> Any:
    """A copy of the batch with the inputs of these modalities replaced; the batch itself is left as
    it is.
    """
    node = subject.inputs_of(batch)
    inner = getattr(node, "inputs", node)
    fresh: Any
    if isinstance(inner, Tensor):
        fresh = changed["input"]
    elif isinstance(inner, (tuple, list)):
        fresh = type(inner)(
            [changed.get(f"input {number}", value) for number, value in enumerate(inner)]
        )
    else:
        fresh = {**inner, **{name: changed[str(name)] for name in inner if str(name) in changed}}
    if node is not inner:
        fresh = _with(node, "inputs", fresh)
    if isinstance(batch, (tuple, list)):
        parts = [fresh, *batch[1:]] if len(batch) <= 2 else [*fresh, batch[-1]]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    if isinstance(batch, Mapping):
        place = next((name for name, value in batch.items() if value is node), None)
        return fresh if place is None else _with(batch, place, fresh)
    return fresh


def _with(holder: Any, name: str, value: Any) -> Any:
    """A shallow copy with one attribute or entry replaced."""
    if hasattr(holder, "_replace"):
        return holder._replace(**{name: value})
    result = copy.copy(holder)
    if isinstance(result, Mapping):
        result[name] = value  # type: ignore[index]
    else:
        object.__setattr__(result, name, value)
    return result


def _first_tensor(values: Any) -> Tensor | None:
    if isinstance(values, Tensor):
        return values if values.is_floating_point() and values.ndim else None
    for value in (
        values.values()
        if isinstance(values, Mapping)
        else values
        if isinstance(values, (tuple, list))
        else ()
    ):
        found = _first_tensor(value)
        if found is not None:
            return found
    return None

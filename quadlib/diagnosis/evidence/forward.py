"""The subject's step replayed on changed copies of a batch, in evaluation mode: which input moves
which row of the embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis.evidence.batch import input_paths, presence_of, presence_path
from quadlib.diagnosis.observe.leaves import replaced, tensors_in
from quadlib.diagnosis.observe.steps import NO_ROWS
from quadlib.diagnosis.observe.variation import variation
from quadlib.diagnosis.subject import Unavailable

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
    """What the loss is given for the first batch, and for copies of it with inputs or presence
    changed, in evaluation mode.

    Dropout is off, the random state is the same in every pass, and the subject is put back. Raises
    Unavailable where the inputs of a batch are not tensors of one row a sample.
    """

    def __init__(self, x: Examination) -> None:
        self.x, self.batch, self.limits = x, x.batches[0], x.limits
        self.paths = input_paths(self.batch, x.trajectory.reaching)
        self.has_view_axis = False  # whether the loss gets (N, V, D), known after the first pass

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """The batch's inputs by modality that reach the loss, floating point, all of one length."""
        leaves = dict(tensors_in(self.batch))
        return {name: leaves[path] for name, path in self.paths.items()}

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
        changes = {self.paths[name]: values for name, values in (changed or {}).items()}
        mask = presence_path(self.batch, self.rows, len(self.inputs))
        if present is not None and mask is not None:
            changes[mask] = present
        step = self.x.replay(replaced(self.batch, changes))
        if step.rows is None:
            raise Unavailable(NO_ROWS)
        self.has_view_axis = step.view_axis
        return step.rows.float().cpu()

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
            for name, module in self.x.subject.model.named_modules()
            if name
        ]
        try:
            self.embed()
        finally:
            for handle in handles:
                handle.remove()
        return seen


def _first_tensor(values: Any) -> Tensor | None:
    tensors = (t for _, t in tensors_in(values) if t.is_floating_point() and t.ndim)
    return next(tensors, None)

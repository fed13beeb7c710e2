"""Which rows of a batch a loss draws together, and which it drives apart, pair by pair.

Whatever compares two sets of activations whose rows are rows of the batch, a product, a distance or
a difference, is noted as it is computed. The loss's derivative by its result, read while gradients
are computed, says of each pair what a step does to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.nodes import kept, plain
from quadlib.diagnosis.observe.record import Force
from quadlib.diagnosis.observe.row_trace import UNKNOWN, RowTrace, place_of

MOST_NODES = 4000
MOST_PAIRS = 1 << 20
MOST_VALUES = 1 << 23
MOST_LEVELS = 4
FEWEST_ROWS = 4
# Node -> where it keeps an operand. Differences are met again in what squares or sums them.
KEEPERS = {
    "Mm": ("_saved_self", "_saved_mat2"),
    "Bmm": ("_saved_self", "_saved_mat2"),
    "Mul": ("_saved_self", "_saved_other"),
    "Cdist": ("_saved_x1", "_saved_x2"),
    "EuclideanDist": ("_saved_x1", "_saved_x2"),
    "Pow": ("_saved_self",),
    "LinalgVectorNorm": ("_saved_self",),
    "Norm": ("_saved_self",),
    "Abs": ("_saved_self",),
}
# What may leave some pairs out, or let them go once they are far enough.
GATES = (
    "Relu", "Clamp", "ClampMin", "ClampMax", "Threshold", "Maximum", "Minimum", "Max", "Min",
    "Where", "Index", "MaskedSelect", "Topk", "Sort", "Amax", "Amin", "Gather", "HardtanhB",
)  # fmt: skip


@dataclass(frozen=True)
class Met:
    """Two sets of rows that an operation compared: of which rows of the batch they are, (n,) and
    (m,). paired: row i with row i alone. difference: of a difference, its value.
    """

    left: Tensor
    right: Tensor
    paired: bool
    same: bool
    how: str
    difference: Tensor | None = None


class Comparisons:
    """The comparisons that were computed since the trace's tensors were forgotten, by where an
    operand of them is stored.
    """

    def __init__(self, rows: RowTrace) -> None:
        self._rows = rows
        self._met: dict[Any, Met] = {}

    def forget(self) -> None:
        self._met.clear()

    def of(self, node: Any) -> Met | None:
        """The comparison that a node of the graph is, None for any other."""
        for attribute in KEEPERS.get(plain(node), ()):
            value = kept(node, attribute)
            if isinstance(value, Tensor) and value.layout == torch.strided:
                met = self._met.get((plain(node), place_of(value)))
                if met is not None:
                    return met
        return None

    def note(self, name: str, args: Any, results: list[Tensor]) -> None:
        """After an operation: whether it compares rows of the batch."""
        if name in ("aten::mm", "aten::bmm"):
            self._product(args[0], args[1], "Mm" if name == "aten::mm" else "Bmm")
        elif name == "aten::mul" and isinstance(args[1], Tensor):
            self._by_element(args[0], args[1], args[:2], "Mul", None)
        elif name == "aten::sub" and isinstance(args[1], Tensor):
            for node in ("Pow", "LinalgVectorNorm", "Norm", "Abs"):
                self._by_element(args[0], args[1], results, node, results[0])
        elif name in ("aten::add", "aten::sub") and results:  # a small number against a root of 0
            for node in ("Pow", "LinalgVectorNorm", "Norm"):
                met = self._met.get((node, place_of(args[0])))
                if met is not None:
                    self._met[node, place_of(results[0])] = met
        elif name in ("aten::_cdist_forward", "aten::_euclidean_dist"):
            node = "Cdist" if name == "aten::_cdist_forward" else "EuclideanDist"
            sides = [self._rows.of(side, side.ndim - 2) for side in args[:2]]
            self._add(args[0], args[1], sides, False, "distance", args[:2], node)

    def _product(self, left: Tensor, right: Tensor, node: str) -> None:
        one_each = left.ndim == 3 and left.shape[1] == right.shape[2] == 1 < len(left)
        if one_each:
            sides = [self._rows.of(left), self._rows.of(right)]
        elif left.ndim == 2 or len(left) == 1:
            sides = [self._rows.of(left, -2), self._rows.of(right, -1)]
        else:
            return
        self._add(left, right.mT, sides, one_each, "product", (left, right), node)

    def _by_element(
        self, left: Tensor, right: Tensor, keys: Iterable[Tensor], node: str, value: Tensor | None
    ) -> None:
        how = "product" if value is None else "difference"
        if left.ndim == right.ndim == 2 and left.shape == right.shape:
            sides = [self._rows.of(left), self._rows.of(right)]
            self._add(left, right, sides, True, how, keys, node, value)
        elif left.ndim == right.ndim == 3 and left.shape[1] == 1 and right.shape[0] == 1:
            sides = [self._rows.of(left), self._rows.of(right, 1)]
            self._add(left[:, 0], right[0], sides, False, how, keys, node, value)

    def _add(
        self, left: Tensor, right: Tensor, sides: list[Tensor | None], paired: bool, how: str,
        keys: Iterable[Tensor], node: str, value: Tensor | None = None,
    ) -> None:  # fmt: skip
        one, other = sides
        if one is None or other is None or left.shape[-1] < 2:
            return
        if min(len(one), len(other)) < FEWEST_ROWS or len(one) * len(other) > MOST_PAIRS:
            return
        if value is not None and value.numel() > MOST_VALUES:
            return
        if not all(int((side != UNKNOWN).sum()) >= FEWEST_ROWS for side in (one, other)):
            return
        same = left.shape == right.shape and bool(torch.equal(left, right))
        met = Met(one, other, paired, same and not paired, how, value)
        for key in keys:
            self._met[node, place_of(key)] = met


class ForceWatch:
    """Reads the loss's derivative by each comparison of a traced pass."""

    def __init__(self) -> None:
        self._noted: list[Force] = []

    def watch(
        self, step: int, loss: Tensor, comparisons: Comparisons, outputs: Mapping[Any, Any]
    ) -> bool:
        """Hooks the comparisons nearest the loss. Returns whether the loss depends on the models
        through them alone.
        """
        self._noted.clear()
        roots = [loss.grad_fn] if loss.grad_fn is not None else []
        for _ in range(MOST_LEVELS):
            found, behind, open_end = _walk(roots, comparisons, outputs)
            for node, met, gated in found:
                self._hook(step, node, met, gated)
            if found or not behind:
                return bool(found) and not behind and not open_end
            roots = behind
        return False

    def take(self) -> list[Force]:
        """What the last pass left."""
        noted, self._noted = self._noted, []
        return noted

    def _hook(self, step: int, node: Any, met: Met, gated: bool) -> None:
        moves = [child is not None for child, _ in node.next_functions][-2:]

        def note(pull: Tensor | None, both: bool) -> None:
            if pull is None:
                return
            whole = torch.Size([len(met.left)] if met.paired else [len(met.left), len(met.right)])
            if pull.shape != whole:
                return
            pull = pull.detach().float().cpu().clone()
            self._noted.append(
                Force(step, met.left, met.right, pull, met.paired, met.same, met.how, gated, both)
            )

        if met.difference is None:
            both = len(moves) == 2 and all(moves)
            node.register_prehook(_before(met, both, note))
        else:
            source = node.next_functions[0][0]
            while source is not None and plain(source) == "Add":
                source = source.next_functions[0][0]
            ends = [child is not None for child, _ in getattr(source, "next_functions", ())]
            node.register_hook(_after(met, len(ends) == 2 and all(ends), note))


def _before(met: Met, both: bool, note: Callable[[Tensor | None, bool], None]) -> Any:
    def before(gradients: tuple[Tensor | None, ...]) -> None:
        gradient = gradients[0]
        if gradient is None:
            return
        if met.how == "distance":
            note(gradient.reshape(gradient.shape[-2:]), both)
        elif met.paired or gradient.ndim == 3:
            note(_along_features(met, gradient), both)
        else:
            note(-gradient, both)

    return before


def _along_features(met: Met, gradient: Tensor) -> Tensor | None:
    """A similarity's derivative from that of its terms, which share it; None where they do not."""
    if gradient.ndim == 3 and gradient.shape[1:] == (1, 1):
        return -gradient[:, 0, 0]
    if gradient.ndim == 3 and len(gradient) == 1:
        return -gradient[0]
    if not bool((gradient == gradient[..., :1]).all()):
        return None
    return -gradient[..., 0]


def _after(met: Met, both: bool, note: Callable[[Tensor | None, bool], None]) -> Any:
    def after(inputs: tuple[Tensor | None, ...], _: Any) -> None:
        if inputs[0] is not None and met.difference is not None:
            note((inputs[0] * met.difference).sum(-1), both)

    return after


def _walk(
    roots: list[Any], comparisons: Comparisons, outputs: Mapping[Any, Any]
) -> tuple[list[tuple[Any, Met, bool]], list[Any], bool]:
    """Behind some nodes: the comparisons nearest them, each with whether a gate lies in front of
    it; the modules' outputs that are reached otherwise; whether weights are.
    """
    found: dict[Any, tuple[Any, Met, bool]] = {}
    behind: list[Any] = []
    open_end = False
    queue = deque((root, False) for root in roots)
    known: dict[Any, bool] = {}  # node -> whether it was reached through a gate
    while queue and len(known) < MOST_NODES:
        node, gated = queue.popleft()
        if node is None or (node in known and (known[node] or not gated)):
            continue
        known[node] = gated
        met = comparisons.of(node)
        # a table of similarities that is multiplied by a mask is compared behind it
        if met is not None and not (met.paired and _compares_behind(node, comparisons, outputs)):
            found[node] = (node, met, gated)
            continue
        if node in outputs and outputs[node][2].ndim >= 2 and node not in roots:
            behind += [] if node in behind else [node]
            continue
        weight = kept(node, "variable")
        open_end = open_end or (isinstance(weight, Tensor) and weight.numel() > 1)
        gated = gated or plain(node) in GATES
        queue.extend((child, gated) for child, _ in node.next_functions)
    return list(found.values()), behind, open_end or len(known) >= MOST_NODES


def _compares_behind(node: Any, comparisons: Comparisons, outputs: Mapping[Any, Any]) -> bool:
    """Whether a comparison lies between a node and the modules' outputs behind it."""
    queue = deque(child for child, _ in node.next_functions)
    known: set[Any] = set()
    while queue and len(known) < MOST_NODES:
        here = queue.popleft()
        if here is None or here in known:
            continue
        known.add(here)
        if comparisons.of(here) is not None:
            return True
        if here not in outputs or outputs[here][2].ndim < 2:
            queue.extend(child for child, _ in here.next_functions)
    return False

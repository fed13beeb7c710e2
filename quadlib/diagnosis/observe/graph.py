"""What a loss compares, read off the autograd graph behind its value.

The product or distance of two activations nearest the loss holds the rows that are compared; the
scalar factors between it and the softmax are 1 / temperature; a saved target or a saved mask of
zeros and ones says which row is a positive of which. Only what autograd itself kept is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from quadlib.diagnosis.observe.nodes import REARRANGING, kept, plain
from quadlib.diagnosis.observe.pairs import Pairs, read_pairs
from quadlib.diagnosis.observe.variation import cosine_spread

MOST_NODES = 4000
MOST_ROWS = 512
MOST_VALUES = 1 << 24
# Names that autograd gives the nodes of products and distances, with where the operands are kept.
OPERANDS = {
    "MmBackward": ("_saved_self", "_saved_mat2"),
    "BmmBackward": ("_saved_self", "_saved_mat2"),
    "AddmmBackward": ("_saved_mat1", "_saved_mat2"),
    "BaddbmmBackward": ("_saved_batch1", "_saved_batch2"),
    "CdistBackward": ("_saved_x1", "_saved_x2"),
    "EuclideanDistBackward": ("_saved_x1", "_saved_x2"),
    "CosineSimilarityBackward": ("_saved_x1", "_saved_x2"),
}
PRODUCTS = ("MmBackward", "BmmBackward", "AddmmBackward", "BaddbmmBackward")
Output = tuple[str, str, Tensor]  # module, path, value


@dataclass(frozen=True)
class Comparison:
    """The rows that a loss compares, (n, d) and (m, d), as they were before the comparison.

    how: the operation. scale: the factor by which a product is multiplied on its way to the softmax
    (1 / temperature times the rows' norms where they are equal). softmax: whether one follows.
    targets: the class that a cross-entropy was given for each row; log_odds: what its softmax
    gave, (n, k). mask: who is a positive of whom, where the loss multiplies with such a matrix.
    same: both sides are one tensor. by: "product", "distance" or "outputs" where no comparison was
    found and modules' outputs stand in. source: the modules whose outputs are nearest behind the
    rows, with the path of the output. dtype: of the operands. pairs: the labels that a loss of
    single pairs gives them.
    """

    left: Tensor = field(repr=False)
    right: Tensor = field(repr=False)
    how: str
    by: str
    scale: float
    softmax: bool
    same: bool
    targets: Tensor | None = field(default=None, repr=False)
    mask: Tensor | None = field(default=None, repr=False)
    source: tuple[tuple[str, str], ...] = ()
    log_odds: Tensor | None = field(default=None, repr=False)
    dtype: str = "float32"
    pairs: Pairs | None = None

    @property
    def norms(self) -> tuple[float, float]:
        """Smallest and largest norm of a row."""
        lengths = torch.cat([self.left.norm(dim=1), self.right.norm(dim=1)])
        return float(lengths.min()), float(lengths.max())

    @property
    def spread(self) -> float:
        """Standard deviation of the cosines of different rows; about 0 when all are equal."""
        return cosine_spread(self.left[:MOST_ROWS])


def read_comparison(loss: Tensor, outputs: Mapping[Any, Output]) -> Comparison | None:
    """What the loss compares; None where its graph shows neither a comparison nor an output.

    outputs: autograd node -> (module name, output path, the output) of the modules called since the
    last backward pass, outermost last.
    """
    parents: dict[Any, list[Any]] = {}
    products: list[tuple[Any, Tensor, Tensor]] = []
    frontier: list[tuple[str, str, Tensor]] = []
    nodes = list(_walk(loss.grad_fn, parents))
    for node in nodes:
        operands = _operands(node, outputs)
        if operands is not None and _is_comparison(*operands):
            products.append((node, *operands))
        if node in outputs and outputs[node][2].ndim >= 2:
            frontier.append(outputs[node])
    if products:
        # rows compared one by one, as tokens in attention or a pair each, stand back
        node, left, right = next((p for p in products if not _one_by_one(p[1])), products[0])
        above = _above(node, parents)
        softmax, targets, log_odds, mask = _read_above(above)
        name = plain(node)
        behind = _nearest_outputs(node, outputs)
        by = "distance" if "Dist" in name else "product"
        return Comparison(
            _rows(left), _rows(right), name, by, _factor_above(node, parents), softmax,
            _one_source(node) or (len(behind) < 2 and _equal(left, right)), targets, mask,
            tuple(dict.fromkeys((module, path) for module, path, _ in behind)), log_odds,
            str(left.dtype).removeprefix("torch."), read_pairs(above, parents),
        )  # fmt: skip
    if not frontier:
        return None
    softmax, targets, log_odds, mask = _read_above(nodes)
    rows = _rows(frontier[0][2].detach())
    others = [t for _, _, t in frontier[1:] if t.shape == frontier[0][2].shape]
    other = _rows(others[0].detach()) if others else rows
    return Comparison(
        rows, other, "", "outputs", 1.0, softmax, not others, targets, mask,
        tuple((module, path) for module, path, _ in frontier), log_odds,
    )  # fmt: skip


def _above(node: Any, parents: dict[Any, list[Any]]) -> list[Any]:
    """The nodes between a node and the loss, nearest the node first."""
    above: list[Any] = []
    known: set[Any] = {node}
    queue = deque([node])
    while queue:
        for other in parents.get(queue.popleft(), []):
            if other not in known:
                known.add(other)
                above.append(other)
                queue.append(other)
    return above


def _read_above(
    nodes: list[Any],
) -> tuple[bool, Tensor | None, Tensor | None, Tensor | None]:
    """Whether a softmax is among these nodes, its targets and result, and a mask of positives."""
    softmax, targets, log_odds, mask = False, None, None, None
    for node in nodes:
        name = node.name()
        if "NllLoss" in name and targets is None:
            value = kept(node, "_saved_target")
            targets = None if value is None else value.detach().cpu()
        if "LogSoftmax" in name and log_odds is None:
            value = kept(node, "_saved_result")
            if value is not None and value.ndim == 2:
                log_odds = value.detach().float().cpu().clone()
        softmax = softmax or any(word in name for word in ("Softmax", "Logsumexp", "ExpBackward"))
        mask = _positive_mask(node) if mask is None else mask
    return softmax, targets, log_odds, mask


def _equal(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.equal(left, right)


def _one_by_one(left: Tensor) -> bool:
    return left.ndim == 3 and len(left) > 1


def _walk(root: Any, parents: dict[Any, list[Any]]) -> Iterator[Any]:
    """The nodes behind a value, nearest first, noting of each which nodes it feeds."""
    queue: deque[Any] = deque([root])
    known: set[Any] = set()
    while queue and len(known) < MOST_NODES:
        node = queue.popleft()
        if node is None or node in known:
            continue
        known.add(node)
        yield node
        for child, _ in node.next_functions:
            if child is not None:
                parents.setdefault(child, []).append(node)
                queue.append(child)


def _operands(node: Any, outputs: Mapping[Any, Output]) -> tuple[Tensor, Tensor] | None:
    """Both sides of a product or distance of activations, rows first; None for a layer's product
    with its weight.
    """
    name = node.name().rstrip("0123456789")
    if name == "MulBackward":
        return _broadcast(node)
    if name not in OPERANDS or any(_is_weight(child) for child, _ in node.next_functions):
        return None
    left, right = (kept(node, attribute) for attribute in OPERANDS[name])
    if isinstance(right, Tensor) and name in PRODUCTS:
        right = right.mT
    sides = [child for child, _ in node.next_functions][-2:]
    # autograd keeps one side alone where the other one needs no gradient, as keys of a queue
    if left is None and isinstance(right, Tensor):
        left = _value_behind(sides[0], outputs, right.shape[-1])
    elif right is None and isinstance(left, Tensor):
        right = _value_behind(sides[-1], outputs, left.shape[-1])
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return None
    return left.detach(), right.detach()


def _value_behind(node: Any, outputs: Mapping[Any, Output], width: int) -> Tensor | None:
    """The rows (n, width) that a node hands on: a module's output, or what a division kept, as a
    normalisation does.
    """
    while node is not None and node not in outputs and plain(node) in REARRANGING:
        node = node.next_functions[0][0] if node.next_functions else None
    if node is None:
        return None
    value = outputs[node][2] if node in outputs else None
    if node.name().startswith("DivBackward"):
        parts = kept(node, "_saved_self"), kept(node, "_saved_other")
        if all(isinstance(part, Tensor) for part in parts):
            value = parts[0] / parts[1]
    return value.detach() if value is not None and value.shape[-1] == width else None


def _broadcast(node: Any) -> tuple[Tensor, Tensor] | None:
    """Both sides of (n, 1, d) * (1, m, d), which a sum over d makes a product of rows."""
    left, right = kept(node, "_saved_self"), kept(node, "_saved_other")
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return None
    if left.ndim != 3 or right.ndim != 3 or max(left.numel(), right.numel()) > MOST_VALUES:
        return None
    if not torch.equal(left, left[:, :1].expand_as(left)):
        left, right = right, left
    if len(left) < 2 or right.shape[1] < 2 or right.shape[2] < 2:
        return None
    if not torch.equal(left, left[:, :1].expand_as(left)):
        return None
    if not torch.equal(right, right[:1].expand_as(right)):
        return None
    return left[:, 0].detach(), right[0].detach()


def _is_weight(node: Any) -> bool:
    """Whether a value is a parameter, seen through transposes."""
    while node is not None and node.name().startswith(("TBackward", "Permute", "Transpose")):
        node = node.next_functions[0][0] if node.next_functions else None
    return node is not None and "AccumulateGrad" in node.name()


def _is_comparison(left: Tensor, right: Tensor) -> bool:
    """Two sets of rows of one width; attention inside a model compares tokens, in 3 dimensions and
    with fewer rows than a batch, and stands behind the loss's own comparison.
    """
    return left.ndim >= 2 and right.ndim >= 2 and left.shape[-1] == right.shape[-1] > 1


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1]).float().cpu().clone()


def _one_source(node: Any) -> bool:
    """Whether both sides of a comparison come from one value."""
    sides = [_behind(child) for child, _ in node.next_functions if child is not None][-2:]
    return len(sides) == 2 and sides[0] is sides[1]


def _behind(node: Any) -> Any:
    """The node that feeds this one, behind whatever only rearranges."""
    while node is not None and plain(node) in REARRANGING and node.next_functions:
        node = node.next_functions[0][0]
    return node


def _nearest_outputs(node: Any, outputs: Mapping[Any, Output]) -> list[Output]:
    """The modules' outputs that are nearest behind a comparison."""
    nearest: list[Output] = []
    queue: deque[Any] = deque([node])
    known: set[Any] = set()
    while queue and len(known) < MOST_NODES:
        here = queue.popleft()
        if here is None or here in known:
            continue
        known.add(here)
        if here is not node and here in outputs:
            nearest.append(outputs[here])
            continue
        queue.extend(child for child, _ in here.next_functions)
    return nearest


def _factor_above(node: Any, parents: dict[Any, list[Any]]) -> float:
    """The factor by which a product is multiplied on its way to the softmax."""
    factor = 1.0
    for _ in range(12):
        above = parents.get(node, [])
        scaling = next((other for other in above if _scalar_of(other) is not None), None)
        if scaling is not None:
            value = _scalar_of(scaling)
            assert value is not None
            factor = factor * value if scaling.name().startswith("Mul") else factor / value
            node = scaling
            continue
        node = next((other for other in above if plain(other) in REARRANGING), None)
        if node is None:
            break
    return factor


def _scalar_of(node: Any) -> float | None:
    """The number that a multiplication or division node applies; None for anything else."""
    if not node.name().startswith(("MulBackward", "DivBackward")):
        return None
    for attribute in ("_saved_other", "_saved_self"):
        value = kept(node, attribute)
        if isinstance(value, Tensor) and value.numel() == 1 and float(value) != 0:
            return float(value)
    return None


def _positive_mask(node: Any) -> Any:
    """A matrix (n, n) of zeros and ones that a multiplication keeps and that is neither the
    identity nor its complement, or (n, m) with a single one in each row, which a selection may keep
    too: who is a positive of whom.
    """
    if node.name().startswith("WhereBackward"):
        chosen: Any = kept(node, "_saved_condition")
        if not isinstance(chosen, Tensor) or chosen.ndim != 2 or min(chosen.shape) < 3:
            return None
        one_each = len(chosen) != chosen.shape[1] and bool((chosen.sum(1) == 1).all())
        return chosen.detach().cpu().clone() if one_each else None
    if not node.name().startswith(("MulBackward", "DivBackward")):
        return None
    for attribute in ("_saved_other", "_saved_self"):
        value = kept(node, attribute)
        if not isinstance(value, Tensor) or value.requires_grad or not value.is_floating_point():
            continue
        if value.ndim != 2 or min(value.shape) < 3 or not bool(((value == 0) | (value == 1)).all()):
            continue
        if len(value) != value.shape[1]:
            if bool((value.sum(1) == 1).all()):
                return value.detach().cpu().clone()
            continue
        identity = torch.eye(len(value), device=value.device, dtype=value.dtype)
        if not torch.equal(value, identity) and not torch.equal(value, 1 - identity):
            return value.detach().cpu().clone()
    return None

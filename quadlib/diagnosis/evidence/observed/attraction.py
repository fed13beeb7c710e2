"""Which pairs of the batch's rows the loss draws together, and what they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quadlib.diagnosis.evidence.observed.fact import fact
from quadlib.diagnosis.evidence.observed.passes import Pass, traced
from quadlib.diagnosis.observe.record import Force, Record
from quadlib.diagnosis.subject import Unavailable

FEWEST_PAIRS = 8
NEARLY_ALL, FEW = 0.9, 0.1
CHANCE = 0.2  # difference of the shares of alike and of strange pairs drawn that says nothing
EXPLAINED = 0.5  # share of the drawn pairs that one thing in common explains
NEGLIGIBLE = 1e-4  # of the strongest pull of a comparison, as float32 leaves of nothing


@dataclass(frozen=True)
class Attraction:
    """Pairs of compared rows, without those of a row with itself. pull: (k,) 1 where a step draws
    the pair together, -1 where it drives it apart, 0 where it does neither. own: (k,) both rows are
    of one row of the batch. codes: for each leaf of whole numbers that reaches the loss, by mark,
    the two rows' values there, (k, 2). anchor: (k,) the pass and the row of the batch that the
    pair's first is made of. gated: something may leave pairs out. both: gradient reaches both sides
    of every comparison. unread: marks of other leaves, one number a row, that reach it.
    """

    pull: np.ndarray
    own: np.ndarray
    codes: Mapping[str, np.ndarray]
    anchor: np.ndarray
    gated: bool
    both: bool
    unread: frozenset[str]

    def drawn(self, chosen: np.ndarray) -> float:
        """Share of these pairs that are drawn together; NaN where there are too few."""
        return _share(self.pull[chosen] > 0)

    def driven(self, chosen: np.ndarray) -> float:
        """Share of these pairs that are driven apart; NaN where there are too few."""
        return _share(self.pull[chosen] < 0)

    @property
    def alike(self) -> dict[str, np.ndarray]:
        """For each leaf, by mark, (k,) both rows have one value there."""
        return {mark: pair[:, 0] == pair[:, 1] for mark, pair in self.codes.items()}

    @property
    def strangers(self) -> np.ndarray:
        """(k,) pairs that are neither of one row nor alike in any leaf."""
        apart = ~self.own
        for same in self.alike.values():
            apart &= ~same
        return apart

    @property
    def reason(self) -> float:
        """Of the pairs that are drawn together, the share that has in common what explains most:
        the row of the batch, or a leaf's value; NaN where none is drawn.
        """
        drawn = self.pull > 0
        if not drawn.any():
            return float("nan")
        return max(float(same[drawn].mean()) for same in (self.own, *self.alike.values()))

    def by_values(self, mark: str) -> bool:
        """Whether the two values of a leaf decide which pairs are drawn, as those of a coarser
        label that is made of it do: some kinds of pairs hardly ever are, others often.
        """
        codes = np.sort(self.codes[mark], axis=1)
        _, kind = np.unique(codes, axis=0, return_inverse=True)
        kind = kind.reshape(-1)
        counts = np.bincount(kind)
        drawn = np.bincount(kind, self.pull > 0) / counts
        usual = float((self.pull > 0).mean())
        told = counts * usual > FEWEST_PAIRS
        return bool(told.any()) and float((drawn[told] < FEW * usual).mean()) > FEW


@fact
def attraction(record: Record) -> Attraction:
    """The pairs of the traced passes whose loss depends on the models through comparisons of the
    batch's rows alone; raises Unavailable where there is none.
    """
    usable = [item for item in traced(record) if item.backward.compares_alone and item.forces]
    if not usable:
        raise Unavailable("no loss was seen that compares rows of the batch and does nothing else")
    leaves = [_leaves(item) for item in usable]
    marks = set.intersection(*(set(whole) for whole, _ in leaves))
    pulls: list[np.ndarray] = []
    own: list[np.ndarray] = []
    anchors: list[np.ndarray] = []
    codes: dict[str, list[np.ndarray]] = {mark: [] for mark in marks}
    for place, (item, (whole, _)) in enumerate(zip(usable, leaves, strict=True)):
        for force in item.forces:
            pull, left, right = _pairs(force)
            pulls.append(pull)
            own.append(left == right)
            anchors.append(left + place * (1 << 32))
            for mark in marks:
                codes[mark].append(np.stack([whole[mark][left], whole[mark][right]], 1))
    if sum(map(len, pulls)) < FEWEST_PAIRS:
        raise Unavailable("too few pairs of the batch's rows were compared")
    forces = [force for item in usable for force in item.forces]
    return Attraction(
        np.concatenate(pulls),
        np.concatenate(own),
        {mark: np.concatenate(parts) for mark, parts in codes.items()},
        np.concatenate(anchors),
        any(force.gated for force in forces),
        all(force.both for force in forces),
        frozenset(mark for _, others in leaves for mark in others),
    )


def pulls_only(record: Record) -> bool:
    """Whether the loss draws pairs together and can do nothing else."""
    seen = attraction(record)
    pushed = float((seen.pull < 0).mean())
    return seen.both and not seen.gated and pushed == 0 and float((seen.pull > 0).mean()) > FEW


def misdirected(record: Record) -> bool:
    """Whether another contract says already whom the loss draws in whose place."""
    try:
        return pulls_only(record) or turned(record) is not None or not_labelled(record) is not None
    except Unavailable:
        return False


def turned(record: Record) -> tuple[Attraction, np.ndarray, str] | None:
    """Pairs that belong together and are driven apart, while all others are drawn."""
    seen = attraction(record)
    kinds = [(same, "rows of one class") for same in seen.alike.values()]
    kinds = kinds or [(seen.own, "rows that are one sample's")]
    moved = seen.pull != 0
    for alike, what in kinds:
        same, others = (alike | seen.own) & moved, seen.strangers & moved
        if seen.driven(same) > 1 - CHANCE and seen.drawn(others) > NEARLY_ALL:
            return seen, same, what
    return None


def misled(record: Record) -> tuple[Attraction, float]:
    """Where rows are driven from their own and drawn to others: the share of rows to which that
    happens; raises Unavailable else.
    """
    seen = attraction(record)
    anchors = np.unique(seen.anchor)
    drawn = np.unique(seen.anchor[seen.strangers & (seen.pull > 0)])
    share = len(drawn) / len(anchors)
    own, strangers = seen.drawn(seen.own), seen.drawn(seen.strangers)
    right = seen.alike and (seen.reason > EXPLAINED or any(map(seen.by_values, seen.alike)))
    if not own < FEW or share < EXPLAINED or strangers > EXPLAINED or right:
        raise Unavailable("rows are not drawn to strangers in place of their own")
    return seen, share


def is_misled(record: Record) -> bool:
    """Whether `misled` can tell, and says so."""
    try:
        misled(record)
    except Unavailable:
        return False
    return True


def not_labelled(record: Record) -> Attraction | None:
    """The pairs where labels reach the loss, and neither they nor anything else that is known of
    the rows tells which pairs are drawn.
    """
    seen = attraction(record)
    if not seen.alike or seen.unread or not seen.both:
        raise Unavailable("labels of whole numbers alone must reach the loss, and no fixed rows")
    if turned(record) is not None:
        return None
    strangers = seen.drawn(seen.strangers)
    for mark, same in seen.alike.items():
        aside = same & ~seen.own
        gap = seen.drawn(aside) - strangers
        if not gap < CHANCE or not strangers > FEW or seen.by_values(mark):
            return None
    return seen if seen.reason < EXPLAINED or pulls_only(record) else None


@fact
def self_pulls(record: Record) -> np.ndarray:
    """(n,) of each row that a softmax compares with the batch's rows: what a step does to its
    similarity with itself, relative to the median size of the other pairs' pulls; raises
    Unavailable where no row is compared with itself.
    """
    parts = []
    for item in traced(record):
        comparison = item.backward.comparison
        if comparison is None or not comparison.softmax:
            continue
        for force in item.forces:
            if force.same and force.how == "product":
                pull = force.pull.numpy()
                usual = np.median(np.abs(pull[~np.eye(len(pull), dtype=bool)]))
                parts.append(np.diagonal(pull) / max(usual, 1e-30))
    if not parts:
        raise Unavailable("no softmax over the similarities of one set of rows was seen")
    return np.concatenate(parts)


def _pairs(force: Force) -> tuple[np.ndarray, ...]:
    """Of one comparison's pairs whose rows are known, (k,) each: the pull's sign, and both rows of
    the batch.
    """
    pull = force.pull.numpy()
    n, m = len(force.left), len(force.right)
    if force.paired:
        first, second = np.arange(n), np.arange(n)
    else:
        first, second = (axis.reshape(-1) for axis in np.indices((n, m)))
    left, right = force.left.numpy()[first], force.right.numpy()[second]
    kept = (left >= 0) & (right >= 0) & ~(force.same & (first == second))
    values = pull.reshape(-1)
    sign = np.sign(values) * (np.abs(values) > NEGLIGIBLE * np.abs(values).max(initial=0))
    return sign[kept], left[kept].astype(np.int64), right[kept]


def _leaves(item: Pass) -> tuple[dict[str, np.ndarray], list[str]]:
    """Of the batch that the rows are of: whole numbers, one a row, that reach the loss, and marks
    of whatever else does with one number a row, or was read out of sight.
    """
    whole: dict[str, np.ndarray] = {}
    others: list[str] = []
    reaches, hidden = item.backward.reaches or frozenset(), item.backward.hidden
    for fetch in item.fetches:
        for leaf in fetch.leaves:
            mark = fetch.mark(leaf.path)
            if len(leaf.shape) != 1 or mark not in reaches | hidden:
                continue
            rows = fetch is item.fetches[0] and not leaf.is_float and leaf.dtype != "bool"
            if rows and mark in reaches and leaf.path in fetch.values:
                whole[mark] = fetch.values[leaf.path].numpy()
            else:
                others.append(mark)
    size = max(map(len, whole.values()), default=0)
    return {mark: values for mark, values in whole.items() if len(values) == size}, others


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) >= FEWEST_PAIRS else float("nan")

"""Splits of tables with very many classes, where a matrix of groups by classes would not fit."""

from __future__ import annotations

import numpy as np

MOST_CELLS = 5_000_000  # of groups by classes that are looked at for groups of equal content
MOST_SEARCHED = 200_000  # of different groups by classes that the exact search takes: seconds


def deal_large(
    groups: np.ndarray,
    classes: np.ndarray,
    share: np.ndarray,
    required: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """The split of every group, 0 to 2: whole groups, each class as near to its shares as one pass
    comes.

    Groups of several classes are dealt first, the largest first, to the split that lacks most of
    their recordings; the groups of one class alone then fill up their class, in one sorted pass.

    Args:
        groups: codes, one a recording.
        classes: codes, one a recording.
        share: of train, val and test.
        required: (classes, 3), which class has to be in which split.
        random: draws the order of equals.
    """
    n_groups, n_classes = int(groups.max()) + 1, int(classes.max()) + 1
    pairs, counts = np.unique(groups.astype(np.int64) * n_classes + classes, return_counts=True)
    pair_group, pair_class = pairs // n_classes, pairs % n_classes
    split = np.full(n_groups, -1, dtype=np.int64)
    sizes = np.bincount(classes, minlength=n_classes)
    width = np.bincount(pair_group, minlength=n_groups)
    starts = np.concatenate([[0], np.cumsum(width)])
    mixed = np.flatnonzero(width > 1)
    size_of_group = np.bincount(groups, minlength=n_groups)
    order = mixed[np.lexsort((random.random(len(mixed)), -size_of_group[mixed]))]
    split[order], dealt = _deal_mixed(
        starts[order].tolist(),
        starts[order + 1].tolist(),
        pair_class,
        counts,
        sizes,
        share,
        required,
    )
    alone = np.flatnonzero(width[pair_group] == 1)
    if len(alone):
        _fill(
            pair_group[alone],
            pair_class[alone],
            counts[alone],
            split,
            dealt,
            share,
            required,
            random,
        )
    return split


def _deal_mixed(
    starts: list[int],
    stops: list[int],
    pair_class: np.ndarray,
    counts: np.ndarray,
    sizes: np.ndarray,
    share: np.ndarray,
    required: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The split of every group of several classes, one after another, and what each class then has
    in each split, (classes, 3).

    Most groups hold a handful of classes, for which Python's numbers are faster than arrays.
    """
    classes, amounts = pair_class.tolist(), counts.tolist()
    totals, needed = sizes.tolist(), required.tolist()
    wanted = share.tolist()
    possible = [split for split in range(3) if wanted[split] > 0]
    dealt = [[0.0, 0.0, 0.0] for _ in totals]
    chosen = []
    for start, stop in zip(starts, stops, strict=True):
        gains = [0.0, 0.0, 0.0]
        for place in range(start, stop):
            code, amount = classes[place], amounts[place]
            has, total, needs = dealt[code], totals[code], needed[code]
            for split in possible:
                lacks = wanted[split] - has[split] / total + (needs[split] and not has[split])
                gains[split] += amount * lacks
        best = max(possible, key=gains.__getitem__)
        chosen.append(best)
        for place in range(start, stop):
            dealt[classes[place]][best] += amounts[place]
    return np.array(chosen, dtype=np.int64), np.array(dealt).reshape(-1, 3)


def _fill(
    groups: np.ndarray,
    classes: np.ndarray,
    counts: np.ndarray,
    split: np.ndarray,
    dealt: np.ndarray,
    share: np.ndarray,
    required: np.ndarray,
    random: np.random.Generator,
) -> None:
    """Deals the groups of one class each: along each class, train first, as far as its shares go;
    then one group to every split that a class has to be in and is not.
    """
    order = np.lexsort((random.random(len(groups)), classes))
    groups, classes, counts = groups[order], classes[order], counts[order]
    first = np.flatnonzero(np.diff(classes, prepend=-1))
    which = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(classes))))
    own = classes[first]
    total = np.add.reduceat(counts, first)
    before = np.cumsum(counts) - counts
    middle = before - before[first][which] + counts / 2
    wanted = np.where(required[own], share, 0.0)
    wanted /= wanted.sum(axis=1, keepdims=True)
    aim = np.clip(wanted * (total + dealt[own].sum(axis=1))[:, None] - dealt[own], 0, None)
    edges = np.cumsum(aim, axis=1) / aim.sum(axis=1, keepdims=True) * total[:, None]
    chosen = (middle[:, None] >= edges[which][:, :2]).sum(axis=1)
    rank = np.arange(len(groups)) - first[which]
    many = np.diff(np.append(first, len(classes)))[which]
    for place, name in ((0, 0), (-1, 2), (-2, 1)):  # train, then test, then val
        here = np.bincount(classes, weights=chosen == name, minlength=len(dealt))
        lacking = required[:, name] & (here == 0) & (dealt[:, name] == 0)
        target = rank == (place if place >= 0 else many + place)
        chosen[target & lacking[classes] & (many > abs(place))] = name
    split[groups] = chosen

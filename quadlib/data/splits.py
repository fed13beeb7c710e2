"""Splits that no group crosses and in which every class keeps its share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from quadlib.data.samples import SPLITS, SampleTable, raise_problems, some

RESTARTS, RESTARTS_OF_FEW = 4, 16
FEW_KINDS = 100
MOST_RESTARTS = 64  # where a class is still missing from a split
MOST_KINDS_EXCHANGED = 1500
EXCHANGES_TRIED = 16
MOST_STEPS = 2000
LEAST_GAIN = 1e-12


def assign_splits(
    table: SampleTable,
    fractions: Sequence[float] = (0.6, 0.2, 0.2),
    group: str = "group",
    stratify: str = "label",
    protocol: Literal["supervised", "one_class"] = "supervised",
    single_session: Literal["train", "error", "drop"] = "error",
    seed: int = 0,
) -> SampleTable:
    """The same table with a new split: no group in two splits, class shares as near to `fractions`
    as whole groups allow.

    A class is in every split that has a share, if it has as many groups; one of two groups is in
    train and test; one of a single group can be trained on or tested, not both: `single_session`.
    A group may hold several classes. The result depends on the table, the arguments and the seed
    alone.

    Args:
        table: whose `split` column is replaced.
        fractions: shares of train, val and test, which add up to 1.
        group: column whose values stay in one split.
        stratify: column whose values keep their shares.
        protocol: "one_class" trains on the normal class alone (`good`, else the first); what is
            left of it and all other classes are divided over val and test.
        single_session: a class of one group goes to train alone with a note, raises, or is left
            out with a note.
        seed: of the choice among equally good divisions.

    Returns:
        A new table, every sample in train, val or test.

    Raises:
        TableError: every reason why the table cannot be divided so.

    Example:
        >>> from quadlib import assign_splits, open_source
        >>> table = assign_splits(open_source("mfeat"), (0.5, 0.25, 0.25), seed=1)
        >>> {name: len(table.rows(name)) for name in ("train", "val", "test")}
        {'train': 1000, 'val': 500, 'test': 500}
    """
    refusal = f"{table.name} cannot be divided"
    share = np.asarray(fractions, dtype=float)
    raise_problems(refusal, _wrong_arguments(table, share, group, stratify, protocol))
    table, lone = _single_sessions(table, group, stratify, single_session, refusal)
    groups, group_names = pd.factorize(table.frame[group], sort=True)
    classes, names = pd.factorize(table.frame[stratify], sort=True)
    contents, kind_of_group = _kinds(groups, classes, len(names))
    copies = np.bincount(kind_of_group)
    targets = np.tile(share, (len(names), 1))
    allowed = np.tile(share > 0, (len(contents), 1))
    if protocol == "one_class":
        normal = names == ("good" if "good" in table.class_names else table.class_names[0])
        targets[~normal] = np.array([0, share[1], share[2]]) / (share[1] + share[2])
        allowed[contents[:, ~normal].any(axis=1), 0] = False
    if lone and protocol == "supervised":
        targets[names.isin(lone)] = np.array([1.0, 0.0, 0.0])
    required, problems = _required(contents, copies, targets, allowed, list(names), group)
    raise_problems(refusal, problems)
    random = np.random.default_rng([seed, 0x5B117])
    division = _Division(contents, copies, targets, required, allowed)
    dealt = division.best(random)
    missing = np.argwhere(required & (contents.T @ dealt == 0))
    raise_problems(
        refusal,
        [
            f"{names[code]!r} cannot be in {SPLITS[split]}: its {group}s hold classes that other "
            f"splits need; record it in {group}s of its own, leave it out, or change fractions"
            for code, split in missing
        ],
    )
    split_of_group = np.empty(len(group_names), dtype=object)
    shuffled = np.lexsort((random.random(len(group_names)), kind_of_group))
    split_of_group[shuffled] = np.repeat(np.tile(SPLITS, len(dealt)), dealt.ravel())
    return table.with_columns(split=split_of_group[groups])


def _single_sessions(
    table: SampleTable, group: str, stratify: str, choice: str, refusal: str
) -> tuple[SampleTable, list[str]]:
    """The table without, or with a note on, the classes of one group; and those that stay."""
    if choice == "error":
        return table, []
    pairs = table.frame[[stratify, group]].drop_duplicates()
    counts = pairs[stratify].value_counts()
    lone = sorted(counts.index[counts == 1])
    if not lone:
        return table, []
    if len(lone) == len(counts):
        raise_problems(
            refusal,
            [
                f"each class lies in one {group} (session) alone, so that a class and its session "
                "cannot be told apart and nothing is left for val and test; record classes in "
                "several sessions, or name a finer column by the setting group"
            ],
        )
    if choice == "train":
        note = f"{some(lone)}: one session each, so they are in train alone and are not scored"
        return replace(table, notes=[*table.notes, note]), lone
    kept = table.take(np.flatnonzero(~table.frame[stratify].isin(lone).to_numpy()))
    note = f"{some(lone)}: one session each, left out ({len(table) - len(kept)} recordings)"
    classes = [name for name in table.class_names if stratify != "label" or name not in lone]
    return replace(kept, classes=classes, notes=[*table.notes, note]), []


def _wrong_arguments(
    table: SampleTable, share: np.ndarray, group: str, stratify: str, protocol: str
) -> list[str]:
    problems = []
    if (
        share.shape != (3,)
        or not np.isfinite(share).all()
        or share.min() < 0
        or abs(share.sum() - 1) > 1e-6
        or share[0] == 0
    ):
        problems.append(
            f"fractions {share.tolist()}: three shares (train, val, test) that add up to 1 were "
            "expected, train above 0"
        )
    elif protocol == "one_class" and share[1] + share[2] == 0:
        problems.append(
            f"fractions {share.tolist()}: protocol one_class needs a share for val or test, where "
            "the other classes go"
        )
    for role, column in (("group", group), ("stratify", stratify)):
        if column not in table.frame.columns:
            near = difflib.get_close_matches(column, list(table.frame.columns), n=1)
            problems.append(
                f"{role}: no column {column!r}; "
                + (
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"the table has {', '.join(table.frame.columns)}"
                )
            )
        elif (empty := table.frame[column].isna() | (table.frame[column] == "")).any():
            problems.append(
                f"{role}: {empty.sum()} recording(s) have no {column}; fill it in, or divide by "
                "another column"
            )
    if protocol not in ("supervised", "one_class"):
        problems.append(f"protocol {protocol!r} is neither 'supervised' nor 'one_class'")
    if protocol == "one_class" and stratify != "label":
        problems.append(
            f"stratify {stratify!r}: protocol one_class divides by class; leave stratify at 'label'"
        )
    return problems


def _kinds(
    groups: np.ndarray, classes: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Groups of the same content are interchangeable: contents (kinds, classes) in recordings, and
    each group's kind.
    """
    pairs, counts = np.unique(groups.astype(np.int64) * n_classes + classes, return_counts=True)
    starts = np.flatnonzero(np.diff(pairs // n_classes, prepend=-1))
    content = np.stack([pairs % n_classes, counts], axis=1)
    numbers: dict[bytes, int] = {}
    rows: list[np.ndarray] = []
    kind_of_group = np.empty(len(starts), dtype=np.int64)
    for index, part in enumerate(np.split(content, starts[1:])):
        kind_of_group[index] = numbers.setdefault(part.tobytes(), len(numbers))
        if len(numbers) > len(rows):
            rows.append(part)
    contents = np.zeros((len(rows), n_classes), dtype=np.int64)
    for row, part in enumerate(rows):
        contents[row, part[:, 0]] = part[:, 1]
    return contents, kind_of_group


def _required(
    contents: np.ndarray,
    copies: np.ndarray,
    targets: np.ndarray,
    allowed: np.ndarray,
    names: list[str],
    group: str,
) -> tuple[np.ndarray, list[str]]:
    """Which class must be in which split, bool (classes, 3), and the classes whose groups are too
    few for it.
    """
    required = targets > 0
    problems = []
    holds = contents > 0
    n_groups = holds.T @ copies
    n_recordings = contents.T @ copies
    for code, name in enumerate(names):
        wanted = np.flatnonzero(required[code])
        trainable = required[code, 0]
        if trainable and not (holds[:, code] & allowed[:, 0]).any():
            problems.append(
                f"{name!r}: each of its {n_groups[code]} {group}(s) also holds another class, so "
                f"train cannot hold it alone; divide by a finer column than {group!r}"
            )
        elif trainable and len(wanted) > 1 and n_groups[code] == 1:
            problems.append(
                f"{name!r}: all its {n_recordings[code]} recording(s) lie in one {group} (one "
                f"session), so it cannot be in train and {SPLITS[wanted[-1]]}; set "
                'single_session="train" or single_session="drop", or record it in another session'
            )
        elif len(wanted) > n_groups[code]:
            # the last split is kept before the middle one: test before val
            required[code, wanted[:-1] if not trainable else wanted[1:-1]] = False
    return required, problems


class _Division:
    """Deals whole groups to three splits: squared deviations of class shares, and far above them,
    classes missing from a split.

    A greedy start from equal shares of each kind, then the best move of one group or exchange of
    two until none helps.
    """

    def __init__(
        self,
        contents: np.ndarray,
        copies: np.ndarray,
        targets: np.ndarray,
        required: np.ndarray,
        allowed: np.ndarray,
    ) -> None:
        sizes = copies @ contents
        aim = sizes[:, None] * targets
        # one more column counts all classes together; its weight only decides between roundings
        self.contents = np.column_stack([contents, contents.sum(axis=1)])
        self.aim = np.vstack([aim, aim.sum(axis=0)])
        self.weight = np.append(1 / sizes**2, 0.01 / sizes.sum() ** 2)
        self.required = np.vstack([required, np.zeros((1, 3), dtype=bool)])
        self.missing_cost = 10.0 * len(self.weight)
        self.copies, self.allowed = copies, allowed
        self.share = allowed * (contents @ targets)
        self.share /= self.share.sum(axis=1, keepdims=True)
        self.length = self.contents**2 @ self.weight
        self.holds = self.contents > 0
        self.products = (
            (self.contents * self.weight) @ self.contents.T
            if len(contents) <= MOST_KINDS_EXCHANGED
            else None
        )

    def cost(self, dealt: np.ndarray) -> float:
        held = self.contents.T @ dealt
        return float(
            self.weight @ ((held - self.aim) ** 2).sum(axis=1)
            + self.missing_cost * (self.required & (held == 0)).sum()
        )

    def best(self, random: np.random.Generator) -> np.ndarray:
        """The cheapest of several solutions, int (kinds, 3); many are tried only while a class
        misses a split.
        """
        enough = RESTARTS if len(self.copies) > FEW_KINDS else RESTARTS_OF_FEW
        best = self.solve(random)
        for attempt in range(1, MOST_RESTARTS):
            if attempt >= enough and self.cost(best) < self.missing_cost:
                break
            best = min(best, self.solve(random), key=self.cost)
        return best

    def solve(self, random: np.random.Generator) -> np.ndarray:
        """Groups of each kind in each split, int (kinds, 3), from one random start."""
        dealt = np.floor(self.copies[:, None] * self.share + 1e-9).astype(np.int64)
        held = self.contents.T @ dealt
        rest = np.repeat(np.arange(len(dealt)), self.copies - dealt.sum(axis=1))
        for kind in random.permutation(rest):
            content = self.contents[kind]
            gained = self.holds[kind] @ (self.required & (held == 0))
            change = 2 * (self.weight * content) @ (held - self.aim) - self.missing_cost * gained
            split = np.argmin(np.where(self.allowed[kind], change, np.inf))
            dealt[kind, split] += 1
            held[:, split] += content
        for _ in range(MOST_STEPS):
            step = self._best_move(dealt, held)
            if step is None:
                step = self._best_exchange(dealt, held)
            if step is None:
                break
            dealt += step
            held = self.contents.T @ dealt
        return dealt

    def _best_move(self, dealt: np.ndarray, held: np.ndarray) -> np.ndarray | None:
        """The change of `dealt` that moves one group and lowers the cost most, if any does."""
        pull = self.contents @ (self.weight[:, None] * (held - self.aim))
        gained = self.holds @ (self.required & (held == 0))
        lost = np.stack(
            [(self.holds & (self.contents == held[:, a])) @ self.required[:, a] for a in range(3)],
            axis=1,
        )
        leave, enter = self.missing_cost * lost - 2 * pull, 2 * pull - self.missing_cost * gained
        change = leave[:, :, None] + enter[:, None, :] + 2 * self.length[:, None, None]
        possible = (dealt > 0)[:, :, None] & self.allowed[:, None, :] & ~np.eye(3, dtype=bool)
        change = np.where(possible, change, np.inf)
        kind, a, b = np.unravel_index(np.argmin(change), change.shape)
        return self._step(dealt, (kind, a, b)) if change[kind, a, b] < -LEAST_GAIN else None

    def _best_exchange(self, dealt: np.ndarray, held: np.ndarray) -> np.ndarray | None:
        """The change of `dealt` that swaps two groups between splits and lowers the cost most, if
        any does.
        """
        if self.products is None:
            return None
        pull = self.contents @ (self.weight[:, None] * (held - self.aim))
        distance = self.length[:, None] + self.length[None, :] - 2 * self.products
        cost = self.cost(dealt)
        steps = []
        for a, b in ((0, 1), (0, 2), (1, 2)):
            towards = pull[:, b] - pull[:, a]
            change = 2 * (towards[:, None] - towards[None, :] + distance)
            possible = ((dealt[:, a] > 0) & self.allowed[:, b])[:, None] & (
                (dealt[:, b] > 0) & self.allowed[:, a]
            )[None, :]
            change = np.where(possible, change, np.inf)
            # the shares improve by `change`; whether a class would leave a split is seen in the
            # cost itself
            for flat in np.argsort(change, axis=None)[:EXCHANGES_TRIED]:
                one, other = np.unravel_index(flat, change.shape)
                if change[one, other] < -LEAST_GAIN:
                    steps.append(self._step(dealt, (one, a, b), (other, b, a)))
        if not steps:
            return None
        best = min(steps, key=lambda step: self.cost(dealt + step))
        return best if self.cost(dealt + best) < cost - LEAST_GAIN else None

    @staticmethod
    def _step(dealt: np.ndarray, *moves: tuple) -> np.ndarray:
        step = np.zeros_like(dealt)
        for kind, a, b in moves:
            step[kind, a] -= 1
            step[kind, b] += 1
        return step

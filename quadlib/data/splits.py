"""Splits that no group crosses and in which every class keeps its share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from quadlib.data.division import Division
from quadlib.data.large_splits import MOST_CELLS, MOST_SEARCHED, deal_large
from quadlib.data.samples import SPLITS, SampleTable, raise_problems, some


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
        protocol: "one_class" trains on the normal class alone (the table's, else `good`, else the
            first); what is left of it and all other classes are divided over val and test.
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
    problems = _wrong_arguments(table, share, group, stratify, protocol)
    if single_session not in ("train", "error", "drop"):
        problems.append(
            f"single_session {single_session!r} is neither 'train' nor 'error' nor 'drop'"
        )
    raise_problems(refusal, problems)
    table, lone = single_sessions(table, group, stratify, single_session, refusal)
    groups, group_names = pd.factorize(table.frame[group], sort=True)
    classes, names = pd.factorize(table.frame[stratify], sort=True)
    random = np.random.default_rng([seed, 0x5B117])
    if protocol == "supervised" and _is_large(groups, classes, len(group_names), len(names)):
        n_groups = _groups_of_class(groups, classes)
        wanted = _wanted(n_groups, names.isin(lone), share)
        single = names[np.flatnonzero(n_groups == 1)].tolist()
        if single and not lone and (share[1:] > 0).any():
            problem = (
                f"{some(single)}: each lies in one {group} (one session), so it cannot be in train "
                'and another split; set single_session="train" or single_session="drop"'
            )
            raise_problems(refusal, [problem])
        split = np.array(SPLITS)[deal_large(groups, classes, share, wanted, random)]
        return table.with_columns(split=split[groups])
    contents, kind_of_group = _kinds(groups, classes, len(names))
    copies = np.bincount(kind_of_group)
    targets = np.tile(share, (len(names), 1))
    allowed = np.tile(share > 0, (len(contents), 1))
    if protocol == "one_class":
        usual = "good" if "good" in table.class_names else table.class_names[0]
        normal = names == (table.normal_class or usual)
        targets[~normal] = np.array([0, share[1], share[2]]) / (share[1] + share[2])
        allowed[contents[:, ~normal].any(axis=1), 0] = False
    if lone and protocol == "supervised":
        targets[names.isin(lone)] = np.array([1.0, 0.0, 0.0])
    required, problems = _required(contents, copies, targets, allowed, list(names), group)
    raise_problems(refusal, problems)
    division = Division(contents, copies, targets, required, allowed)
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


def _is_large(groups: np.ndarray, classes: np.ndarray, n_groups: int, n_classes: int) -> bool:
    """Whether the exact search would take longer than some seconds."""
    cells = n_groups * n_classes
    if not MOST_SEARCHED < cells <= MOST_CELLS:
        return cells > MOST_CELLS
    return _kinds(groups, classes, n_classes)[0].size > MOST_SEARCHED


def _groups_of_class(groups: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """In how many groups each class is, (classes,)."""
    pairs = pd.DataFrame({"group": groups, "class": classes}).drop_duplicates()
    return np.bincount(pairs["class"])


def _wanted(n_groups: np.ndarray, lone: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Which class has to be in which split: as many as it has groups, train and test before val."""
    wanted = np.tile(share > 0, (len(lone), 1))
    wanted[n_groups < 3, 1] = False
    wanted[(n_groups < 2) | lone, 1:] = False
    return wanted


def single_sessions(
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
    normal = table.normal_class if table.normal_class in classes else ""
    return replace(kept, classes=classes, normal_class=normal, notes=[*table.notes, note]), []


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

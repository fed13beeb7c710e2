"""Folds: several parts of whole sessions, each the test split of one training."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from quadlib.data.samples import SampleTable, raise_problems, some
from quadlib.data.splits import single_sessions

ATTEMPTS = 16  # divisions, of which the one is taken whose classes keep their shares best


def assign_fold(
    table: SampleTable,
    fold: int,
    folds: int,
    *,
    val_share: float = 0.25,
    single_session: Literal["train", "error", "drop"] = "error",
    seed: int = 0,
) -> SampleTable:
    """The same table with one fold as its test split and the others divided into train and val, no
    session in two of them.

    The same seed gives the same folds, so that over all of them every recording is tested once. A
    class of one session cannot be tested: `single_session` says what becomes of it.

    Args:
        table: whose `split` column is replaced.
        fold: number of the fold that is tested, from 1.
        folds: how many there are.
        val_share: share of the other folds that goes to val.
        single_session: as in `assign_splits`.
        seed: of the division.

    Returns:
        A new table, every sample in train, val or test.

    Raises:
        TableError: every class that has fewer sessions than there are folds, with a way out.

    Example:
        >>> from quadlib import open_source
        >>> table = assign_fold(open_source("mfeat"), 2, 5)
        >>> {name: len(table.rows(name)) for name in ("train", "val", "test")}
        {'train': 1200, 'val': 400, 'test': 400}
    """
    refusal = f"{table.name} cannot be divided into {folds} folds"
    table, lone = single_sessions(table, "group", "label", single_session, refusal)
    groups = pd.factorize(table.frame["group"], sort=True)[0]
    fixed = np.isin(groups, groups[table.frame["label"].isin(lone).to_numpy()])
    free = np.flatnonzero(~fixed)
    raise_problems(refusal, _too_few(table.take(free), folds))
    part = deal(table.codes[free], groups[free], folds, seed)
    split = np.full(len(table), "train", dtype=object)
    split[free[part == fold - 1]] = "test"
    if val_share:
        others = _with_company(free[part != fold - 1], table.codes, groups)
        inner = deal(table.codes[others], groups[others], max(2, round(1 / val_share)), seed)
        split[others[inner == 0]] = "val"
    label = table.frame["label"]
    missing = sorted(set(label[split == "test"]) - set(label[split == "train"]))
    raise_problems(
        refusal,
        [
            f"{name!r}: no session of it is left for train in fold {fold}, because they hold other "
            "classes too; record it in further sessions, or leave it out: leave_out"
            for name in missing
        ],
    )
    return table.with_columns(split=split)


def deal(codes: np.ndarray, groups: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The part (n,) from 0 of every recording: whole groups, class shares as equal as
    scikit-learn's dealer makes them in the best of several attempts; -1 of one group alone.
    """
    n_groups = len(np.unique(groups))
    alone = n_groups == len(groups)
    random = np.random.default_rng([seed, 0xF01D])
    size = np.bincount(codes)
    parts = min(parts, size.max(initial=0), n_groups)
    best, least = np.full(len(codes), -1), np.inf
    if parts < 2:
        return best
    for state in random.integers(0, 2**31, 1 if alone else ATTEMPTS):
        dealer = (StratifiedKFold if alone else StratifiedGroupKFold)(
            parts, shuffle=True, random_state=int(state)
        )
        part = np.empty(len(codes), dtype=np.int64)
        with warnings.catch_warnings():
            # val may go without a class that is too rare for it
            warnings.filterwarnings("ignore", "The least populated class")
            for number, (_, rows) in enumerate(
                dealer.split(codes, codes, None if alone else groups)
            ):
                part[rows] = number
        counts = np.zeros((parts, len(size)))
        np.add.at(counts, (part, codes), 1)
        share = (counts * parts / np.maximum(size, 1))[:, size > 0]
        cost = float(((share - 1) ** 2).sum() + 100 * (share == 0).sum())
        if cost < least:
            best, least = part, cost
    return best


def _with_company(rows: np.ndarray, codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The rows that train can spare: none of a session that is the last one of its class here."""
    pairs = pd.DataFrame({"code": codes[rows], "group": groups[rows]}).drop_duplicates()
    last = pairs["group"][~pairs["code"].duplicated(keep=False)]
    return rows[~np.isin(groups[rows], last)]


def _too_few(table: SampleTable, folds: int) -> list[str]:
    """Classes of fewer sessions than folds, each with how many it has."""
    sessions = table.frame.groupby("label")["group"].nunique()
    short = sessions[sessions < folds].sort_values()
    if not len(short):
        return []
    names = some([f"{name!r} ({count})" for name, count in short.items()])
    most = int(short.iloc[0])
    ways = [f"take {most} folds"] * (most > 1)
    if len(short) < len(sessions):
        ways.append(f"leave them out: leave_out={list(short.index)!r}")
    return [
        f"{len(short)} class(es) have fewer sessions than there are folds, so that some fold could "
        f"not test them: {names}; {', or '.join(ways) or 'record them in further sessions'}"
    ]

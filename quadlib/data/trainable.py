"""Whether a table's splits can train a contrastive model, before any file is decoded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from quadlib.config import TrainSettings
from quadlib.data.samples import SPLITS, SampleTable, TableError, some
from quadlib.data.splits import assign_splits

FEW_SESSIONS = 12  # to divide in three


def check_trainable(table: SampleTable, settings: TrainSettings) -> list[str]:
    """Why this table's splits cannot train a contrastive model: one line a problem, with its
    remedy; empty when they can.

    A split of one class (QL-S01), classes absent from train (QL-S02) and sessions in two splits
    (QL-S04) pass where settings.allow names them. What is proposed was tried on the table.
    """
    if not (table.frame["split"] != "").any():
        return [*_lone(table, settings), *_bare(table)]
    advice = _Advice(table, settings)
    return [
        *_lone(table, settings),
        *_classes(table, settings, advice),
        *_val(table, advice),
        *_sessions(table, settings, advice),
        *_bare(table),
        *_unseen(table),
    ]


class _Advice:
    """What would work instead of a split, found when it is first asked for."""

    def __init__(self, table: SampleTable, settings: TrainSettings) -> None:
        self.table, self.settings = table, settings

    @property
    def divided(self) -> bool:
        """Whether the split was made here, and is not the table's own."""
        return bool(self.settings.split == "grouped" or self.settings.fold)

    def anew(self) -> str:
        """A split by session, where it is not set already and every class would be in train."""
        if self.settings.split == "grouped" or (self.table.frame["split"] == "").all():
            return ""
        try:
            divided = assign_splits(
                self.table,
                single_session=self.settings.single_session,
                seed=self.settings.division_seed,
            )
        except TableError:
            return ""
        train, val = divided.rows("train"), divided.rows("val")
        taught = set(divided.codes[train].tolist())
        works = len(val) and taught == set(divided.codes.tolist()) and len(taught) > 1
        return 'take split="grouped"' if works else ""

    def allow(self) -> str:
        """The split as it is: every code of a split that this table breaks, with those set."""
        codes = set(self.settings.allow)
        codes |= {"QL-S01"} if _one_class(self.table) else set()
        codes |= {"QL-S04"} if len(_cut_sessions(self.table)) else set()
        return f'set allow="{",".join(sorted(codes))}" to train on it all the same'

    def join(self, *ways: str) -> str:
        """The ways that there are, in words."""
        return ", or ".join(way for way in ways if way) or "correct the table"


def _lone(table: SampleTable, settings: TrainSettings) -> Iterator[str]:
    counts = table.frame["label"].value_counts()
    if len(counts) == 1:
        yield (
            f"all {len(table)} recordings have the label {counts.index[0]!r}, so nothing can be "
            "told apart; add recordings of a second class, or check the label column"
        )
    elif (lone := sorted(counts.index[counts == 1])) and settings.rare == "error":
        place = table.frame["label"].isin(lone[:5])
        who = ", ".join(
            f"{sample_id} is the only recording of class {label!r}"
            for sample_id, label in zip(
                table.frame["sample_id"][place], table.frame["label"][place], strict=True
            )
        )
        more = f" and {len(lone) - 5} more classes" if len(lone) > 5 else ""
        out = f"leave_out={lone!r}" if 1 < len(lone) <= 5 else f'leave_out="{lone[0]}"'
        ways = "" if len(lone) > 5 or len(counts) - len(lone) < 2 else f", or set {out}"
        yield f"{who}{more}, which can never meet a positive; add recordings of the class{ways}"


def _classes(table: SampleTable, settings: TrainSettings, advice: _Advice) -> Iterator[str]:
    train = table.rows("train")
    counts = np.bincount(table.codes[train], minlength=len(table.class_names))
    everywhere = np.bincount(table.codes, minlength=len(table.class_names))
    taught = np.flatnonzero(counts)
    if not len(train):
        yield (
            "train holds no recording; "
            + advice.join(advice.anew(), "give train a share in the table's split column")
        )
        return
    if _one_class(table):
        if "QL-S01" not in settings.allow:
            yield (
                f"train holds {len(train)} recordings of a single class, "
                f"{table.class_names[taught[0]]!r}, so no anchor has a negative, while the table "
                f"has {(everywhere > 0).sum()} classes; "
                + advice.join(advice.anew(), advice.allow())
            )
        return
    absent = [table.class_names[code] for code in np.flatnonzero((counts == 0) & (everywhere > 0))]
    if absent and "QL-S02" not in settings.allow:
        names = ",".join(absent)
        without = f'leave_out="{names}"' if not any("," in name for name in absent) else ""
        yield (
            f"train has no recording of {some(absent)}, which val or test have; "
            + advice.join(advice.anew(), f"set {without}" if without else "leave them out")
        )
    few = [
        f"{table.class_names[code]} {counts[code]}"
        for code in taught
        if counts[code] < settings.min_per_class
    ]
    if few and settings.rare == "error":
        yield (
            f"train has fewer than min_per_class={settings.min_per_class} recordings of "
            f'{some(few)}; add recordings, or take rare="drop" or rare="oversample"'
        )


def _val(table: SampleTable, advice: _Advice) -> Iterator[str]:
    val = table.rows("val")
    if not len(val):
        sessions = table.frame["group"].nunique()
        yield (
            "val holds no recording, and the best model is chosen on it "
            f"({sessions} session{'s' * (sessions != 1)} in all); "
            + advice.join(
                "write val as the split of some sessions of train"
                if len(table.rows("train")) and not advice.divided
                else "",
                advice.anew(),
                ""
                if sessions > FEW_SESSIONS
                else "record more sessions, or name finer ones by group",
            )
        )


def _sessions(table: SampleTable, settings: TrainSettings, advice: _Advice) -> Iterator[str]:
    if "QL-S04" in settings.allow:
        return
    cut = _cut_sessions(table)
    if cut:
        more = f" and {len(cut) - 5} more" if len(cut) > 5 else ""
        yield (
            f"{len(cut)} session(s) are in two splits, so that scores count what was learned by "
            f"heart: {', '.join(cut[:5])}{more}; {advice.join(advice.anew(), advice.allow())}"
        )


def _one_class(table: SampleTable) -> bool:
    """Whether train holds one class of several."""
    train = table.codes[table.rows("train")]
    return len(train) > 0 and bool((train == train[0]).all() and (table.codes != train[0]).any())


def _cut_sessions(table: SampleTable) -> list[str]:
    """The sessions in more than one split, each with its splits."""
    codes, names = pd.factorize(table.frame["group"])
    where = np.zeros((len(names), len(SPLITS)), dtype=bool)
    for place, split in enumerate(SPLITS):
        where[codes[table.rows(split)], place] = True
    return [
        f"{names[code]} in {' and '.join(np.array(SPLITS)[where[code]])}"
        for code in np.flatnonzero(where.sum(axis=1) > 1).tolist()
    ]


def _bare(table: SampleTable) -> Iterator[str]:
    bare = table.frame["sample_id"].to_numpy()[~table.present.any(axis=1)]
    if len(bare):
        yield (
            f"{len(bare)} recording(s) have none of the modalities {', '.join(table.modalities)}: "
            f"{some(bare)}; leave them out or choose other modalities"
        )


def _unseen(table: SampleTable) -> Iterator[str]:
    train = table.rows("train")
    in_train = table.present[train].any(axis=0)
    unseen = [name for name, has in zip(table.modalities, in_train, strict=True) if not has]
    if unseen and len(train):
        yield f"no recording of train has {some(unseen)}; choose modalities without it"

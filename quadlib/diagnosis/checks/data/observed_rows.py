"""Rows of the dataset behind a watched loader that hold nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from quadlib.diagnosis.checks.data.contracts import D01
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import leaf_values
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_ROWS, FEWEST_VALUES = 3, 8
BITS = torch.tensor([0.0, 1.0])


@check(D01, "no watched row that is said to be present is blank", phase="observed")
def blank_but_present(x: Examination) -> Iterator[Finding]:
    judged = 0
    for mark, (streams, masks) in _streams_and_masks(x.record).items():
        flat = torch.cat([value.reshape(len(value), -1) for value in streams])
        blank = (flat == flat[:, :1]).all(1)
        for name, values in masks.items():
            present = torch.cat(values).bool()
            # a mask speaks of a stream where all that it calls absent is blank, and most else not
            if bool(present.all()) or not bool(blank[~present].all()):
                continue
            wrong = blank & present
            if float(wrong.float().mean()) > 0.5:
                continue
            judged += 1
            if int(wrong.sum()) < FEWEST_ROWS:
                continue
            yield D01.broken(
                "error",
                f"{int(wrong.sum())} of {int(present.sum())} rows of batch{mark} that are marked "
                "present are blank",
                f"batch{mark} and its mask batch{name}, {len(flat)} rows of the watched batches",
                (
                    f"rows that the mask calls absent: {int((~present).sum())}, all blank; rows "
                    f"that it calls present: {int(present.sum())}, of which {int(wrong.sum())} "
                    f"hold one value ({float(flat[wrong][0, 0]):g})",
                ),
                "raise where a file cannot be decoded, or mark the row as absent",
                ruled_out=("missing recordings: these are marked",),
                explains=("a loader that returns zeros where decoding fails",),
                scope=mark,
            )
    if not judged:
        raise Unavailable("no mask of the batches says which rows of a stream are missing")


def _streams_and_masks(
    record: Record,
) -> dict[str, tuple[list[Tensor], dict[str, list[Tensor]]]]:
    """Mark of a float stream -> its values in the traced batches, and the leaves of zeros and ones,
    one a row, beside it.
    """
    values = {
        mark: [value for _, value in pairs]
        for mark, pairs in leaf_values(record).items()
        if len({value.shape[1:] for _, value in pairs}) == 1
    }
    streams = {
        mark: batches
        for mark, batches in values.items()
        if batches[0].is_floating_point() and batches[0][0].numel() >= FEWEST_VALUES
    }
    flags = {
        mark: batches
        for mark, batches in values.items()
        if batches[0].ndim == 1 and bool(torch.isin(torch.cat(batches).float(), BITS).all())
    }
    return {
        mark: (
            batches,
            {
                name: own
                for name, own in flags.items()
                if [len(value) for value in own] == [len(value) for value in batches]
            },
        )
        for mark, batches in streams.items()
    }

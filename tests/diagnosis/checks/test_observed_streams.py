"""Kinds of mistakes in what a watched loop's loader reads: streams, files, rows without a class."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tests.diagnosis.checks.test_observed import Adam, parts, plain
from tests.diagnosis.checks.test_observed_kinds import Recordings, alarms_of
from tests.diagnosis.observe.test_healthy_loops import CLASSES, ROWS, loader_of, loop
from tests.diagnosis.observe.test_recorder import contrast


class Stream(IterableDataset):
    """Rows in a shuffled order that all workers know, from a file or a queue."""

    def __init__(self, x, y, split: str) -> None:
        self.x, self.y, self.split = x, y, split

    def __iter__(self):
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(3)).tolist()
        info = get_worker_info()
        if info is not None and self.split == "in turn":
            order = order[info.id :: info.num_workers]
        if info is not None and self.split == "each its own order":
            torch.manual_seed(info.id)
            order = torch.randint(len(self.x), (len(self.x),)).tolist()
        return ((self.x[row], self.y[row]) for row in order)


@pytest.mark.parametrize(
    ("split", "workers", "expected"),
    [
        ("", 2, ["QL-B22"]),
        ("in turn", 2, []),
        ("each its own order", 2, []),
        ("", 0, []),
    ],
)
def test_workers_share_a_stream_out(split, workers, expected):
    model, x, y = parts()
    loader = DataLoader(Stream(x, y, split), 16, num_workers=workers)
    assert alarms_of(plain(model, loader))[:1] == expected


@pytest.mark.parametrize("left_out", ["no", "from the mask", "two classes"])
def test_rows_of_label_minus_one_are_no_class(left_out):
    """As of a clustering that calls its noise -1; -1 and 1 are ordinary names of two classes."""
    model, x, y = parts()
    y = torch.where(y == 0, -1, 1) if left_out == "two classes" else y - 1

    def loss(batch):
        rows, label = normalize(model(batch[0]), dim=1), batch[1]
        if left_out == "from the mask":
            return contrast(rows[label >= 0], label[label >= 0])
        return contrast(rows, label)

    train = loop(loader_of(x, y), loss, Adam(model.parameters(), 1e-3))
    assert alarms_of(train)[:1] == (["QL-L21"] if left_out == "no" else [])


@pytest.mark.parametrize("first", [-2, -1, 0])
@pytest.mark.parametrize("name", ["{code}/shot_{row:03d}.png", "all/{code}_s1_{row:03d}.png"])
def test_files_of_no_class_are_no_class(first, name):
    model, x, y = parts()
    paths = [name.format(code=int(code) + first, row=row) for row, code in enumerate(y)]
    loader = DataLoader(Recordings(x, y, files=paths), 24, shuffle=True)
    assert len(paths) == ROWS and len(set(y.tolist())) == CLASSES
    assert alarms_of(plain(model, loader))[:1] == (["QL-L21"] if first == -1 else [])

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
import torch

from quadlib.data.augment import generators, move, vary
from quadlib.data.dataset import Batch, QuadDataset, ahead, make_loader
from quadlib.data.kinds.changes import SHIFT_FRACTION, shift
from quadlib.data.normalise import Normaliser
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.store.store import MediaStore

SHAPES = {
    "video": (4, 2, 12, 20),
    "image": (2, 3, 12, 20),
    "audio": (2, 16, 24),
    "series": (3, 32),
    "vector": (5,),
}
COUNT = 24


@pytest.fixture
def store() -> MediaStore:
    random = np.random.default_rng(0)
    arrays = {
        kind: random.normal(90, 20, (COUNT, *shape)).astype(
            np.uint8 if kind in ("video", "image") else np.float32
        )
        for kind, shape in SHAPES.items()
    }
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row}" for row in range(COUNT)],
            "label": ["abc"[row % 3] for row in range(COUNT)],
            "group": "g",
            "split": "train",
            **{kind: range(COUNT) for kind in SHAPES},
        }
    )
    frame.loc[3, "audio"] = -1
    frame.loc[4, ["video", "series"]] = -1
    table = SampleTable(
        frame, {kind: Modality(kind, shape) for kind, shape in SHAPES.items()}, arrays=arrays
    )
    return MediaStore(table, arrays, [])


def dataset_of(store: MediaStore, **options) -> QuadDataset:
    return QuadDataset(
        store,
        Normaliser.fit(store.arrays, store.present, store.table.modalities, np.arange(COUNT)),
        **options,
    )


def same(first: Batch, second: Batch) -> bool:
    return all(
        torch.equal(first.inputs[name], second.inputs[name]) for name in first.inputs
    ) and torch.equal(first.index, second.index)


@pytest.mark.parametrize("augmented", [False, True])
def test_a_batch_has_shapes_types_and_zeros_where_absent(store, augmented):
    batch = dataset_of(store, augment=augmented).__getitems__([3, 0, 4])
    assert (
        len(batch) == 3 and batch.index.tolist() == [3, 0, 4] and batch.labels.tolist() == [0, 0, 1]
    )
    assert {name: tuple(tensor.shape) for name, tensor in batch.inputs.items()} == {
        name: (3, *shape) for name, shape in SHAPES.items()
    }
    assert all(tensor.dtype == torch.float32 for tensor in batch.inputs.values())
    assert (
        batch.labels.dtype == batch.index.dtype == torch.int64 and batch.present.dtype == torch.bool
    )
    assert batch.present.tolist() == [
        [True, True, False, True, True],
        [True] * 5,
        [False, True, True, False, True],
    ]
    for place, name in enumerate(SHAPES):
        assert [bool(tensor.any()) for tensor in batch.inputs[name]] == batch.present[
            :, place
        ].tolist()


def test_batches_are_in_order_and_never_augmented(store):
    dataset = dataset_of(store, augment=True)
    batches = list(dataset.batches(np.arange(10), 4))
    assert [batch.index.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert same(batches[0], dataset_of(store).__getitems__([0, 1, 2, 3]))
    assert same(dataset_of(store)[5], dataset_of(store).__getitems__([5]))


def test_augmentation_is_a_function_of_seed_epoch_and_recording(store):
    dataset = dataset_of(store, augment=True, seed=1)
    first, other_batch = dataset.__getitems__([7, 8, 9]), dataset.__getitems__([1, 9])
    assert all(torch.equal(first.inputs[name][2], other_batch.inputs[name][1]) for name in SHAPES)
    assert same(first, dataset.__getitems__([7, 8, 9]))
    dataset.set_epoch(1)
    later = dataset.__getitems__([7, 8, 9])
    assert all(not torch.equal(first.inputs[name], later.inputs[name]) for name in SHAPES)
    dataset.set_epoch(0)
    assert same(first, dataset.__getitems__([7, 8, 9]))
    assert not same(first, dataset_of(store, augment=True, seed=2).__getitems__([7, 8, 9]))


def test_augmentation_leaves_the_store_and_the_scale_alone(store):
    before = {name: array.copy() for name, array in store.arrays.items()}
    dataset = dataset_of(store, augment=True)
    for epoch in range(20):
        dataset.set_epoch(epoch)
        batch = dataset.__getitems__(range(5, COUNT))
        for name, tensor in batch.inputs.items():
            assert (
                torch.isfinite(tensor).all()
                and 0.5 < tensor.std() < 1.5
                and tensor.mean().abs() < 0.5
            ), name
    assert all(np.array_equal(before[name], array) for name, array in store.arrays.items())


@pytest.mark.parametrize("kind", list(SHAPES))
def test_augmentation_works_on_the_smallest_shapes(kind):
    shape = {
        "video": (1, 2, 1, 1),
        "image": (1, 3, 1, 1),
        "audio": (2, 1, 1),
        "series": (1, 1),
        "vector": (1,),
    }[kind]
    for epoch in range(50):
        inputs, modalities, random = (
            {kind: np.ones((1, *shape), dtype=np.float32)},
            {kind: Modality(kind)},
            generators(0, epoch, [0]),
        )
        move(inputs, modalities, random)
        vary(inputs, modalities, random)
        assert inputs[kind].shape == (1, *shape) and np.isfinite(inputs[kind]).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_the_same_batches_whatever_the_workers(store, workers):
    dataset = dataset_of(store, augment=True)
    order = [[0, 5, 9], [3, 4], [11]]
    state = torch.random.get_rng_state()
    batches = list(make_loader(dataset, order, num_workers=workers, seed=3))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(
        same(batch, dataset.__getitems__(rows)) for batch, rows in zip(batches, order, strict=True)
    )


def test_batches_made_ahead_are_the_same_and_an_error_comes_in_its_place(store):
    dataset = dataset_of(store, augment=True)
    order = [[0, 5, 9], [3, 4], [11]]
    batches = list(ahead(make_loader(dataset, order)))
    assert all(
        same(batch, dataset.__getitems__(rows)) for batch, rows in zip(batches, order, strict=True)
    )
    broken = ahead(make_loader(dataset, [[0], [10**6]]))
    assert same(next(broken), dataset.__getitems__([0]))
    with pytest.raises(IndexError):
        next(broken)
    left = ahead(make_loader(dataset, order))
    next(left)
    left.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("batches")]


def test_to_moves_everything(store):
    batch = dataset_of(store).__getitems__([0, 1]).to("meta")
    assert {
        tensor.device.type
        for tensor in (*batch.inputs.values(), batch.present, batch.labels, batch.index)
    } == {"meta"}


@pytest.mark.parametrize(
    "shares", [(0.0, 0.5), (1.0, 0.5), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0), (0.5, 0.5)]
)
def test_a_shift_repeats_the_edge(shares):
    frames = np.arange(2 * 40 * 50).reshape(2, 40, 50).astype(np.float32)
    moved = [
        round(SHIFT_FRACTION * size * (2 * share - 1))
        for size, share in zip((40, 50), shares, strict=True)
    ]
    rows, columns = (
        np.clip(np.arange(size) - by, 0, size - 1) for size, by in zip((40, 50), moved, strict=True)
    )
    shifted = frames.copy()
    shift(shifted, *shares)
    assert np.array_equal(shifted, frames[:, rows][:, :, columns])

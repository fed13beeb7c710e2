from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from quadlib.config import MediaSettings
from quadlib.data.decoding.bins import bin_edges, window_steps
from quadlib.data.normalise import Normaliser
from quadlib.data.samples import Modality, input_shape

SHAPES = {
    "video": (4, 2, 6, 7),
    "image": (2, 3, 5, 6),
    "audio": (2, 8, 9),
    "series": (3, 11),
    "vector": (5,),
}


def fit(store: SimpleNamespace, rows: np.ndarray) -> Normaliser:
    return Normaliser.fit(store.arrays, store.present, store.table.modalities, rows)


def store_of(count: int = 40, **changes):
    random = np.random.default_rng(0)
    arrays = {kind: random.normal(50, 20, (count, *shape)) for kind, shape in SHAPES.items()}
    arrays = {
        kind: (
            array.clip(0, 255).astype(np.uint8)
            if kind in ("video", "image")
            else array.astype(np.float32)
        )
        for kind, array in arrays.items()
    }
    table = SimpleNamespace(modalities={kind: Modality(kind) for kind in SHAPES})
    return SimpleNamespace(
        table=table, arrays={**arrays, **changes}, present=np.ones((count, 5), dtype=bool)
    )


def test_input_shapes():
    settings = MediaSettings(
        video_frames=3, image_views=4, audio_mel_bins=20, audio_frames=30, series_steps=40
    )
    assert input_shape(Modality("video"), settings) == (3, 2, 48, 80)
    assert input_shape(Modality("image"), settings) == (4, 3, 48, 96)
    assert input_shape(Modality("audio"), settings) == (2, 20, 30)
    assert input_shape(Modality("series", (6,)), settings) == (6, 40)
    assert input_shape(Modality("series", (6, 17)), settings) == (6, 17)
    assert input_shape(Modality("vector", (9,)), settings) == (9,)
    with pytest.raises(ValueError, match="not known"):
        input_shape(Modality("series"), settings)


@pytest.mark.parametrize(
    ("kind", "pooled"),
    [
        ("video", (0, 1, 3, 4)),
        ("image", (0, 1, 3, 4)),
        ("audio", (0, 3)),
        ("series", (0, 2)),
        ("vector", (0,)),
    ],
)
def test_train_has_mean_zero_and_deviation_one(kind, pooled):
    store, rows = store_of(), np.arange(30)
    normaliser = fit(store, rows)
    result = normaliser.apply(kind, store.arrays[kind][rows])
    assert result.dtype == np.float32 and result.shape == (30, *SHAPES[kind])
    tolerance = (
        0.05 if kind == "series" else 1e-4
    )  # outliers of a series are clipped before its scale is taken
    assert result.mean(axis=pooled) == pytest.approx(0, abs=tolerance)
    assert result.std(axis=pooled) == pytest.approx(1, abs=tolerance)


def test_only_the_given_rows_that_are_there_count():
    store, rows = store_of(), np.arange(30)
    expected = fit(store, rows).statistics
    for array in store.arrays.values():
        array[30:] = 0
        array[5] = 0 if array.dtype == np.uint8 else np.nan
    store.present[5] = False
    without = fit(store, np.delete(rows, 5)).statistics
    found = fit(store, rows).statistics
    assert all(np.array_equal(found[name][0], without[name][0]) for name in SHAPES)
    assert all(np.allclose(found[name][0], expected[name][0], rtol=0.2) for name in SHAPES)
    store.present[:, 3] = False
    with pytest.raises(ValueError, match="none of the 30 training recordings has series"):
        fit(store, rows)


def test_absolute_levels_survive():
    store = store_of()
    store.arrays["series"][7] += 100
    normaliser = fit(store, np.arange(40))
    assert normaliser.apply("series", store.arrays["series"][7:8]).mean() > 2


def test_one_outlier_does_not_set_the_scale_of_a_series():
    store = store_of()
    expected = fit(store, np.arange(40)).statistics["series"][1]
    store.arrays["series"][0, 0, 0] = 1e6
    assert fit(store, np.arange(40)).statistics["series"][1] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("level", [0.0, 7.3, 1e6])
def test_a_constant_channel_is_only_centred(level):
    store = store_of(series=np.full((40, 3, 11), level, dtype=np.float32))
    result = fit(store, np.arange(40)).apply("series", store.arrays["series"])
    assert np.abs(result).max() <= 1e-6 * max(level, 1)


def test_a_large_offset_costs_no_precision():
    values = 1e4 + np.random.default_rng(0).normal(0, 1, (40, 5))
    result = fit(store_of(vector=values), np.arange(40))
    assert result.statistics["vector"][1] == pytest.approx(values.std(axis=0), rel=1e-5)


def test_state_is_plain_and_exact(tmp_path):
    store = store_of()
    normaliser = fit(store, np.arange(40))
    torch.save(normaliser.state_dict(), tmp_path / "state.pt")
    again = Normaliser.from_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for name, array in store.arrays.items():
        assert np.array_equal(again.apply(name, array), normaliser.apply(name, array))


def test_bins_cover_every_step_once_where_there_are_enough():
    for steps in (8, 9, 100, 1001):
        starts, stops = bin_edges(3, 3 + steps, 8)
        assert starts[0] == 3 and stops[-1] == 3 + steps and (starts[1:] == stops[:-1]).all()
    for steps in (1, 2, 7):
        starts, stops = bin_edges(0, steps, 8)
        assert (stops > starts).all() and starts.min() == 0 and stops.max() == steps


def test_windows_are_never_empty():
    assert window_steps(100, None) == (0, 100)
    assert window_steps(100, (0.16, 0.86)) == (16, 86)
    for arc in ((0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (-1, 2)):
        first, last = window_steps(10, arc)
        assert 0 <= first < last <= 10

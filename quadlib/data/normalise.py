"""From raw arrays to the encoders' input: its scale, by statistics of the training recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from quadlib.data.kinds import kind_of
from quadlib.data.samples import Modality

Statistics = Mapping[str, tuple[np.ndarray, np.ndarray]]
CHUNK_ROWS = 64
CLIPPED_PERCENT = (
    0.5  # of a series at each end: one open-circuit reading of 80 V must not set the scale
)

QUARTILES_APART = 1.349  # standard deviations of a normal distribution


class Normaliser:
    """Mean 0 and standard deviation 1 over the recordings it was fitted on, each modality by its
    own statistics; what `middles` has is softened before.

    Statistics are kept per channel of a video, an image and a series, per mel band and statistic of
    a sound, and per feature of a vector: levels that differ between recordings survive. A channel
    that never varies is only centred; what its encoder scales is left as it is.
    """

    def __init__(self, statistics: Statistics, middles: Statistics | None = None) -> None:
        self.statistics, self.middles = (
            {
                name: (centre.astype(np.float32), scale.astype(np.float32))
                for name, (centre, scale) in pairs.items()
            }
            for pairs in (statistics, middles or {})
        )

    @classmethod
    def fit(
        cls,
        arrays: Mapping[str, np.ndarray],
        present: np.ndarray,
        modalities: Mapping[str, Modality],
        rows: np.ndarray,
        *,
        soft: bool = False,
    ) -> Normaliser:
        """Statistics over the recordings `rows` (those of train) that have the modality.

        arrays: name -> (n, ...). present: bool (n, M), in the order of modalities. Of a series the
        outer 0.5 % at each end are clipped first. `soft` softens the kinds that have heavy tails.
        Raises ValueError when no row has a modality.
        """
        statistics, middles = {}, {}
        for column, (name, modality) in enumerate(modalities.items()):
            usable = np.asarray(rows)[present[rows, column]]
            if not len(usable):
                raise ValueError(
                    f"none of the {len(rows)} training recordings has {name}, so its scale is "
                    "unknown; choose modalities without it"
                )
            kind = kind_of(modality)
            if kind.scaled_by_encoder:
                statistics[name] = np.zeros(1), np.ones(1)
                continue
            kept = tuple(axis + 1 for axis in kind.kept_axes)
            array = arrays[name]
            if soft and kind.heavy_tails:
                middles[name] = _middle_and_spread(array[usable])
                array, usable = _softened(array[usable], *middles[name]), np.arange(len(usable))
            statistics[name] = _statistics(array, usable, kept, clipped=kind.clipped)
        return cls(statistics, middles)

    def apply(self, name: str, array: np.ndarray) -> np.ndarray:
        """Normalises a batch of raw arrays (B, ...) into new float32 arrays of the same shape."""
        mean, std = self.statistics[name]
        if name in self.middles:
            array = _softened(array, *self.middles[name])
        result = np.multiply(array, 1 / std, dtype=np.float32)
        result -= mean / std
        return result

    def state_dict(self) -> dict[str, Any]:
        """Plain dictionaries of tensors, loadable with weights_only=True."""
        parts = {("mean", "std"): self.statistics, ("middle", "spread"): self.middles}
        return {
            name: {
                key: torch.from_numpy(value.copy())
                for keys, pairs in parts.items()
                for key, value in zip(keys, pairs.get(name, ()), strict=False)
            }
            for name in self.statistics
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Normaliser:
        """The normaliser that `state_dict` described; exact."""
        return cls(
            {name: (entry["mean"].numpy(), entry["std"].numpy()) for name, entry in state.items()},
            {
                name: (entry["middle"].numpy(), entry["spread"].numpy())
                for name, entry in state.items()
                if "middle" in entry
            },
        )


def _middle_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median of each feature of values (n, d), and its standard deviation were it normal, by the
    quartiles; where these coincide, its own one, or 1.
    """
    low, middle, high = np.percentile(values.astype(np.float64), [25, 50, 75], axis=0)
    spread = np.where(high > low, (high - low) / QUARTILES_APART, values.std(axis=0))
    return middle, np.where(spread > 1e-6 * np.maximum(np.abs(middle), 1e-6), spread, 1.0)


def _softened(values: np.ndarray, middle: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """About as they are within a spread of the middle, by their logarithm far out (asinh; Burbidge
    et al. 1988), so that a far reading does not set the scale of all.
    """
    return np.arcsinh((values - middle) / spread, dtype=np.float32)


def _statistics(
    array: np.ndarray, rows: np.ndarray, kept: tuple[int, ...], clipped: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation with the kept axes in their place and 1 elsewhere, without the
    batch axis.
    """
    pooled = tuple(axis for axis in range(array.ndim) if axis not in kept)
    low, high = (None, None) if not clipped else _percentiles(array[rows], pooled)
    first, second, count = 0.0, 0.0, 0
    for begin in range(0, len(rows), CHUNK_ROWS):
        chunk = array[rows[begin : begin + CHUNK_ROWS]].astype(np.float64)
        if low is not None:
            chunk = np.clip(chunk, low, high)
        if not begin:
            origin = chunk.mean(axis=pooled, keepdims=True)  # keeps the difference of squares small
        chunk -= origin
        first = first + chunk.sum(axis=pooled, keepdims=True)
        second = second + (chunk**2).sum(axis=pooled, keepdims=True)
        count += chunk.size // max(1, int(np.prod([array.shape[axis] for axis in kept])))
    mean = first / count
    std = np.sqrt(np.maximum(second / count - mean**2, 0))
    mean = mean + origin
    constant = std <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean[0], np.where(constant, 1.0, std)[0]


def _percentiles(values: np.ndarray, pooled: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.percentile(
        values, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT], axis=pooled, keepdims=True
    )
    return low, high

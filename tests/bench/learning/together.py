"""The recordings of several runs side by side, with as many of each split in every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import made
import measured
import numpy as np
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor
from variants import Variant

from quadlib.config import TrainSettings
from quadlib.data.normalise import Normaliser
from quadlib.data.open import divided
from quadlib.data.samples import SPLITS, SampleTable
from quadlib.data.sources import mfeat
from quadlib.sampler import StratifiedBatchSampler

ROWS, MADE_SEED = 500, 1000
MADE = ("one_good", "all_good", "session_shift", "half_missing", "many_sessions", "cycles")
MEASURED = ("digits", "htad", "mfeat", "mfeat_1_noise", "mfeat_2_noise", "mfeat_3_noise")


@dataclass
class Data:
    """The recordings of R runs: x (R, M, n, d), train and val rows (R, ...), batches by epoch."""

    x: Tensor
    present: Tensor
    codes: Tensor
    sessions: np.ndarray
    train: Tensor
    val: Tensor
    test: Tensor  # empty in the study
    samplers: list[StratifiedBatchSampler]
    tables: list[SampleTable]
    n_classes: int
    spaces: bool  # whether the embedding spaces are judged too
    columns: Tensor  # (M, d): 1 where a view has one, 0 where it is narrower


def thinned(table: SampleTable, seed: int) -> np.ndarray:
    """Rows of whole sessions, 500 of them or few more, in the order of the table."""
    random = np.random.default_rng([seed, 3])
    groups = table.frame["group"].to_numpy()
    order = random.permutation(np.unique(groups))
    sizes = [(groups == name).sum() for name in order]
    kept = order[: int(np.searchsorted(np.cumsum(sizes), ROWS)) + 1]
    return np.flatnonzero(np.isin(groups, kept))


def read(name: str, seed: int) -> SampleTable:
    """Train and val alone of a stand-in; the test split of a measured one is left out unseen."""
    settings = TrainSettings(source="mfeat", seed=seed)
    if name in MADE:
        table = getattr(made, name)(seed=MADE_SEED + seed)
        table = table.take(thinned(table, seed))
        return divided(table, settings.model_copy(update={"fractions": [0.6, 0.4, 0.0]}))
    reader = mfeat.read if name == "mfeat" else getattr(measured, name)
    table = reader(seed=seed)
    if (table.frame["split"] == "").all():
        table = divided(table, settings)
    table = table.take(np.flatnonzero(table.frame["split"] != "test"))
    return table if len(table) <= ROWS else table.take(thinned(table, seed))


def read_whole(name: str, seed: int) -> SampleTable:
    """A stand-in as it is trained on for the table of scores."""
    reader = mfeat.read if name == "mfeat" else getattr(made if name in MADE else measured, name)
    table = reader(seed=seed)
    unsplit = (table.frame["split"] == "").all()
    return divided(table, TrainSettings(source="mfeat", seed=seed)) if unsplit else table


def load(name: str, seeds: range, variant: Variant, whole: bool = False) -> Data:
    """As many recordings of each split for each seed as the one with the fewest has, so that all
    have the same number of batches of 32; thinned and without test, or `whole`.
    """
    tables = [(read_whole if whole else read)(name, seed) for seed in seeds]
    splits = [[table.rows(split) for split in SPLITS] for table in tables]
    n_train, n_val, n_test = (min(map(len, rows)) for rows in zip(*splits, strict=True))
    n_train = n_train // 32 * 32
    width = max(spec.shape[0] for spec in tables[0].modalities.values())
    runs: dict[str, list[Any]] = {key: [] for key in ("x", "present", "codes")}
    samplers, sessions = [], []
    for seed, table, split in zip(seeds, tables, splits, strict=True):
        random = np.random.default_rng([seed, 4])
        train, val, test = (
            np.sort(random.permutation(part)[:count])
            for part, count in zip(split, (n_train, n_val, n_test), strict=True)
        )
        rows = np.concatenate([train, val, test])
        groups = table.frame["group"].to_numpy()[rows]
        codes = table.codes[rows]
        runs["x"].append(torch.from_numpy(_inputs(table, train, rows, width, variant)))
        runs["present"].append(torch.from_numpy(table.present[rows]))
        runs["codes"].append(torch.from_numpy(codes))
        numbers = np.unique(groups, return_inverse=True)[1]
        sessions.append(numbers)
        samplers.append(
            StratifiedBatchSampler(
                codes[:n_train], 32, rare="drop", seed=seed, groups=numbers[:n_train]
            )
        )
    stacked = {key: torch.stack(values) for key, values in runs.items()}
    own = torch.zeros(len(tables[0].modalities), width)
    for m, spec in enumerate(tables[0].modalities.values()):
        own[m, : spec.shape[0]] = 1
    train, val, test = torch.arange(n_train + n_val + n_test).split([n_train, n_val, n_test])
    return Data(
        **stacked,
        train=train.expand(len(tables), -1),
        val=val.expand(len(tables), -1),
        test=test.expand(len(tables), -1),
        n_classes=len(tables[0].class_names),
        sessions=np.stack(sessions),
        samplers=samplers,
        tables=tables,
        spaces=name == "mfeat",
        columns=own,
    )


def _inputs(
    table: SampleTable, train: np.ndarray, rows: np.ndarray, width: int, variant: Variant
) -> np.ndarray:
    """(M, n, width): normalised by the train recordings, 0 where absent and where a view is
    narrower.
    """
    # a row of the table is a row of its arrays by number, absent ones are -1
    arrays = {
        name: table.arrays[name][table.frame[name].clip(lower=0)] for name in table.modalities
    }
    if variant.quantiles:
        for m, name in enumerate(arrays):
            known = train[table.present[train, m]]
            ranks = QuantileTransformer(
                n_quantiles=min(200, len(known)), output_distribution="normal"
            ).fit(arrays[name][known])
            arrays[name] = np.clip(ranks.transform(arrays[name]), -3, 3).astype(np.float32)
    normaliser = Normaliser.fit(
        arrays, table.present, table.modalities, train, soft=variant.vector_scale == "soft"
    )
    result = np.zeros((len(arrays), len(rows), width), dtype=np.float32)
    for m, name in enumerate(arrays):
        values = normaliser.apply(name, arrays[name][rows]).clip(-variant.clip, variant.clip)
        result[m, :, : values.shape[1]] = values * table.present[rows, m, None]
    return result


def batches(data: Data, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (R, B) of the batches of an epoch, and which of them are there: batches of one number
    differ by a row or two between runs.
    """
    for sampler in data.samplers:
        sampler.set_epoch(epoch)
    for dealt in zip(*data.samplers, strict=False):
        size = max(map(len, dealt))
        rows = torch.tensor([[*part, *[part[0]] * (size - len(part))] for part in dealt])
        sizes = torch.tensor([len(part) for part in dealt])
        yield rows, torch.arange(size) < sizes[:, None]


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Rows (R, B) of values (R, n, ...)."""
    return torch.stack([own[which] for own, which in zip(values, rows, strict=True)])

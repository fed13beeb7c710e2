"""A source from outside quadlib: one HDF5 file with a dataset for each modality."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from quadlib import SampleTable, register_source
from quadlib.data.kinds import kind_of_array
from quadlib.data.samples import Modality, TableError

OTHERS = ("label", "session")


def read(path: str | Path | None = None, *, seed: int = 0) -> SampleTable:
    """The recordings of an HDF5 file: `label` (n,), `session` (n,), and arrays (n, ...) named after
    the modalities; `seed` decides their order.
    """
    if not path or not Path(path).is_file():
        raise TableError(f"hdf5: {str(path)!r} is not a file; name the .h5 file as path")
    with h5py.File(path) as file:
        arrays = {name: np.asarray(file[name]) for name in file if name not in OTHERS}
        label, session = (file[name].asstr()[()] for name in OTHERS)
    order = np.random.default_rng(seed).permutation(len(label))
    frame = pd.DataFrame(
        {
            "sample_id": [f"r{row}" for row in order],
            "label": label[order],
            "group": session[order],
            "split": "",
            **dict.fromkeys(arrays, order),
        }
    )
    modalities = {
        name: Modality(kind_of_array(array.shape[1:]), array.shape[1:])
        for name, array in arrays.items()
    }
    return SampleTable(frame, modalities, arrays=arrays, name=Path(path).name)


register_source("hdf5", read)

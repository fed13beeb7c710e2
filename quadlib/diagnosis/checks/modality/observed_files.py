"""The files behind a watched loader: those of one row are of one recording."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from quadlib.diagnosis.checks.modality.contracts import M01
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_loader
from quadlib.diagnosis.evidence.observed.files import file_columns, keys_of
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

SAME_FILES = 0.9  # of the names of a column that the other has too: both name recordings alike
FEWEST_NAMES = 8


@check(M01, "the files of a watched row are of one recording", phase="observed")
def paired_files(x: Examination) -> Iterator[Finding]:
    columns = file_columns(training_loader(x.record).dataset)
    keys = {name: keys_of(paths) for name, paths in columns.items()}
    pairs = [
        (one, other)
        for one, other in itertools.combinations(keys, 2)
        if len(shared := set(keys[one]) & set(keys[other])) >= FEWEST_NAMES
        and len(shared) >= SAME_FILES * len(set(keys[one]) | set(keys[other]))
    ]
    if not pairs:
        raise Unavailable("the dataset keeps no two columns of files that are named alike")
    for one, other in pairs:
        wrong = [
            k
            for k, names in enumerate(zip(keys[one], keys[other], strict=True))
            if names[0] != names[1]
        ]
        if not wrong:
            continue
        first = wrong[0]
        yield M01.broken(
            "error",
            f"{len(wrong)} of {len(keys[one])} rows pair files of different recordings",
            f"{one} and {other} of the training loader's dataset",
            (
                f"row {first}: {columns[one][first]} with {columns[other][first]}",
                "both columns hold the same recordings, by their files' names, in another order",
            ),
            "sort both lists, or better join them by the recording's name",
            ruled_out=("missing files: every recording is in both columns",),
            scope=other,
        )
        return

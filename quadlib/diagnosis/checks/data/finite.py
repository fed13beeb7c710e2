"""Contracts of the numbers: all are finite, as they are stored and as they reach the model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.data.contracts import D06, D16
from quadlib.diagnosis.evidence.contents import sample_ids
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.features import (
    input_arrays,
    presence,
    stored_arrays,
    table_arrays,
)
from quadlib.diagnosis.evidence.observed.passes import missing_is_masked
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some


@check(D06, "every stored number is finite")
def finite_arrays(x: Examination) -> Iterator[Finding]:
    arrays = {**stored_arrays(x), **table_arrays(x, partly=True)}
    if not arrays:
        raise Unavailable("there are no arrays; files are judged when they are decoded")
    yield from _not_finite(x, arrays)


@check(D06, "every number that the dataset returns is finite", "batch")
def finite_on_reading(x: Examination) -> Iterator[Finding]:
    yield from _not_finite(
        x,
        {
            name: (array, x.dataset_rows.place[name])
            for name, array in x.dataset_rows.arrays.items()
        },
    )


def _not_finite(
    x: Examination, arrays: dict[str, tuple[np.ndarray, np.ndarray]]
) -> Iterator[Finding]:
    for name, (array, place) in arrays.items():
        if not np.issubdtype(array.dtype, np.floating) or np.isfinite(
            np.sum(array, dtype=np.float64)
        ):
            continue
        values = array.reshape(len(array), -1)
        finite = np.isfinite(values)
        bad = np.flatnonzero((place >= 0) & ~finite.all(axis=1)[np.maximum(place, 0)])
        if len(bad):
            first = sample_ids(x, bad[:1])[0]
            column = int(np.flatnonzero(~finite[place[bad[0]]])[0])
            masked = x.subject.record is not None and missing_is_masked(x.record)
            yield D06.broken(
                "note" if masked else "error",
                f"{len(bad)} samples hold NaN or infinity in {name}, first {first}",
                where=f"modality {name}: {some(sample_ids(x, bad))}",
                evidence=(
                    f"first value that is not finite: {values[place[bad[0]], column]} at position "
                    f"{column} of {first}",
                    f"{int((~finite[place[bad]]).sum())} values in all; "
                    + (
                        "the model answers such batches with finite numbers"
                        if masked
                        else "one of them makes every loss of its batch NaN"
                    ),
                ),
                ruled_out=(
                    "learning rate",
                    "temperature",
                    "mixed precision: the raw data come before all of them",
                ),
                help=f"fix the array, or mark {name} as absent in these rows (-1 in its column, "
                'on_damage="drop_modality")   '
                "[changes the data; retrain]",
            )


@check(D16, "the inputs of the first batch are finite", "batch")
def finite_inputs(x: Examination) -> Iterator[Finding]:
    for number, batch in enumerate(x.batches):
        own = input_arrays(batch)
        there = presence(batch, own)
        for name, values in own.items():
            bad = np.flatnonzero(
                there[name] & ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            )
            if len(bad):
                yield D16.broken(
                    "error",
                    f"{len(bad)} of {len(values)} samples of {name} reach the model with NaN or "
                    "infinity",
                    where=f"batch {number}, input {name}, samples {some(bad)}",
                    evidence=(
                        "the stored numbers are finite where they could be read, so a transform or "
                        "the normaliser makes them: a division by a deviation of 0, or a logarithm "
                        "of 0"
                        if stored_arrays(x) or table_arrays(x, partly=True)
                        else "how they are stored could not be read: either a file holds them, or "
                        "a transform makes them",
                    ),
                    help=f"look at the normaliser's statistics of {name}; keep its deviation above "
                    "0   [changes the inputs; retrain]",
                )
                return

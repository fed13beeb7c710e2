"""Embeddings that a loop's variables hold where it evaluates."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.evaluation.contracts import E25
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import training_items
from quadlib.diagnosis.evidence.observed.parts import Array, arrays
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

NAMED = re.compile(r"z(s|tr|te|\d|_|$)|.*(emb|feat|latent|represent)", re.IGNORECASE)
FEWEST_ROWS, MOST_VALUES = 32, 1 << 23
ONE_POINT = 0.995  # norm of the mean of unit rows: cosines of 0.99 on average


@check(E25, "the embeddings at hand are not one point", phase="variables")
def one_point(x: Examination) -> Iterator[Finding]:
    inputs = _input_widths(x)
    embeddings = [array for array in arrays(x.record) if _are_embeddings(array, inputs)]
    if not embeddings:
        raise Unavailable("no variables hold embeddings of unit norm")
    for array in embeddings:
        norm = float(np.linalg.norm(array.values.mean(axis=0)))
        if norm > ONE_POINT:
            yield E25.broken(
                "error",
                f"the embeddings are one point: {array.name}",
                f"the variable {array.name}, {array.values.shape}",
                (
                    f"its unit rows have a mean of norm {norm:.4f}: two of them have a cosine of "
                    f"{norm**2:.4f} on average, whatever their class",
                ),
                "look at what the loss draws together: a distance where a similarity is meant, "
                "positives and negatives exchanged, a loss that stands at its margin",
                ruled_out=("the score: what is left of an order within the point is no distance",),
                explains=("a loss that stands at its margin, or at ln(N - 1)",),
            )
            return


def _are_embeddings(array: Array, inputs: set[int]) -> bool:
    values = array.values
    if values.ndim != 2 or values.dtype.kind != "f" or len(values) < FEWEST_ROWS:
        return False
    if values.shape[1] < 2 or values.shape[1] in inputs or values.size > MOST_VALUES:
        return False
    norms = np.linalg.norm(values, axis=1)
    return NAMED.match(array.name) is not None and bool(np.allclose(norms, 1, atol=1e-3))


def _input_widths(x: Examination) -> set[int]:
    """Columns of what the training dataset gives, which may be embeddings of another model."""
    try:
        streams = training_items(x.record).streams.values()
    except Unavailable:
        return set()
    return {stream.shape[1] for stream in streams if stream.ndim == 2}

"""Rows of the batch on their way through the watched models: each stays whole."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.model.watched_contracts import N23
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


@check(N23, "every watched layer is given whole rows of the batch", phase="observed")
def whole_rows(x: Examination) -> Iterator[Finding]:
    for layer in traced(x.record)[0].backward.layers:
        if layer.torn:
            yield N23.broken(
                "error",
                f"the rows that {layer.module} is given are torn out of several samples",
                f"{layer.module} ({layer.kind}), the first such layer",
                (
                    f"its input of shape {layer.torn}: rows hold parts of several rows of the "
                    "batch, and each of these lies in several of its rows",
                ),
                ruled_out=("the data: rows were whole as they came out of the loader",),
            )
            return

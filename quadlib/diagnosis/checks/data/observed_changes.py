"""Whether the data behind a watched loader stay as they are."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.data.contracts import D25
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some


@check(D25, "the arrays behind the watched loader stay as they are", phase="observed")
def rewritten(x: Examination) -> Iterator[Finding]:
    if not x.record.rewritten:
        raise Unavailable("no dataset with arrays of its own was trained on")
    for path, rows in x.record.rewritten.items():
        if rows:
            yield D25.broken(
                "error",
                f"{path} changes as it is read",
                f"{path} of the training loader",
                (
                    f"of the rows that were looked at before the first step and after the last, "
                    f"{len(rows)} have other values now, for example row {some(rows)}",
                ),
                ruled_out=("random augmentation: it changes the item, not what is stored",),
                explains=("samples that fade from epoch to epoch",),
            )
            return

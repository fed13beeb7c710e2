"""Whether the masks of a watched model leave out what is not there."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.modality.contracts import M05
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.passes import traced
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.masks import TurnedMask
from quadlib.diagnosis.registry import check


@check(M05, "a watched mask of padding marks what is not there", phase="observed")
def turned_masks(x: Examination) -> Iterator[Finding]:
    traced(x.record)
    for use in x.record.of(TurnedMask):
        how = "is True there" if use.named else "holds something there, and is blank elsewhere"
        yield M05.broken(
            "error",
            f"{use.argument} leaves out what is there, and shows what is not",
            f"{use.module}, argument {use.argument}",
            (
                f"it is True, which means left out, in {use.agree:.0%} of the places where "
                f"batch{use.leaf} {how}",
            ),
            f"{use.argument}=~mask where the mask says what is there",
            ruled_out=("the data: where they are blank, the mask lets them through",),
        )
        return

"""What an evaluation compares its rows with."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.evaluation.contracts import E01, E11, E20
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable

FEWEST_ASKED = 20
ALL_KNOWN = 0.95  # share of the rows of a question that were fitted on


@check(E01, "an evaluation's nearest neighbours are other rows", phase="later")
def own_neighbours(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if not seen.evaluated and not seen.own_best:
        raise Unavailable("no evaluation was seen after the watched steps")
    for match in seen.own_best:
        where = f"{match.function}() of a table of {match.rows} x {match.columns}"
        if match.own:
            yield E01.broken(
                "error",
                f"each of {match.rows} rows is its own nearest neighbour",
                where,
                (
                    "the table equals its transpose, and no entry of a row is better than the one "
                    "on the diagonal: the row itself",
                ),
                "table.fill_diagonal_(-torch.inf) before the best entry is taken (torch.inf where "
                "it holds distances)",
                ruled_out=("copies among the rows: the very places are the rows' own",),
                explains=("a score of 100 %, of untrained embeddings too",),
            )
        else:
            yield E01.broken(
                "error",
                f"each of {match.rows} rows finds itself among what it is compared with",
                where,
                (
                    "the best entry is one and the same number for every row, a cosine of 1 or a "
                    "distance of 0, and in most rows at another place",
                ),
                "keep the rows that are asked about out of those that answer",
                ruled_out=("a collapse: the other entries differ",),
                explains=("a score of 100 %, of untrained embeddings too",),
            )


@check(E11, "a classifier is asked about rows that it was not fitted on", phase="later")
def fitted_on_the_test(x: Examination) -> Iterator[Finding]:
    probes = [probe for probe in later(x).probes if probe.asked]
    if not probes:
        raise Unavailable("no classifier of scikit-learn was fitted and asked after training")
    for probe in probes:
        if sum(n for n, _ in probe.asked) < FEWEST_ASKED:
            continue
        if all(share > ALL_KNOWN for _, share in probe.asked):
            kind = type(probe.estimator).__name__
            yield E11.broken(
                "warning",
                f"{kind} is scored on rows that it was fitted on",
                f"{kind}.fit on {probe.fitted} rows",
                (
                    f"asked {len(probe.asked)} times, about {probe.asked[0][0]} rows at first: "
                    f"{probe.asked[0][1]:.0%} of them are among the rows of fit, value for value",
                ),
                "fit on the rows of train alone, and score those of test",
                explains=("a score that is too good, of untrained embeddings too",),
            )
            return


@check(E20, "an evaluation compares rows with what is their own", phase="later")
def paired_rows(x: Examination) -> Iterator[Finding]:
    pairings = later(x).pairings
    if not pairings:
        raise Unavailable("no function was seen that pairs an evaluation's rows with their truth")
    for pairing in pairings:
        if pairing.right >= pairing.other:
            continue
        evidence: tuple[str, ...]
        if pairing.likeness:
            evidence = (
                f"the {pairing.rows} pairs that it names are alike by {pairing.right:.1f} standard "
                f"deviations, as pairs drawn at random are; {pairing.layout}: {pairing.other:.0f}",
            )
            ruled_out = ("the model: its rows show which belong together",)
        else:
            evidence = (
                f"its {pairing.rows} rows stand in the order of the loader, which shuffles; its "
                f"labels are those of the dataset in order: {pairing.right:.0%} are the rows' own",
                f"in the order of the batches {pairing.layout} would be",
            )
            ruled_out = ("the model and the labels: each is right in its own order",)
        yield E20.broken(
            "error",
            f"{pairing.function}() compares rows with the truth of other rows",
            f"the arguments of {pairing.function}" if not pairing.likeness else pairing.function,
            evidence,
            ruled_out=ruled_out,
            explains=("a score at chance whatever the loss does",),
        )
        return

"""What a watched loss of single pairs is asked of each pair."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from quadlib.diagnosis.checks.loss.watched_contracts import P24
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.rows import compared
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(P24, "a watched loss of pairs asks something of every pair", phase="observed")
def labels_of_pairs(x: Examination) -> Iterator[Finding]:
    comparison = compared(x.record)[0]
    pairs = comparison.pairs
    if pairs is None or pairs.labels.shape != (len(comparison.left), len(comparison.right)):
        raise Unavailable("no labels of single pairs were kept by a logistic loss")
    labels = pairs.labels
    signs = labels[labels != 0].unique().tolist()
    if not pairs.targets and signs in ([1.0], [-1.0]) and not labels.all():
        share = float((labels == 0).float().mean())
        title = "pairs of different rows are multiplied by 0 in front of the logistic function"
        text = f"{share:.1%} of the pairs have label 0: each adds ln 2 = 0.693, and no gradient"
        fix = "labels = 2 * eye(N) - 1: strangers have -1"
    elif pairs.targets and bool((labels < 0).any()):
        share = float((labels < 0).float().mean())
        title = f"a binary cross-entropy is given targets of {float(labels.min()):.3g}"
        text = f"{share:.1%} of the targets lie below 0: the loss of such a pair has no lower bound"
        fix = "targets = eye(N): strangers have 0"
    else:
        return
    yield P24.broken(
        "error",
        title,
        f"the labels of {labels.shape[0]} x {labels.shape[1]} similarities",
        (text, f"the labels hold {_values(labels)}"),
        fix,
        ruled_out=("the rows and the scale: the label alone decides this",),
        explains=("a loss that falls to a floor while rows of different samples stay close",),
    )


def _values(labels: torch.Tensor) -> str:
    values = labels.unique()[:4].tolist()
    return ", ".join(f"{value:.3g}" for value in values)

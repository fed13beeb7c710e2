"""How a loop's modules behave where it evaluates, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.evaluation.contracts import E02, E03
from quadlib.diagnosis.checks.evaluation.observed import in_training_mode
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(E02, "the evaluation after training runs in evaluation mode", phase="later")
def training_mode(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if not seen.runs and not seen.evaluating and not seen.bursts:
        raise Unavailable("no model was evaluated after the watched steps")
    wrong = {type(module).__name__ for run in seen.runs for module in run.training}
    wrong |= {type(module).__name__ for module in seen.bursts}
    if wrong:
        yield in_training_mode(wrong)


@check(E03, "training goes on in training mode after an evaluation", phase="later")
def stayed_in_evaluation_mode(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    if not seen.evaluated:
        raise Unavailable("no evaluation was seen after the watched steps")
    if seen.stayed:
        yield E03.broken(
            "error",
            "after an evaluation the model is trained in evaluation mode",
            "the first step after an evaluation",
            (
                "every layer whose answer depends on the mode was in training mode in the watched "
                "steps, and none is in a step after an evaluation",
            ),
            "call model.train() at the start of every epoch, after every evaluation too",
            ruled_out=("layers that were frozen on purpose: these were in training mode before",),
        )


@check(E02, "an evaluation draws no random numbers", phase="later")
def random_evaluation(x: Examination) -> Iterator[Finding]:
    seen = later(x).evaluated_on
    if not seen:
        raise Unavailable("no trained model was evaluated in evaluation mode")
    for item in seen:
        if item.random:
            kind = type(item.module).__name__
            yield E02.broken(
                "warning" if item.dropped else "note",  # others may be part of the method
                f"{kind} draws random numbers although it is in evaluation mode",
                f"{kind}, called without gradients, training=False",
                (
                    "a dropout in it is told that it trains"
                    if item.dropped
                    else "torch's generator had moved on after the call",
                ),
                "nn.functional.dropout(x, p, training=self.training), or nn.Dropout as a layer; "
                "augment in training only",
                ruled_out=("a forgotten eval(): the module is in evaluation mode",),
            )
            return

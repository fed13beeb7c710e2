"""How a watched loop evaluates."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis.checks.evaluation.contracts import E02
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.roles import owners, roles
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.layers import differs_in_training
from quadlib.diagnosis.observe.record import Fetch, ModuleCall
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(E02, "the watched evaluation runs in evaluation mode", phase="observed")
def training_mode(x: Examination) -> Iterator[Finding]:
    evaluating, count, wrong = False, 0, set()
    trained = {owners(x.record).get(n, "") for n in roles(x.record).gradient}
    for event in x.record.events:
        if isinstance(event, Fetch):
            evaluating = not event.training
        elif isinstance(event, ModuleCall) and evaluating and not event.gradient:
            count += 1
            module = x.record.modules[event.module]
            inner = {n for n, m in x.record.modules.items() if m in set(module.modules())}
            if (
                event.training
                and event.depth == 0
                and inner & trained
                and differs_in_training(module)
            ):
                wrong.add(event.module)
    if not count:
        raise Unavailable("no evaluation was seen")
    if not wrong:
        return
    yield in_training_mode(wrong)


def in_training_mode(modules: set[str]) -> Finding:
    """These modules evaluate in training mode."""
    return E02.broken(
        "warning",
        f"{', '.join(sorted(modules))} evaluates in training mode",
        "calls under no_grad on a loader's batches",
        ("its dropout or batch norm is in training mode there",),
        "model.eval() before the evaluation, model.train() after it",
        ruled_out=("the score itself: it depends on which rows share a batch",),
    )

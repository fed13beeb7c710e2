"""How a watched loop evaluates."""

from __future__ import annotations

from collections.abc import Iterator

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.evaluation.contracts import E02, E11
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.dataset import root_rows, training_loader
from quadlib.diagnosis.evidence.observed.labels import labels
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


@check(E11, "the loader called validation or test gives other rows", phase="observed")
def validation_rows(x: Examination) -> Iterator[Finding]:
    """A loader whose name says that it validates, over the very dataset that is trained on."""
    training = training_loader(x.record)
    root, rows = root_rows(training.dataset)
    named = [pair for pair in x.record.named_loaders if _validates(pair[0])]
    if not named:
        raise Unavailable("no variable of the loop names a loader of validation or test rows")
    for name, loader in named:
        other, others = root_rows(getattr(loader, "dataset", None))
        same = rows is others or (
            rows is not None and others is not None and set(rows) == set(others)
        )
        if other is root and same:
            yield E11.broken(
                "warning" if _learns_labels(x) else "note",
                f"{name} gives the rows that are trained on",
                f"the loop's variable {name}",
                (
                    f"its dataset is that of the training loader, all {len(loader.dataset)} rows "
                    "of it",
                ),
                explains=("a score that measures memory",),
            )
            return


def _learns_labels(x: Examination) -> bool:
    """Whether labels reach the loss; what is learned without any may be scored on its own rows."""
    try:
        labels(x.record)
    except Unavailable:
        return False
    return True


def _validates(name: str) -> bool:
    """Whether a variable's name says that its rows are held out."""
    words = name.lower().split("_")
    return any(
        word in conventions.VALIDATION_SPLITS or word.startswith(("valload", "testload"))
        for word in words
    )


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

"""What a watched loop loaded before it trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from quadlib.diagnosis.checks.checkpoint.contracts import C01, C03
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.observe.record import Load, ReadFile, Restore
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable
from quadlib.diagnosis.words import some

COUNTER = "num_batches_tracked"
OPTIMISER = ("optim", "optimizer", "optimiser", "optimizer_state_dict", "optimizer_state")


@check(C01, "the weights that the watched loop loads fit", phase="observed")
def matched_keys(x: Examination) -> Iterator[Finding]:
    loads = list(x.record.of(Load))
    if not loads:
        raise Unavailable("no weights were loaded")
    for load in loads:
        finding = misfit(
            load.module,
            x.record.modules.get(load.module),
            load.matched,
            load.missing,
            load.unexpected,
            load.strict,
        )
        if finding is not None:
            yield finding
            return


def misfit(
    name: str,
    module: Any,
    keys: int,
    missing: tuple[str, ...],
    unexpected: tuple[str, ...],
    strict: bool,
) -> Finding | None:
    """Weights were loaded with strict=False and next to none of them fitted; None where all is
    well. keys: of the file, those that fitted.
    """
    counters = sum(key.endswith(COUNTER) for key in getattr(module, "state_dict", dict)())
    # PyTorch counts batches as loaded where an old file lacks them
    matched = max(keys - counters + sum(key.endswith(COUNTER) for key in missing), 0)
    whole = matched + sum(not key.endswith(COUNTER) for key in missing)
    if strict or not missing or not unexpected or matched > 0.1 * whole:
        return None
    return C01.broken(
        "error",
        f"{matched} of {whole} weights of {name} were loaded",
        f"{name}.load_state_dict(..., strict=False)",
        (f"missing: {some(missing, 2)}; in the file instead: {some(unexpected, 2)}",),
        "load the mapping that holds the weights, with its prefix (module., encoder_q., backbone.) "
        "removed",
        ruled_out=("the file: it holds weights, under other names",),
        explains=("scores as of random weights",),
    )


@check(C03, "a resumed loop restores what its file holds", phase="observed")
def optimiser_state(x: Examination) -> Iterator[Finding]:
    files = [f for f in x.record.of(ReadFile) if any(key.lower() in OPTIMISER for key in f.keys)]
    if not files or not any(load.matched for load in x.record.of(Load)):
        raise Unavailable("no file that holds an optimiser's state was read for its weights")
    restored = {event.kind for event in x.record.of(Restore)}
    kinds = {type(item).__name__ for item in x.record.optimisers}
    if restored & kinds or not kinds:
        return
    yield C03.broken(
        "warning",
        "the weights are resumed and the optimiser starts anew",
        files[-1].file,
        (
            f"the file holds {some(files[-1].keys, 6)}; weights were loaded from it, the state of "
            f"{', '.join(sorted(kinds))} was not",
        ),
        "optimizer.load_state_dict(checkpoint[...]), and the scheduler's, before the first step",
        ruled_out=("the file: the state is in it",),
        explains=("a jump of the loss at the resume; momenta of 0; a schedule from its start",),
    )

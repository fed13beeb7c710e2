"""What a watched loop loaded before it trained."""

from __future__ import annotations

from collections.abc import Iterator

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
        module = x.record.modules.get(load.module)
        counters = sum(name.endswith(COUNTER) for name in getattr(module, "state_dict", dict)())
        # PyTorch counts batches as loaded where an old file lacks them
        matched = load.matched - counters + sum(name.endswith(COUNTER) for name in load.missing)
        whole = max(matched, 0) + sum(not name.endswith(COUNTER) for name in load.missing)
        if load.strict or not load.missing or not load.unexpected or matched > 0.1 * whole:
            continue
        yield C01.broken(
            "error",
            f"{max(matched, 0)} of {whole} weights of {load.module} were loaded",
            f"{load.module}.load_state_dict(..., strict=False)",
            (f"missing: {some(load.missing, 2)}; in the file instead: {some(load.unexpected, 2)}",),
            "strip or add the prefix of the keys (module., encoder_q., backbone.) before loading",
            ruled_out=("the file: it holds weights, under other names",),
            explains=("scores as of random weights",),
        )
        return


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

"""What a loop keeps, saves and loads after its watched steps."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.checkpoint.contracts import C01, C03, C20, C21, C22, C23
from quadlib.diagnosis.checks.checkpoint.observed import misfit
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.observed.later import later, shaped_alike
from quadlib.diagnosis.evidence.observed.roles import parts
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(C20, "what the watched loop puts aside stays as it was", phase="later")
def living_states(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    loads = [load for load in seen.loads if load.own and load.since is not None]
    kept = [
        state
        for state in seen.kept
        if state.last > state.step
        and not state.early
        and any(name in state.name.lower() for name in conventions.BEST_NAMES)
    ]
    if not seen.loads and not seen.kept:
        raise Unavailable("no state of the weights was kept or loaded")
    if loads:
        name, steps = type(loads[0].module).__name__, loads[0].step - (loads[0].since or 0)
        yield C20.broken(
            "error",
            f"the state that is loaded into {name} is its own living weights",
            f"{name}.load_state_dict(...) after step {loads[0].step}",
            (
                f"the mapping was put aside at step {loads[0].since} or before, and holds the very "
                f"storage of the weights: the {steps} steps since have changed it too",
            ),
            ruled_out=("the weights that are loaded: they are those of the last step",),
            explains=("a best epoch whose score is that of the last one",),
        )
    elif kept:
        yield C20.broken(
            "warning",
            f"{kept[0].name} follows the weights",
            f"the loop's variable {kept[0].name}",
            (
                f"{kept[0].tensors} of its tensors are the storage of weights in training, from "
                f"step {kept[0].step} to step {kept[0].last}",
            ),
        )


@check(C01, "the weights that are loaded after training fit", phase="later")
def loaded_keys(x: Examination) -> Iterator[Finding]:
    loads = later(x).loads
    if not loads:
        raise Unavailable("no weights were loaded after the watched steps")
    for load in loads:
        name = type(load.module).__name__
        finding = misfit(
            name, load.module, load.matched, load.missing, load.unexpected, load.strict
        )
        if finding is not None:
            yield finding
            return


@check(C21, "a file to resume from holds what the optimiser moves", phase="later")
def whole_checkpoint(x: Examination) -> Iterator[Finding]:
    saves = [save for save in later(x).saves if save.resumable and save.live]
    if not saves:
        raise Unavailable("no file with an optimiser's state was saved after the watched steps")
    for save in saves:
        if save.lacks:
            yield C21.broken(
                "warning",
                f"{len(save.lacks)} trained weights are not in the checkpoint",
                save.file or "torch.save",
                (
                    f"it holds the state of an optimiser that moves {parts(save.lacks)}, and no "
                    "tensor of their shape",
                ),
                explains=("a resumed loss that is higher than before",),
            )
            return


@check(C22, "a file of weights holds the running statistics", phase="later")
def with_statistics(x: Examination) -> Iterator[Finding]:
    saves = later(x).saves
    if not saves:
        raise Unavailable("nothing was saved after the watched steps")
    for save in saves:
        if save.without:
            yield C22.broken(
                "warning",
                f"{len(save.without)} running statistics are not among the saved weights",
                save.file or "torch.save",
                (
                    "the file names every parameter of the model, and none of its running means "
                    f"and variances: {parts(set(save.without))}",
                ),
                ruled_out=("a part of the model: all of its parameters are there",),
                explains=("scores that are worse after loading than before saving",),
            )
            return


@check(C23, "what the watched loop evaluates is what it saves", phase="later")
def unsaved_weights(x: Examination) -> Iterator[Finding]:
    seen = later(x)
    saves = [save for save in seen.saves if save.live]
    moved = {id(p) for o in x.record.optimisers for g in o.param_groups for p in g["params"]}
    trained = [m for m in x.record.modules.values() if _matrices(m) & moved]
    copies = [
        module
        for module in seen.evaluating
        if not _matrices(module) & moved and any(shaped_alike(module, m) for m in trained)
    ]
    if not saves or not copies:
        raise Unavailable("no copy of a trained model was evaluated beside files of weights")
    for module in copies:
        own = _matrices(module)
        if own and own <= seen.known and not any(save.live & own for save in saves):
            kind = type(module).__name__
            yield C23.broken(
                "warning",
                f"the {kind} that is evaluated is in no saved file",
                saves[-1].file or "torch.save",
                (
                    f"{len(saves)} files hold weights of the trained model; of the one that is "
                    "evaluated, which no optimiser moves, they hold no matrix",
                ),
                explains=("a score that the saved file cannot reach",),
            )
            return


def _matrices(module: nn.Module) -> set[int]:
    """Parameters of two dimensions or more; vectors may be equal by chance, as zeros are."""
    return {id(p) for p in module.parameters() if p.ndim > 1}


@check(C03, "a file to resume from holds the schedule", phase="later")
def whole_schedule(x: Examination) -> Iterator[Finding]:
    saves = [save for save in later(x).saves if save.resumable]
    if not saves or not x.record.schedulers:
        raise Unavailable("no file with an optimiser's state was saved beside a scheduler")
    if not any(save.schedule for save in saves):
        yield C03.broken(
            "note",
            "the checkpoint holds the optimiser's state and no scheduler's",
            saves[-1].file or "torch.save",
            (f"it holds {', '.join(saves[-1].keys[:6])}; a scheduler sets the rates of this loop",),
        )

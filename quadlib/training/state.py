"""The state of a training run: what its checkpoints hold, and the way back into a trainer."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from quadlib.config import TrainSettings
from quadlib.data.dataset import QuadDataset
from quadlib.data.kinds import weights_of
from quadlib.data.samples import SampleTable, some
from quadlib.data.store.store import MediaStore
from quadlib.files import digest_bytes, leftovers_of, read_record, write_record, write_text
from quadlib.model.quad import build_model
from quadlib.runs import Run
from quadlib.runs.earlier import as_recorded
from quadlib.runs.lines import read_lines, sealed_text
from quadlib.runs.memory import FREE_TO_CHANGE
from quadlib.training import ranks
from quadlib.training.checkpoint import (
    BEST,
    LATEST,
    CheckpointError,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from quadlib.training.collapse import raise_gate
from quadlib.training.content import (
    check_counters,
    check_memory,
    check_moments,
    check_part,
    taken_from,
)
from quadlib.training.device import random_state
from quadlib.training.stopping import stopped_text
from quadlib.training.whole import take_whole

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

log = logging.getLogger(__name__)

# younger than some checkpoints, whose runs had neither restart nor refit
YOUNGER = ("restarts", "began", "refit_epochs", "refit_from")
LOOP_STATE = (
    *("epoch", "step", *YOUNGER),
    *("best_epoch", "best_value", "epochs_without_better"),
)
HISTORY, TIMINGS = "history.jsonl", "timings.jsonl"
MEDIA = "media.json"  # in the run's folder: digests of the files that it is trained on
# Versions of the files of JSON lines, recorded in run.json: a line has no room for one.
FORMATS = {HISTORY: 2, TIMINGS: 2}


def content_of(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint of this trainer holds: plain types and tensors, all that a resumed run
    needs beside its files of lines.
    """
    table = trainer.dataset.table
    return {
        "settings": trainer.settings.model_dump(),
        "model": trainer.model.state_dict(),
        "objective": trainer.objective.state_dict(),
        "optimiser": trainer.optimiser.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "normaliser": trainer.dataset.normaliser.state_dict(),
        "class_names": list(table.class_names),
        "modalities": {
            name: [spec.kind, list(spec.shape)] for name, spec in table.modalities.items()
        },
        "fingerprint": trainer.dataset.store.fingerprint,
        "encoder_weights": weights_of(table.modalities),
        "monitor": trainer.monitor,
        "foreign_model": trainer.foreign_model,
        "part": trainer.part,
        **{name: getattr(trainer, name) for name in LOOP_STATE},
    }


def _lines(trainer: Trainer) -> dict[str, list[dict[str, Any]]]:
    """The files of JSON lines that grow with a run, as the trainer holds them."""
    return {HISTORY: trainer.history, TIMINGS: trainer.timings}


def resume_run(trainer: Trainer, resume: str) -> None:
    """Brings a trainer to where its run was saved last: by latest_model.pth, and where that is
    missing by best_model.pth, which is as whole, only older. Does nothing for a run without either.

    Raises:
        CheckpointError: the checkpoint is damaged or of other settings, a file of lines is not as
            it was, or there is no checkpoint and `resume` is "always".
    """
    latest, best = trainer.run.checkpoints / LATEST, trainer.run.checkpoints / BEST
    path = best if best.exists() and not latest.exists() else latest
    if resume == "never" or (resume == "auto" and not path.exists()):
        return
    content = load_checkpoint(path)
    with taken_from(path):
        load_state(trainer, content, path)
    within = f", batch {trainer.part['batch']}," if trainer.part else ""
    text = f"resuming {trainer.run.name} after epoch {trainer.epoch}{within}"
    log.info(f"{text} of {trainer.settings.epochs}")
    if path == best:
        log.warning(f"{latest} is missing: going on from {BEST}, of epoch {trainer.epoch}")
    elif trainer.best_epoch and not best.exists():
        log.warning(
            f"{best}, of epoch {trainer.best_epoch}, is missing: there is none to evaluate until "
            "an epoch is better"
        )


def load_state(trainer: Trainer, content: dict[str, Any], path: Path) -> None:
    """Brings a trainer to where a checkpoint was written; raises CheckpointError that lists every
    setting by which the two halves of the run would differ.
    """
    if content.get("refit_epochs"):
        take_whole(trainer)
    fields, before, now = (
        type(trainer.settings).model_fields,
        as_recorded(content["settings"]),
        trainer.settings.model_dump(),
    )
    # a setting that is younger than the checkpoint had its default when that was written
    before = {name: before.get(name, fields[name].default) for name in now}
    changed = [
        f"{name}: {before[name]!r} then, {now[name]!r} now"
        for name in now
        if name not in FREE_TO_CHANGE and before[name] != now[name]
    ]
    if content.get("refit_epochs") and not trainer.settings.refit:
        changed.append("refit: it has begun, so that its val recordings are trained on")
    if content["fingerprint"] != trainer.dataset.store.fingerprint:
        changed.append(other_recordings(trainer.run, trainer.dataset.store))
    changed += other_weights(content, trainer.dataset.table)
    if changed:
        raise CheckpointError(
            f"{path} is of other settings; resuming would mix two runs. Choose a new run, or "
            "resume='never':\n" + "\n".join(f"  {line}" for line in changed)
        )
    load_weights(trainer.model, content["model"], path)
    load_weights(trainer.objective, content["objective"], path)
    trainer.optimiser.load_state_dict(content["optimiser"])
    check_memory(trainer, path)
    check_moments(trainer, path)
    trainer.scaler.load_state_dict(content["scaler"])
    counters = {n: content.get(n, 0) if n in YOUNGER else content[n] for n in LOOP_STATE}
    check_counters(counters, trainer, path)
    for name, value in counters.items():
        setattr(trainer, name, value)
    trainer.part = content.get("part", {})
    check_part(trainer.part, path)
    raise_gate(trainer)
    for name, lines in _lines(trainer).items():
        lines[:] = lines_until(trainer.run.path(name), content, path)


def lines_until(file: Path, content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The lines of a file up to where a checkpoint was written; a save that was killed may have
    added some. Raises CheckpointError where they are not those that the checkpoint knows.
    """
    lines = read_lines(file)
    if "lines" not in content:  # of an earlier version
        return [line for line in lines if line["epoch"] <= content["epoch"]]
    known = content["lines"][file.name]
    if len(lines) < known["count"] or sealed_text(lines[: known["count"]])[1] != known["seal"]:
        raise CheckpointError(
            f"{file} does not begin with the {known['count']} lines that {path.name} was written "
            f"with: it holds {len(lines)}, or others. Bring it back from a copy, or train the run "
            "anew with resume='never'"
        )
    return lines[: known["count"]]


def save_epoch(trainer: Trainer, seconds: Mapping[str, float], best: bool) -> None:
    """Writes what an epoch left, each file whole: history first, best next, latest last.

    Latest claims what the others hold, so a kill in between loses nothing.
    """
    trainer.timings.append({"epoch": trainer.epoch, **seconds})
    with trainer.pace.saving(trainer.step):
        _save(trainer, *([BEST] if best else []), LATEST)


def save_part(
    trainer: Trainer, batch: int, seconds: Mapping[str, float], last_step: Mapping[str, Any]
) -> None:
    """Writes what a part of an epoch left: the history so far, and a checkpoint that knows how many
    batches of the epoch are done, and where the global generators of every process are.
    """
    states = ranks.from_all(random_state())
    trainer.part = {
        "batch": batch,
        "seconds": dict(seconds),
        "last_step": dict(last_step),
        "random": states[0],
        "others": states[1:],
    }
    with trainer.pace.saving(trainer.step):
        _save(trainer, LATEST)


def _save(trainer: Trainer, *names: str) -> None:
    if not ranks.first():
        return
    content: dict[str, Any] = {**content_of(trainer), "lines": {}}
    for name, lines in _lines(trainer).items():
        text, seal = sealed_text(lines)
        write_text(trainer.run.path(name), text)
        content["lines"][name] = {"count": len(lines), "seal": seal}
    save_checkpoint(content, *(trainer.run.checkpoints / name for name in names))


def remove_leftovers(run: Run) -> None:
    """Removes the temporary files that a killed training may have left; call it only while holding
    the run.
    """
    if not ranks.first():
        return
    checkpoints = [run.checkpoints / name for name in (LATEST, BEST)]
    for path in [*checkpoints, *map(run.path, (HISTORY, TIMINGS, MEDIA))]:
        for rest in leftovers_of(path):
            rest.unlink()


def note_stop(trainer: Trainer) -> str:
    """Says and records where a run was stopped; empty where it was not."""
    if not trainer.stop_asked:
        return ""
    steps = trainer.part.get("batch", 0) // trainer.settings.accumulation_steps
    text = stopped_text(trainer.run, trainer.epoch, steps)
    log.info(text)
    trainer.run.update(stopped=text)
    return text


def other_weights(content: Mapping[str, Any], table: SampleTable) -> list[str]:
    """The modalities whose encoder has other weights than when a checkpoint was written, which
    holds none of the frozen ones.
    """
    before, now = content.get("encoder_weights", {}), weights_of(table.modalities)
    return [
        f"the weights of the encoder of {name}, {table.modalities[name].encoder}"
        for name in now
        if before.get(name) != now[name]
    ]


def other_recordings(run: Run, store: MediaStore) -> str:
    """What a store of another fingerprint has that the run's did not: the files by name, where
    their contents differ.
    """
    path = run.path(MEDIA)
    before = read_record(path, "media")["files"] if path.is_file() else {}
    replaced = [name for name in store.digests if before.get(name, "") != store.digests[name]]
    replaced += [name for name in before if name not in store.digests]
    if not before or not replaced:
        return "the recordings, their labels or their splits"
    return f"the contents of {len(replaced)} file(s): {some(replaced)}"


def facts_of(trainer: Trainer) -> dict[str, Any]:
    """What must be the same in all processes that train one model: settings, recordings, weights as
    they are, and versions.
    """
    tensors = [*trainer.model.state_dict().values(), *trainer.objective.state_dict().values()]
    weights = (tensor.detach().cpu().reshape(-1).view(torch.uint8) for tensor in tensors)
    return {
        "settings": trainer.settings.model_dump(exclude=set(FREE_TO_CHANGE)),
        "monitor": trainer.monitor,
        "fingerprint of the recordings": trainer.dataset.store.fingerprint,
        "digest of the weights": digest_bytes(*(part.numpy().tobytes() for part in weights)),
        "last epoch and step": [trainer.epoch, trainer.step],
        "torch": str(torch.__version__),
    }


def record_start(trainer: Trainer) -> None:
    """Puts into run.json what is being trained, on what, and the versions of the files of lines."""
    if not ranks.first():
        return
    table, settings = trainer.dataset.table, trainer.settings
    if trainer.dataset.store.digests:
        write_record(
            trainer.run.path(MEDIA), "media", {"files": dict(trainer.dataset.store.digests)}
        )
    # the run is opened from other folders later
    places = {
        name: str(Path(value).expanduser().absolute())
        for name in ("path", "data_root")
        if (value := getattr(settings, name))
    }
    trainer.run.update(
        stopped="",
        settings=settings.model_dump() | places,
        seed=settings.seed,
        device=str(trainer.device),
        source=table.name,
        fingerprint=trainer.dataset.store.fingerprint,
        class_names=list(table.class_names),
        threads=torch.get_num_threads(),
        processes=ranks.world_size(),
        splits=dict(Counter(table.frame["split"])),
        formats=FORMATS,
    )


def foreign_model(
    model: nn.Module | None, dataset: QuadDataset, settings: TrainSettings, run: Run
) -> str:
    """The class of a model that the settings would not build, by type and weights; empty for one
    that they would. Warns, once a run, of what restoring it will take.
    """
    if model is None:
        return ""
    # frozen or not, the shapes are the same, and `freeze` may name modules of that model alone
    usual = build_model(dataset.table, settings.model_copy(update={"freeze": []}))
    shapes, expected = (
        {name: value.shape for name, value in module.state_dict().items()}
        for module in (model, usual)
    )
    if type(model) is type(usual) and shapes == expected:
        return ""
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    if not (run.checkpoints / LATEST).exists():
        warnings.warn(
            f"the settings do not build this model ({name}), so whoever restores or evaluates this "
            "run must pass it again: restore(run, model=...). A registered model, "
            'register_model("mine", factory), named by model="mine" in the settings, needs none',
            stacklevel=3,
        )
    return name

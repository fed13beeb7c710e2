"""The state of a training run: what its checkpoints hold, and the way back into a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadlib.training.checkpoint import CheckpointError, load_weights

if TYPE_CHECKING:
    from quadlib.training.trainer import Trainer

# Settings that may differ between the two halves of an interrupted run without changing its result.
FREE_TO_CHANGE = (
    "run",
    "outputs",
    "path",
    "num_workers",
    "log_every_steps",
    "resume",
    "debug",
    "device",
    "allow",
)
LOOP_STATE = ("epoch", "step", "best_epoch", "best_value", "epochs_without_better")
# Versions of the files of JSON lines, recorded in run.json: a line has no room for one.
FORMATS = {"history.jsonl": 1, "timings.jsonl": 1}


def content_of(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint of this trainer holds: plain types and tensors, all that a resumed run
    needs.
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
        "fingerprint": table.fingerprint,
        "monitor": trainer.monitor,
        "foreign_model": trainer.foreign_model,
        **{name: getattr(trainer, name) for name in LOOP_STATE},
    }


def load_state(trainer: Trainer, content: dict[str, Any], path: Path) -> None:
    """Brings a trainer to where a checkpoint was written; raises CheckpointError that lists every
    setting by which the two halves of the run would differ.
    """
    fields, before, now = (
        type(trainer.settings).model_fields,
        content["settings"],
        trainer.settings.model_dump(),
    )
    # a setting that is younger than the checkpoint had its default when that was written
    before = {name: before.get(name, fields[name].default) for name in now}
    changed = [
        f"{name}: {before[name]!r} then, {now[name]!r} now"
        for name in now
        if name not in FREE_TO_CHANGE and before[name] != now[name]
    ]
    if content["fingerprint"] != trainer.dataset.table.fingerprint:
        changed.append("the recordings, their labels or their splits")
    if changed:
        raise CheckpointError(
            f"{path} is of other settings; resuming would mix two runs. Choose a new run, or "
            "resume='never':\n" + "\n".join(f"  {line}" for line in changed)
        )
    load_weights(trainer.model, content["model"], path)
    load_weights(trainer.objective, content["objective"], path)
    trainer.optimiser.load_state_dict(content["optimiser"])
    trainer.scaler.load_state_dict(content["scaler"])
    for name in LOOP_STATE:
        setattr(trainer, name, content[name])

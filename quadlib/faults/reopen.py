"""A run folder opened again for the doctor, also one whose fault lived in the process alone."""

from __future__ import annotations

from quadlib.config import TrainSettings
from quadlib.data.open import open_table
from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import FAULTS
from quadlib.runs import Run
from quadlib.training.checkpoint import NAMES, load_checkpoint, load_weights
from quadlib.training.restore import Restored, restore


def reopen(run: Run, checkpoint: str = "latest") -> Restored:
    """A run as `restore` gives it; where a fault was injected into it, the same pipeline with the
    same fault again, at the weights of the checkpoint, or untrained where training never got to
    one.

    Args:
        run: a run that was trained, or that `quadlib demo --fault` left.
        checkpoint: "best" or "latest".

    Raises:
        CheckpointError: as `restore` does.
    """
    name = run.record.get("fault", "")
    if not name:
        return restore(run, checkpoint)
    settings = run.settings(TrainSettings)
    pipeline = Pipeline(open_table(settings), settings, run=run)
    FAULTS[name].inject(pipeline)
    trainer, path = pipeline.trainer, run.checkpoints / NAMES[checkpoint]
    content = {"objective": trainer.objective.state_dict()}
    if path.exists() and not trainer.history:
        content = load_checkpoint(path)
        # weights that are not finite may be the fault itself
        load_weights(trainer.model, content["model"], path, finite=False)
        load_weights(trainer.objective, content["objective"], path, finite=False)
        trainer.optimiser.load_state_dict(content["optimiser"])
        saved = {"history": run.history() or None, "checkpoint": content, "run": run.folder}
        pipeline.parts = saved | pipeline.parts
    return Restored(
        run, pipeline.settings, trainer.dataset, trainer.model, content, pipeline.subject()
    )

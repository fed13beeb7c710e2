"""Faults of the checkpoint: what was saved is not what is loaded."""

from __future__ import annotations

from quadlib.faults.pipeline import Pipeline
from quadlib.faults.registry import fault
from quadlib.training.state import content_of


@fault(
    "C1",
    stage="checkpoint",
    code="QL-C01",
    title="no key of the checkpoint matches, and strict=False hides it",
    occurrence="mmselfsup#330, DenseCL#30, dino#117",
    when="T0",
)
def no_key_matches(p: Pipeline) -> None:
    model = p.trainer.model
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    p.train()
    state = {f"module.{name}": value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(fresh)
    model.load_state_dict(state, strict=False)
    p.rebuild_optimiser()
    p.trainer.history.clear()
    p.parts["checkpoint"] = {"model": state, "class_names": list(p.table.class_names)}


@fault(
    "C3",
    stage="checkpoint",
    code="QL-C03",
    title="training goes on without the optimiser's state",
    occurrence="resumed with the weights alone",
    when="T0",
)
def resumed_without_optimiser(p: Pipeline) -> None:
    p.train(epochs=2)
    content = content_of(p.trainer)
    p.parts |= {
        "checkpoint": {
            name: value for name, value in content.items() if name not in ("optimiser", "scaler")
        },
        "history": list(p.trainer.history),
    }
    p.rebuild_optimiser()

"""What the fusion may read, from an epoch's figures."""

from __future__ import annotations

import numpy as np

from quadlib import QuadModel
from quadlib.evaluation.embed import embed
from quadlib.runs import Run
from quadlib.training.checkpoint import load_weights
from quadlib.training.restore import open_dataset, restore
from quadlib.training.trainer import Trainer
from quadlib.training.trust import trust_of


def skills(**values):
    return {f"val_skill.{name}": value for name, value in values.items()}


def test_what_has_next_to_no_skill_beside_the_best_is_not_trusted():
    assert trust_of(skills(a=0.6, b=0.2, c=0.1, d=0.0), "abcd").tolist() == [1.0, 1.0, 0.0, 0.0]


def test_nothing_is_known_without_skills_nor_on_the_plateau():
    assert trust_of(skills(a=0.0, b=0.0), "ab") is None
    assert trust_of(skills(a=0.6), "ab") is None
    assert trust_of({}, "ab") is None
    assert trust_of({"progress": 0.01, **skills(a=0.6, b=0.3)}, "ab") is None
    assert trust_of({"progress": 0.1, **skills(a=0.6, b=0.3)}, "ab") is not None


def test_a_modality_that_left_its_own_plateau_is_known_while_the_fused_one_lies_on_it():
    figures = {"progress": 0.001, "own_progress": {"a": 0.03, "b": 0.0}, **skills(a=0.6, b=0.0)}
    assert trust_of(figures, "ab").tolist() == [1.0, 0.0]
    figures["own_progress"]["a"] = 0.01
    assert trust_of(figures, "ab") is None


def trained(settings, figures):
    trainer = Trainer(
        open_dataset(settings),
        settings,
        Run.create(settings),
        validator=lambda model, dataset: {"val_macro_f1": 0.5, **figures},
    )
    trainer.fit()
    return trainer


def test_the_fusion_reads_what_the_epoch_before_trusts(settings):
    trainer = trained(settings, skills(a=0.6, b=0.0, c=0.3, d=0.0))
    assert trainer.history[-1]["progress"] > 0.02
    assert trainer.model.fusion.trust.tolist() == [1.0, 0.0, 1.0, 0.0]
    restored = restore(trainer.run)
    assert restored.model.fusion.trust.tolist() == [1.0, 0.0, 1.0, 0.0]
    rows = restored.dataset.table.rows("test")
    assert (embed(restored.model, restored.dataset, rows).weights[:, [1, 3]] == 0).all()


def test_a_modality_that_is_trusted_alone_is_the_fused_embedding(settings):
    twice = settings.model_copy(update={"epochs": 2})
    trainer = trained(twice, skills(a=0.6, b=0.0, c=0.1, d=0.0))
    assert trainer.model.alone.tolist() == [True, False, False, False]
    restored = restore(trainer.run)
    embedded = embed(restored.model, restored.dataset, restored.dataset.table.rows("test"))
    assert embedded.present[:, 0].all()
    assert (embedded.fused == embedded.by_modality[:, 0]).all()
    hidden = embed(restored.model, restored.dataset, embedded.rows, hide=["a"])
    assert np.allclose(np.linalg.norm(hidden.fused, axis=1), 1)
    assert (hidden.fused != embedded.fused).any()


def test_two_that_are_trusted_are_fused(settings):
    model = trained(settings, skills(a=0.6, b=0.3, c=0.0, d=0.0)).model
    assert not model.alone.any()


def test_a_run_that_knew_of_none_alone_is_restored_as_it_was(settings):
    trainer = trained(settings, skills(a=0.6, b=0.0, c=0.0, d=0.0))
    before = {name: value for name, value in trainer.model.state_dict().items() if name != "alone"}
    model = QuadModel.from_table(trainer.dataset.table, settings)
    load_weights(model, before, trainer.run.folder)
    assert not model.alone.any()


def test_without_skills_or_where_it_is_switched_off_all_are_read(settings):
    assert trained(settings, {}).model.fusion.trust.tolist() == [1.0] * 4
    off = settings.model_copy(update={"run": "off", "fusion_trust": False})
    assert trained(off, skills(a=0.6, b=0.0, c=0.3, d=0.0)).model.fusion.trust.tolist() == [1.0] * 4

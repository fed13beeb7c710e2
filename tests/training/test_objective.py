from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from quadlib.config import ObjectiveSettings
from quadlib.model.quad import Embeddings, unit
from quadlib.training.objective import QuadObjective

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
ALL = torch.ones(6, 3, dtype=torch.bool)


def embeddings_of(present: Tensor = ALL, dtype: torch.dtype = torch.float32) -> Embeddings:
    generator = torch.Generator().manual_seed(0)
    fused = unit(torch.randn(len(present), 8, generator=generator)).requires_grad_()
    by_modality = (
        unit(torch.randn(*present.shape, 8, generator=generator))
        .masked_fill(~present[..., None], 0.0)
        .requires_grad_()
    )
    return Embeddings(fused, by_modality, present.float() / present.sum(dim=1, keepdim=True))


def supcon(rows: list[Tensor], labels: list[int], temperature: float = 0.1) -> float:
    """L_out written out, anchor by anchor."""
    losses, rows = [], [row.detach() for row in rows]
    for i, anchor in enumerate(rows):
        positives = [j for j in range(len(rows)) if j != i and labels[j] == labels[i]]
        if not positives:
            continue
        scores = {j: float(anchor @ rows[j]) / temperature for j in range(len(rows)) if j != i}
        normaliser = math.log(sum(math.exp(score) for score in scores.values()))
        losses.append(sum(normaliser - scores[j] for j in positives) / len(positives))
    return sum(losses) / len(losses)


def objective_of(**weights: float) -> QuadObjective:
    return QuadObjective(ObjectiveSettings(**weights), n_classes=3, embedding_dim=8)


def test_the_total_is_the_weighted_sum_of_terms_computed_by_hand():
    embeddings = embeddings_of()
    value = objective_of(fused_weight=1.0, within_weight=0.5, cross_weight=0.25)(
        embeddings, LABELS, ALL
    )
    labels = LABELS.tolist()
    fused = supcon(list(embeddings.fused), labels)
    within = sum(supcon(list(embeddings.by_modality[:, m]), labels) for m in range(3)) / 3
    cross = supcon(
        list(embeddings.by_modality.flatten(0, 1)), [label for label in labels for _ in range(3)]
    )
    expected = [fused + 0.5 * within + 0.25 * cross, fused, within, cross]
    torch.testing.assert_close(torch.stack(value[:4]), torch.tensor(expected), rtol=1e-4, atol=1e-4)
    assert value.cross_entropy is None


def test_absent_pairs_are_in_no_term():
    present = ALL.clone()
    present[0, 0] = present[2, 1] = present[3, 1] = present[5, 2] = False
    embeddings = embeddings_of(present)
    value = objective_of()(embeddings, LABELS, present)
    labels = LABELS.tolist()
    columns = [[i for i in range(6) if present[i, m]] for m in range(3)]
    within = (
        sum(
            supcon([embeddings.by_modality[i, m] for i in rows], [labels[i] for i in rows])
            for m, rows in enumerate(columns)
        )
        / 3
    )
    pairs = [(i, m) for i in range(6) for m in range(3) if present[i, m]]
    cross = supcon([embeddings.by_modality[i, m] for i, m in pairs], [labels[i] for i, _ in pairs])
    assert value.within.item() == pytest.approx(
        within, rel=1e-4
    ) and value.cross.item() == pytest.approx(cross, rel=1e-4)
    value.total.backward()
    assert (embeddings.by_modality.grad[~present] == 0).all()


def test_a_modality_without_positives_leaves_the_mean_of_the_within_term():
    present = ALL.clone()
    present[:, 2] = False
    present[[0, 2, 4], 2] = True
    embeddings = embeddings_of(present)
    value = objective_of()(embeddings, LABELS, present)
    expected = (
        sum(supcon(list(embeddings.by_modality[:, m]), LABELS.tolist()) for m in range(2)) / 2
    )
    assert value.within.item() == pytest.approx(expected, rel=1e-4)
    present[:, 2] = False
    assert objective_of()(embeddings_of(present), LABELS, present).within.item() == pytest.approx(
        expected, rel=1e-4
    )


def test_lone_anchors_give_a_zero_that_keeps_the_graph():
    embeddings = embeddings_of()
    value = objective_of(cross_weight=0.0)(embeddings, torch.arange(6), ALL)
    assert value.total.item() == 0.0
    value.total.backward()
    assert embeddings.fused.grad is not None and not embeddings.fused.grad.any()


def test_terms_without_weight_are_none_but_the_fused_one_is_always_told():
    value = objective_of(fused_weight=0.0, within_weight=1.0, cross_weight=0.0)(
        embeddings_of(), LABELS, ALL
    )
    assert value.cross is None and value.cross_entropy is None
    assert value.fused.item() == pytest.approx(
        supcon(list(embeddings_of().fused), LABELS.tolist()), rel=1e-4
    )
    assert value.total.item() == value.within.item()


def test_one_modality_has_nothing_to_cross():
    present = ALL[:, :1]
    value = objective_of()(embeddings_of(present), LABELS, present)
    assert value.cross is None and value.total.item() == pytest.approx(
        value.fused.item() + 0.5 * value.within.item()
    )
    with pytest.raises(ValueError, match="one modality has nothing to cross"):
        objective_of(fused_weight=0.0, within_weight=0.0)(embeddings_of(present), LABELS, present)


def test_cross_entropy_starts_at_the_logarithm_of_the_classes_and_skips_unlabelled_rows():
    objective = objective_of(cross_entropy_weight=1.0)
    value = objective(embeddings_of(), LABELS, ALL)
    assert value.cross_entropy.item() == pytest.approx(math.log(3))
    value.total.backward()
    assert objective.classifier.weight.grad.abs().sum() > 0
    labels = LABELS.clone()
    labels[3:] = -1
    assert objective(embeddings_of(), labels, ALL).cross_entropy.item() == pytest.approx(
        math.log(3)
    )
    assert objective(embeddings_of(), torch.full((6,), -1), ALL).cross_entropy.item() == 0.0


def test_without_cross_entropy_there_is_nothing_to_learn_and_no_random_number_is_drawn():
    state = torch.get_rng_state()
    assert not list(objective_of().parameters())
    assert len(list(objective_of(cross_entropy_weight=0.1).parameters())) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_the_value_is_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = objective_of()(embeddings_of(), LABELS, ALL)
    expected = objective_of()(embeddings_of(), LABELS, ALL)
    assert value.total.dtype == torch.float32 and torch.equal(value.total, expected.total)


def test_a_collapsed_batch_sits_on_the_plateau_in_every_term():
    embeddings = Embeddings(
        torch.eye(8)[:1].expand(6, 8), torch.eye(8)[:1].expand(6, 3, 8), torch.full((6, 3), 1 / 3)
    )
    value = objective_of()(embeddings, LABELS, ALL)
    assert [term.item() for term in (value.fused, value.within, value.cross)] == pytest.approx(
        [math.log(5), math.log(5), math.log(17)]
    )


def test_pairs_of_one_session_count_neither_way_but_a_recording_keeps_its_modalities():
    embeddings = embeddings_of()
    labels, sessions = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 0, 1, 1])
    value = objective_of(same_session="ignore")(embeddings, labels, ALL, sessions)

    def expected(rows: Tensor, recording: Tensor) -> float:
        counted = (sessions[recording][:, None] != sessions[recording]) | (
            recording[:, None] == recording
        )
        losses = []
        for i in range(len(rows)):
            others = [j for j in range(len(rows)) if j != i and counted[i, j]]
            positives = [j for j in others if labels[recording[j]] == labels[recording[i]]]
            if positives:
                scores = rows[others] @ rows[i] / 0.1
                mean = sum(float(rows[j] @ rows[i]) / 0.1 for j in positives) / len(positives)
                losses.append(float(scores.logsumexp(0)) - mean)
        return sum(losses) / len(losses)

    one_each, three_each = torch.arange(6), torch.arange(6).repeat_interleave(3)
    fused, by_modality = embeddings.fused.detach(), embeddings.by_modality.detach()
    assert value.fused.item() == pytest.approx(expected(fused, one_each), rel=1e-4)
    within = sum(expected(by_modality[:, m], one_each) for m in range(3)) / 3
    assert value.within.item() == pytest.approx(within, rel=1e-4)
    cross = expected(by_modality.flatten(0, 1), three_each)
    assert value.cross.item() == pytest.approx(cross, rel=1e-4)


def test_without_the_pairs_of_a_session_there_is_no_floor():
    objective = objective_of(same_session="ignore")
    assert not objective.bounded and objective_of().bounded
    with pytest.raises(ValueError, match="the batch has no sessions"):
        objective(embeddings_of(), LABELS, ALL)
    one_session = torch.zeros(6, dtype=torch.int64)
    value = objective(embeddings_of(), LABELS, ALL, one_session)
    assert value.fused.item() == value.within.item() == 0.0  # no pair is left, but a graph is
    value.total.backward()


def gated(**changes: float) -> QuadObjective:
    return QuadObjective(ObjectiveSettings(**changes), 3, 8, n_modalities=3)


def test_a_modality_enters_the_cross_term_once_its_own_progress_is_there():
    objective, embeddings = gated(), embeddings_of()
    assert objective(embeddings, LABELS, ALL).cross is None
    objective.progress[0] = 0.05
    one = ALL.clone()
    one[:, 1:] = False
    assert torch.equal(
        objective(embeddings, LABELS, ALL).cross, objective_of()(embeddings, LABELS, one).cross
    )
    objective.progress.copy_(torch.tensor([0.5, 0.0, 0.05]))
    two = ALL.clone()
    two[:, 1] = False
    expected = objective_of()(embeddings, LABELS, two).cross
    assert torch.equal(objective(embeddings, LABELS, ALL).cross, expected)
    objective.progress.fill_(1.0)
    expected = objective_of()(embeddings, LABELS, ALL).cross
    assert torch.equal(objective(embeddings, LABELS, ALL).cross, expected)


def test_the_gate_moves_by_batches_that_are_followed_alone_and_is_part_of_the_state():
    objective, labels = gated(), torch.tensor([0, 0, 1, 1])
    best = torch.eye(8)[labels][:, None].expand(4, 3, 8)
    present = torch.ones(4, 3, dtype=torch.bool)
    present[:, 2] = False
    value = objective(Embeddings(best[:, 0], best, present / 2), labels, present)
    assert value.progress[:2].tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    assert value.progress[2].isnan() and not objective.progress.any()
    objective.follow(value)
    moved = (0.05 * value.progress[:2]).tolist()
    assert objective.progress.tolist() == pytest.approx([*moved, 0.0])
    again = gated()
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again.progress, objective.progress)


@pytest.mark.parametrize("changes", [{"cross_gate": 0.0}, {"within_weight": 0.0}])
def test_nothing_waits_where_the_gate_is_off_or_no_other_term_trains_the_heads(changes):
    value = gated(**changes)(embeddings_of(), LABELS, ALL)
    assert torch.equal(value.cross, objective_of()(embeddings_of(), LABELS, ALL).cross)

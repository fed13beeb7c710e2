import numpy as np
import pytest
import torch
from torch import nn

from quadlib.evaluation.embed import embed


def test_rows_in_order_whatever_the_batch_size(model, dataset) -> None:
    rows = dataset.table.rows("test")[::-1].copy()
    whole, pieces = embed(model, dataset, rows), embed(model, dataset, rows, batch_size=7)
    assert (
        whole.fused.dtype == np.float32
        and whole.by_modality.shape == (len(rows), 3, 8)
        and len(whole) == len(rows)
    )
    assert (whole.rows == rows).all() and (whole.labels == dataset.table.codes[rows]).all()
    assert (whole.present == dataset.table.present[rows]).all()
    np.testing.assert_allclose(whole.fused, pieces.fused, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole.fused, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(whole.weights.sum(axis=1), 1, atol=1e-5)
    assert whole.take(whole.labels == 1).labels.tolist() == [1] * (whole.labels == 1).sum()


def test_the_model_is_left_as_it_was(model, dataset) -> None:
    model.train()
    model.encoders["kar"].eval()  # a frozen encoder stays in evaluation mode
    before = {name: module.training for name, module in model.named_modules()}
    state = torch.get_rng_state()
    first, second = (embed(model, dataset, np.arange(10)) for _ in range(2))
    assert {name: module.training for name, module in model.named_modules()} == before
    assert torch.equal(torch.get_rng_state(), state)
    assert (first.fused == second.fused).all()  # no dropout


def test_modes_come_back_after_an_error(model, dataset) -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, batch: object) -> None:
            raise RuntimeError("no")

    broken = Broken().train()
    with pytest.raises(RuntimeError, match="no"):
        embed(broken, dataset, np.arange(4))
    assert broken.training


def test_a_hidden_modality_has_no_influence(model, dataset) -> None:
    table = dataset.table
    rows = np.flatnonzero(table.present.all(axis=1))
    hidden = embed(model, dataset, rows, hide=["kar"])
    table.arrays["kar"][:] = 1e3
    again = embed(model, dataset, rows, hide=["kar"])
    assert (
        (hidden.fused == again.fused).all()
        and not hidden.weights[:, 1].any()
        and not hidden.by_modality[:, 1].any()
    )
    assert not hidden.present[:, 1].any()
    assert (embed(model, dataset, rows).fused != again.fused).any()


def test_refusals_name_the_remedy(model, dataset) -> None:
    with pytest.raises(ValueError, match="'car'.*fou, kar, mor"):
        embed(model, dataset, np.arange(4), hide=["car"])
    with pytest.raises(ValueError, match="nothing to embed"):
        embed(model, dataset, np.arange(0))
    with pytest.raises(ValueError, match="no modality left once fou, kar, mor are hidden"):
        embed(model, dataset, np.arange(4), hide=["fou", "kar", "mor"])

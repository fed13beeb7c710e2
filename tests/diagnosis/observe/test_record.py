"""Names in the record read well where a finding prints them."""

import pytest

from quadlib.diagnosis.observe.record import Fetch


@pytest.mark.parametrize(
    ("loader", "said"), [(-1, "batch[0][1]"), (0, "batch[0][1]"), (2, "batch[0][1] of loader 2")]
)
def test_a_leaf_of_a_further_loader_names_it_behind_its_path(loader, said):
    fetch = Fetch(0, loader, (), None, True, {})
    assert f"batch{fetch.mark('[0][1]')}" == said

"""A notebook that papermill or nbconvert runs is taken for what it is: figures, and no widgets."""

from __future__ import annotations

import json
from pathlib import Path

import papermill
import pytest

ROOT = Path(__file__).parents[2]
PLOTLY = "application/vnd.plotly.v1+json"


@pytest.mark.slow
def test_plain_papermill_leaves_all_figures_and_no_widget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    monkeypatch.setenv("QUADLIB_OUTPUTS", str(tmp_path / "outputs"))
    executed = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(ROOT / "notebooks" / "02_train.ipynb"),
        str(executed),
        {"source": "mfeat", "epochs": 2},
        progress_bar=False,
    )
    assert executed.stat().st_size <= 500_000
    notebook = json.loads(executed.read_text())
    assert not notebook["metadata"].get("widgets", {}).get("state")
    kinds = [
        kind
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert kinds.count(PLOTLY) == 5 and not any("widget" in kind for kind in kinds)
    top = "".join(notebook["cells"][1]["outputs"][0]["data"]["text/plain"])
    assert "of the way from collapse to its floor" in top
    text = "".join(
        "".join(output.get("text", ""))
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
    )
    assert "epoch   2/2" in text

"""Wrong parameters in a cell or from papermill are named together, misspelt ones with their nearest
name.
"""

from __future__ import annotations

from pathlib import Path

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from quadlib.config import DiagnoseSettings, SettingsError
from quadlib.jupyter.parameters import settings_from

CELL = """run: str = ""
outputs: str = ""
seed: int = 0
checkpoint: str = "latest"
deep: bool = False
media: bool = False"""


def read(*cells: str) -> DiagnoseSettings:
    """The settings after these cells were run, as a kernel keeps them."""
    namespace: dict[str, object] = {"In": ["", "import os", *cells, "settings = ..."]}
    for cell in cells:
        exec(cell, namespace)
    return settings_from(DiagnoseSettings, namespace)


def test_the_cells_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    assert read(CELL).checkpoint == "latest"
    assert read(CELL, '# Parameters\ncheckpoint = "best"').checkpoint == "best"


@pytest.mark.parametrize("batch", ["", "1"])
def test_a_misspelt_line_is_named_with_every_other_mistake(
    batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUADLIB_BATCH", batch)
    with pytest.raises(SettingsError) as wrong:
        read(CELL.replace("deep: bool = False", "depe: bool = True").replace("latest", "last"))
    assert "depe: no such setting; did you mean deep?" in str(wrong.value)
    assert "checkpoint: 'last' does not fit" in str(wrong.value)
    assert "the notebook has no" not in str(wrong.value)  # deep: its line is the misspelt one


def test_papermills_values_are_checked_too() -> None:
    with pytest.raises(SettingsError, match="chekpoint: no such setting; did you mean checkpoint"):
        read(CELL, '# Parameters\nchekpoint = "best"\n')
    with pytest.raises(SettingsError, match="batch: no such setting; known are run, outputs"):
        read(CELL, "# Parameters\nbatch = 3")


def test_a_line_that_was_corrected_since_is_left_alone() -> None:
    wrong = CELL.replace("deep: bool", "depe: bool")
    assert read(wrong, CELL).deep is False
    scratch = "x = 3\nepohcs = 4"  # a reader's own variables are no parameters
    assert read(scratch, CELL).deep is False
    assert read(wrong, "print(1)", CELL).deep is False


def test_a_line_that_was_removed_is_named() -> None:
    with pytest.raises(SettingsError, match="the notebook has no deep; run its parameter cells"):
        read(CELL.replace("\ndeep: bool = False", ""))


@pytest.mark.slow
def test_plain_papermill_ends_before_the_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    notebook = Path(__file__).parents[2] / "notebooks" / "02_train.ipynb"
    values = {"batch_sise": 64, "epochs": "many", "width": 30}
    with pytest.raises(PapermillExecutionError) as wrong:
        papermill.execute_notebook(
            str(notebook), str(tmp_path / "out.ipynb"), values, progress_bar=False
        )
    assert "3 settings are wrong" in wrong.value.evalue
    assert "batch_sise: no such setting; did you mean batch_size?" in wrong.value.evalue
    assert "epochs: 'many' does not fit" in wrong.value.evalue
    assert "fusion_heads: 4 does not fit: it does not divide width 30" in wrong.value.evalue
    assert "import KnnValidator" not in "".join(wrong.value.traceback)
    assert len(wrong.value.traceback) == 1  # the message alone, no line of ours

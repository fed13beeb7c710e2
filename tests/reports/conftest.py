"""Small notebooks to run and render."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from quadlib.config import BatchesSettings
from quadlib.runs import Run


@pytest.fixture
def make_notebook(tmp_path: Path) -> Callable[..., Path]:
    """Writes a notebook with the parameters of 01_batches and the given code cells (or markdown,
    after `#md `).
    """

    def make(*sources: str, name: str = "01_batches") -> Path:
        parameters = nbformat.v4.new_code_cell(
            'run: str = ""\noutputs: str = ""\nseed: int = 0\nbatch_size: int = 32',
            id="p",
            metadata={"tags": ["parameters"]},
        )
        cells = [
            nbformat.v4.new_markdown_cell(source[4:], id=str(i))
            if source.startswith("#md ")
            else nbformat.v4.new_code_cell(source, id=str(i))
            for i, source in enumerate(sources)
        ]
        notebook = nbformat.v4.new_notebook(cells=[parameters, *cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return make


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A new run folder."""
    return Run.create(BatchesSettings(run="a-run", outputs=str(tmp_path / "outputs")))

"""The committed notebooks: clean, thin, and with exactly the parameters of their settings
models.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, Literal, get_origin

import nbformat
import papermill
import pytest

from quadlib.config import Settings
from quadlib.reports.execute import NOTEBOOK_SETTINGS

FOLDER = Path(__file__).parent.parent / "notebooks"
MODELS = NOTEBOOK_SETTINGS
MOST_CELLS, MOST_LINES, MOST_BYTES = 20, 12, 60_000


def type_name(annotation: Any) -> str:
    """How a parameter cell writes a setting's type, in the plain words that papermill can read."""
    if get_origin(annotation) is Literal:
        return "str"
    return (
        annotation.__name__
        if isinstance(annotation, type) and get_origin(annotation) is None
        else str(annotation)
    )


def parameter_cell(model: type[Settings]) -> str:
    """The parameter cell that a settings model asks for, one line a field."""
    lines = []
    for name, field in model.model_fields.items():
        value = (
            json.dumps(field.default)
            if isinstance(field.default, str | list)
            else repr(field.default)
        )
        lines.append(f"{name}: {type_name(field.annotation)} = {value}  # {field.description}")
    return "\n".join(lines)


@pytest.fixture(params=sorted(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_has_a_settings_model() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(MODELS)


def test_parameters_equal_the_settings(name: str, notebook: nbformat.NotebookNode) -> None:
    wanted = parameter_cell(MODELS[name])
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in tagged] == [wanted], (
        f"the parameter cell of {name} should read:\n{wanted}"
    )


def test_papermill_reads_every_parameter(name: str) -> None:
    inspected = papermill.inspect_notebook(FOLDER / f"{name}.ipynb")
    fields = MODELS[name].model_fields
    assert set(inspected) == set(fields)
    for parameter, field in fields.items():
        found = inspected[parameter]
        assert found["inferred_type_name"] == type_name(field.annotation)
        assert ast.literal_eval(found["default"]) == field.default
        assert found["help"] == field.description
        assert "=" not in found["help"]


def test_first_the_question_last_the_answer(name: str, notebook: nbformat.NotebookNode) -> None:
    first, second, last = notebook.cells[0], notebook.cells[1], notebook.cells[-1]
    assert first.cell_type == "markdown" and re.match(r"# .*\?\n", first.source)
    assert second.metadata["tags"] == ["parameters"]
    assert last.cell_type == "code" and last.source.startswith("judge_")
    headings = [
        line
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("#")
    ]
    assert [line.split(" ")[0] for line in headings] == ["#", *["##"] * (len(headings) - 1)]


def test_thin(name: str, notebook: nbformat.NotebookNode) -> None:
    assert len(notebook.cells) <= MOST_CELLS
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            assert len(cell.source.splitlines()) <= MOST_LINES, cell.source
    for source in code_of(notebook):
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(
                node,
                ast.FunctionDef
                | ast.AsyncFunctionDef
                | ast.ClassDef
                | ast.Lambda
                | ast.For
                | ast.While
                | ast.If,
            ), source
            modules = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            assert all(module.split(".")[0] == "quadlib" for module in modules), source


def test_stored_clean(name: str, notebook: nbformat.NotebookNode) -> None:
    path = FOLDER / f"{name}.ipynb"
    nbformat.validate(notebook)
    assert path.stat().st_size <= MOST_BYTES
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata and "papermill" not in notebook.metadata
    assert [cell.id for cell in notebook.cells] == [
        f"{name[:2]}-{position:02d}" for position in range(len(notebook.cells))
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}


def test_no_name_of_a_parameter_is_taken_by_something_else(
    name: str, notebook: nbformat.NotebookNode
) -> None:
    """A cell run twice in JupyterLab must find its parameters as they were."""
    parameters = set(MODELS[name].model_fields)
    for cell in notebook.cells[2:]:
        if cell.cell_type == "code":
            stored = {
                node.id
                for node in ast.walk(ast.parse(cell.source))
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            assert not stored & parameters

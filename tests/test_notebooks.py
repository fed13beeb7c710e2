"""The committed notebooks: clean, thin, and with exactly the parameters of their settings
models.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
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
FIRST, REST = "parameters", "rest-of-parameters"  # tags; the second cell is collapsed
MOST_FIRST = 15  # parameters that a reader sees at once


def type_name(annotation: Any) -> str:
    """How a parameter cell writes a setting's type, in the plain words that papermill can read."""
    if get_origin(annotation) is Literal:
        return "str"
    return (
        annotation.__name__
        if isinstance(annotation, type) and get_origin(annotation) is None
        else str(annotation)
    )


def line_of(model: type[Settings], name: str) -> str:
    """The line of a parameter cell that a field of a settings model asks for."""
    field = model.model_fields[name]
    value = (
        json.dumps(field.default) if isinstance(field.default, str | list) else repr(field.default)
    )
    return f"{name}: {type_name(field.annotation)} = {value}  # {field.description}"


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def parameter_lines(cells: list[nbformat.NotebookNode]) -> list[str]:
    """Their lines without groups' names."""
    lines = [line for cell in cells for line in cell.source.splitlines()]
    return [line for line in lines if line and not line.startswith("# ")]


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
    model = MODELS[name]
    first, rest = (parameter_lines(tagged(notebook, tag)) for tag in (FIRST, REST))
    shown = [line.partition(":")[0] for line in first]
    wanted = [line_of(model, field) for field in model.model_fields if field not in shown]
    assert rest == wanted, f"the collapsed cell of {name} should read:\n" + "\n".join(wanted)
    known = [field for field in shown if field in model.model_fields]
    assert first == [line_of(model, field) for field in known]


def test_a_dozen_parameters_are_seen_at_once_and_the_rest_lies_before_them(
    name: str, notebook: nbformat.NotebookNode
) -> None:
    """papermill puts its values after the tagged cell, so that they win over both."""
    (first,), rest = tagged(notebook, FIRST), tagged(notebook, REST)
    assert len(parameter_lines([first])) <= MOST_FIRST
    assert len(rest) == (len(MODELS[name].model_fields) > MOST_FIRST)
    for cell in rest:
        assert notebook.cells.index(first) == notebook.cells.index(cell) + 1
        assert cell.metadata["jupyter"] == {"source_hidden": True}
        assert first.source.startswith("# ")  # grouped


def test_papermill_reads_every_parameter(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    inspected = papermill.inspect_notebook(FOLDER / f"{name}.ipynb")
    fields = MODELS[name].model_fields
    shown = parameter_lines(tagged(notebook, FIRST))
    assert list(inspected) == [line.partition(":")[0] for line in shown]
    for parameter, found in inspected.items():
        field = fields[parameter]
        assert found["inferred_type_name"] == type_name(field.annotation)
        assert ast.literal_eval(found["default"]) == field.default
        assert found["help"] == field.description
        assert "=" not in found["help"]


def test_first_the_question_last_the_answer(name: str, notebook: nbformat.NotebookNode) -> None:
    (parameters,), rest = tagged(notebook, FIRST), tagged(notebook, REST)
    (place,) = tagged(notebook, "answer")
    first, last = notebook.cells[0], notebook.cells[-1]
    assert first.cell_type == "markdown" and re.match(r"# .*\?\n", first.source)
    assert notebook.cells[1] is place and notebook.cells[2] is (rest or [parameters])[0]
    assert place.source.endswith("\nanswer = Answer()\nanswer")
    assert last.cell_type == "code" and last.source.startswith("answer.give(")
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
        if cell.cell_type == "code" and not {FIRST, REST} & set(cell.metadata.get("tags", [])):
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
        assert set(cell.metadata) <= {"tags", "jupyter"}


def test_settings_are_read_before_anything_heavy_is_imported(
    name: str, notebook: nbformat.NotebookNode
) -> None:
    (first,) = tagged(notebook, FIRST)
    cell = notebook.cells[notebook.cells.index(first) + 1]
    assert cell.source.splitlines()[1:] == [
        "from quadlib.jupyter.parameters import settings_from",
        "",
        f"settings = settings_from({MODELS[name].__name__}, globals())",
    ]
    code = (
        "import sys, quadlib.jupyter.answer, quadlib.jupyter.parameters; "
        "print({'torch', 'plotly'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"


def test_no_name_of_a_parameter_is_taken_by_something_else(
    name: str, notebook: nbformat.NotebookNode
) -> None:
    """A cell run twice in JupyterLab must find its parameters as they were."""
    parameters = set(MODELS[name].model_fields)
    for cell in notebook.cells:
        if cell.cell_type == "code" and not {FIRST, REST} & set(cell.metadata.get("tags", [])):
            stored = {
                node.id
                for node in ast.walk(ast.parse(cell.source))
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            assert not stored & parameters

"""The names that other code imports from quadlib are there, and importing the package alone loads
no torch.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import quadlib


@pytest.mark.parametrize("name", quadlib.__all__)
def test_public_names_resolve(name):
    assert getattr(quadlib, name) is not None


def test_the_package_alone_does_not_load_torch():
    subprocess.run(
        [sys.executable, "-c", "import quadlib, sys; assert 'torch' not in sys.modules"], check=True
    )


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'SupConLos'"):
        quadlib.SupConLos  # noqa: B018


def test_the_core_can_be_lifted_out():
    """Sampler, plan, loss and bounds need torch, numpy and pandas (for the plan's summary) alone;
    so does the doctor.
    """
    code = (
        "import sys, quadlib.sampler, quadlib.loss, quadlib.loss.bounds, quadlib.diagnosis; assert "
        "not {'pydantic', 'av', 'sklearn', 'plotly', 'soundfile'} & set(sys.modules), "
        "sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_the_installed_one():
    assert quadlib.__version__ == version("quadlib")


def test_the_module_is_the_command(tmp_path):
    said = [
        subprocess.run(
            [sys.executable, *how, "runs", "--outputs", str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for how in (["-m", "quadlib"], ["-c", "from quadlib.cli import main; main()"])
    ]
    assert "quadlib demo" in said[0] and said[0] == said[1]


def test_types_are_shipped():
    assert Path(quadlib.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("quadlib.doctor", "DoctorWatcher"),
        ("quadlib.notebook", "settings_from"),
        ("quadlib.restore", "restore"),
        ("quadlib.widgets", "BatchInspector"),
    ],
)
def test_earlier_import_paths_lead_to_where_the_code_stands(path, name):
    with pytest.warns(DeprecationWarning, match=f"{path} is now quadlib"):
        assert hasattr(importlib.import_module(path), name)


def test_importing_configures_no_logging_and_the_command_line_shows_every_message(tmp_path):
    code = (
        "import logging, sys, quadlib, quadlib.cli, quadlib.jupyter.cells\n"
        "logger = logging.getLogger('quadlib')\n"
        "assert not logger.handlers and not logger.level and not logging.getLogger().handlers\n"
        "logger.info('not shown')\n"
        "quadlib.log_to_stdout(); quadlib.log_to_stdout()\n"
        "print('first'); logging.getLogger('quadlib.data').info('100 % decoded'); print('last')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "first\n100 % decoded\nlast\n" and said.stderr == ""


def test_the_library_does_not_print():
    """The labels of every batch, asked for by name, and what log and commands say are all."""
    root = Path(quadlib.__file__).parent
    allowed = {"terminal.py", "training/trainer.py"}
    printing = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "print"
    }
    assert printing <= allowed


def test_an_old_path_takes_no_function_s_place():
    """Importing a submodule sets its package's attribute, here one that is a public function."""
    code = (
        "import warnings; warnings.simplefilter('ignore'); import quadlib.restore, quadlib; "
        "quadlib.restore()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "missing 1 required positional argument: 'run'" in done.stderr

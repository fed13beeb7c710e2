"""The command line: exit codes, every error at once, and what each command says."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from quadlib import cli
from quadlib.config import RunSettings
from quadlib.demo import run as demo
from quadlib.reports.execute import Outcome
from quadlib.runs import Run


@pytest.fixture
def quadlib(monkeypatch, capsys, tmp_path):
    """Calls the command line in an empty project, and returns exit code, output and error text."""
    for folder in ("notebooks", "outputs"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quadlib", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def write_notebook(folder, name, *sources):
    parameters = (
        'run: str = ""\noutputs: str = ""\nseed: int = 0\nsource: str = ""\nsize: str = '
        '""\nbatch_size: int = 32'
    )
    cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, sources),
    ]
    notebook = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")


def test_help_needs_none_of_the_heavy_packages():
    said = subprocess.run(
        [sys.executable, "-m", "quadlib", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(command in said for command in ("demo", "run", "runs", "report", "data"))
    imported = (
        "import sys, quadlib.cli; print([name for name in ('torch', 'plotly', 'pandas', "
        "'nbconvert', 'pydantic') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", imported], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_run_executes_renders_and_lists(quadlib, tmp_path):
    write_notebook(tmp_path, "01_batches", "print('batch of', batch_size)")
    code, said, _ = quadlib("run", "01_batches", "-p", "batch_size=16", "--run", "mine")
    assert code == 0 and "batch of 16" in said
    assert (tmp_path / "outputs/mine/reports/01_batches.html").exists() and (
        tmp_path / "outputs/index.html"
    ).exists()
    code, said, _ = quadlib("runs")
    assert code == 0 and said.split() == ["mine", "done"]
    (tmp_path / "outputs/mine/reports/01_batches.html").unlink()
    code, said, _ = quadlib("report", "mine")
    assert code == 0 and (tmp_path / "outputs/mine/reports/01_batches.html").exists()


def test_one_damaged_run_hides_no_other(quadlib, tmp_path):
    for name in ("good", "torn", "unscored"):
        Run.create(RunSettings(run=name, outputs=str(tmp_path / "outputs")))
    (tmp_path / "outputs/torn/run.json").write_text("{")
    (tmp_path / "outputs/unscored/evaluation.json").write_text("{}")
    code, said, complaint = quadlib("runs")
    assert code == 1 and {"good", "unscored"} <= set(said.split())
    assert "evaluation.json has no format" in said
    assert complaint.startswith("torn  damaged") and "torn/run.json is not valid JSON" in complaint


def test_a_failing_notebook_is_exit_1_with_a_report(quadlib, tmp_path):
    write_notebook(tmp_path, "01_batches", "1 / 0")
    code, said, complaint = quadlib("run", "01_batches", "--run", "mine")
    assert code == 1 and "ZeroDivisionError" in complaint
    assert "ZeroDivisionError" in (tmp_path / "outputs/mine/reports/01_batches.html").read_text()


def test_all_wrong_parameters_in_one_message_before_a_run_is_made(quadlib, tmp_path):
    write_notebook(tmp_path, "02_train", "1")
    code, said, complaint = quadlib(
        "run", "02_train", "-p", "batch_sise=64", "-p", "epochs=ten", "-p", "source=weldsin"
    )
    assert code == 2 and not said
    assert (
        "3 settings are wrong" in complaint
        and "did you mean batch_size?" in complaint
        and "'ten'" in complaint
        and "'weldsin'" in complaint
    )
    assert not list((tmp_path / "outputs").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "02_trian"), "no '02_trian'"),
        (("run", "02_train", "-p", "epochs"), "-p epochs: NAME=VALUE was expected"),
        (
            ("run", "02_train", "-p", "seed=1", "-p", "seed=2", "-p", "=3"),
            "-p seed: occurs 2 times",
        ),
        (("run", "02_train", "--preset", "none.toml", "-p", "=3"), "none.toml cannot be read"),
        (("run", "02_train", "--run", "../x"), "is not a plain folder name"),
        (("run", "04_evaluate"), "no trained run"),
        (("report", "nothing"), "no 'nothing'"),
        (("data", "make", "-p", "source=nowhere"), "source: 'nowhere' does not fit"),
        (("demo", "--source", "neither"), "neither"),
        (("report", "x" * 300), "no 'xxx"),
        (("doctor", "x" * 300), "no 'xxx"),
        (("run", "x" * 300), "no 'xxx"),
        (("run", "02_train", "--run", "x" * 300), "a name of 300 bytes; shorten it"),
        (("run", "02_train", "--run", "a\nb"), "is not a plain folder name"),
    ],
)
def test_wrong_use_is_exit_2_with_one_message(quadlib, tmp_path, arguments, words):
    for name in ("02_train", "04_evaluate"):
        write_notebook(tmp_path, name, "1")
    code, _, complaint = quadlib(*arguments)
    assert code == 2 and words in complaint and "Traceback" not in complaint


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "02_train", "-p", "source=mfeat", "-p", "outputs=/dev/null/x"),
        ("runs", "--outputs", "x" * 300),
        ("lab", "--outputs", "/dev/null/x"),
        ("data", "make", "-p", "outputs=/dev/null/x"),
        ("data", "check", "-p", "source=table", "-p", f"path={'x' * 300}.csv"),
        ("data", "make-table", "x" * 300),
    ],
)
def test_places_that_cannot_be_are_exit_1_with_one_message(quadlib, tmp_path, arguments):
    write_notebook(tmp_path, "02_train", "1")
    code, _, complaint = quadlib(*arguments)
    assert code in (1, 2) and complaint.strip() and "Traceback" not in complaint


def test_an_error_of_the_system_about_a_file_is_one_message(quadlib, monkeypatch):
    def full(obj):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scratch/a.csv")

    monkeypatch.setattr(cli, "app", full)
    code, _, complaint = quadlib("runs")
    assert code == 1 and "Traceback" not in complaint
    assert complaint.startswith("scratch/a.csv: No space left on device. Check its name")


def test_an_unexpected_error_is_one_message_and_a_traceback_on_request(quadlib, monkeypatch):
    monkeypatch.setattr("quadlib.runs.list_runs", lambda outputs: {}["gone"])
    code, _, complaint = quadlib("runs")
    assert code == 1 and "Traceback" not in complaint
    assert complaint.startswith("KeyError: 'gone' (") and "quadlib --debug runs`" in complaint
    code, _, complaint = quadlib("--debug", "runs")
    assert code == 1 and "Traceback" in complaint and 'lambda outputs: {}["gone"]' in complaint


def test_output_that_cannot_be_written_is_one_message(tmp_path):
    command = [sys.executable, "-m", "quadlib", "runs", "--outputs", str(tmp_path)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "No space left on device. Check" in done.stderr


def test_a_working_folder_that_was_removed_is_named(quadlib, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.delenv("QUADLIB_OUTPUTS", raising=False)
    monkeypatch.chdir(gone)
    gone.rmdir()
    code, _, complaint = quadlib("runs")
    assert code == 1 and complaint.startswith("the working folder is not there any more; change")


@pytest.mark.parametrize("target", ["os:system", ":main", "builtins:dict", "json:gone"])
def test_a_function_that_gives_no_subject_is_wrong_use(quadlib, target):
    code, _, complaint = quadlib("doctor", target)
    assert code == 2 and complaint.startswith(target) and "Traceback" not in complaint


def test_parameters_override_the_preset(quadlib, tmp_path):
    write_notebook(
        tmp_path,
        "02_train",
        "import json, pathlib; pathlib.Path('seen').write_text(json.dumps([batch_size, seed]))",
    )
    (tmp_path / "small.toml").write_text("batch_size = 8\nseed = 3\n")
    assert (
        quadlib("run", "02_train", "--preset", "small.toml", "-p", "seed=4", "--run", "mine")[0]
        == 0
    )
    assert json.loads((tmp_path / "seen").read_text()) == [8, 4]


def test_labels_do_not_steer_the_terminal(quadlib, tmp_path):
    label = "\x1b]0;title\x07\x1b[31mred\u202e"
    np.savez(tmp_path / "mine.npz", y=np.array(["good", label] * 2), a=np.eye(4), b=np.eye(4))
    code, said, complaint = quadlib("data", "check", "-p", "source=table", "-p", "path=mine.npz")
    assert code == 1 and "\\x1b[31mred\\u202e" in said + complaint
    assert not set("\x1b\x07\u202e") & set(said + complaint)


def test_data_make_and_check(quadlib, tmp_path):
    code, said, _ = quadlib("data", "make", "-p", "source=mfeat")
    assert code == 0 and "2000 recordings" in said and "10 classes" in said
    rows = [
        "sample_id,label,group,split,audio",
        *(f"a{i},{'xy'[i % 2]},s{i},train,a{i}.flac" for i in range(8)),
    ]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    code, said, _ = quadlib("data", "check", "-p", "source=table", "-p", "path=mine.csv")
    assert code == 1 and "9 problems" in said and "a7.flac" in said and "val holds no" in said
    code, again, _ = quadlib(
        "data", "check", "-p", "source=table", "-p", "path=mine.csv", "--verify"
    )
    assert code == 1 and again.splitlines()[-1] == said.splitlines()[-1]


def test_an_unreadable_table_is_exit_1(quadlib, tmp_path):
    (tmp_path / "mine.csv").write_text(
        "sample_id,label,group,split,audio\na,x,s,train,a.flac\na,x,s,train,b.flac\n"
    )
    code, _, complaint = quadlib("data", "check", "-p", "source=table", "-p", "path=mine.csv")
    assert code == 1 and "'a' stands in 2 rows" in complaint


@pytest.mark.parametrize(
    ("endings", "code", "stages_run"),
    [({}, 0, 8), ({"02_train": "failed"}, 1, 4), ({"03_diagnose": "killed"}, 143, 3)],
)
def test_demo_runs_every_stage_of_both_sources(monkeypatch, tmp_path, endings, code, stages_run):
    seen = []

    def execute(notebook, run: Run, parameters, **_):
        seen.append((run.record["name"].split("-")[3], notebook.stem, parameters))
        status = endings.get(notebook.stem, "done")
        run.update(status=status, source=seen[-1][0])
        stopped_by = 15 if status == "killed" else 0
        return Outcome(
            status,
            notebook,
            1.0,
            None if status == "done" else {"type": "X", "message": "y"},
            stopped_by,
        )

    monkeypatch.setattr(demo, "execute_notebook", execute)
    monkeypatch.setattr(demo, "render_outcome", lambda *_: None)
    lines = []
    assert demo.run_demo(outputs=str(tmp_path), size="tiny", say=lines.append) == code
    assert len(seen) == stages_run
    assert seen[0] == ("weldsim", "01_batches", {"source": "weldsim", "size": "tiny"})
    assert all(parameters == {} for _, stage, parameters in seen if stage.startswith(("03", "04")))
    assert str(tmp_path / "index.html") in "\n".join(lines) and "wall time" in lines[-1]


TRAINING = """
import sys
import torch
from torch.nn import functional as F

torch.manual_seed(0)
model = torch.nn.Linear(8, 4)
optimiser = torch.optim.SGD(model.parameters(), float(sys.argv[1]))
labels = torch.arange(16) % 4
x = F.one_hot(labels, 8).float() + 0.1 * torch.randn(16, 8)
for _ in range(20):
    z = F.normalize(model(x), dim=1)
    optimiser.zero_grad()
    F.cross_entropy(z @ z.T / 0.1, labels).backward()
    optimiser.step()
print("the end")
"""


def test_doctor_watches_a_script_and_takes_its_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(TRAINING)
    command = [sys.executable, "-m", "quadlib", "doctor", "train.py", "--json", "verdict.json"]
    said = subprocess.run(
        [*command, "--seconds", "0", "--", "0.1"], capture_output=True, text=True, check=False
    )
    verdict = json.loads(Path("verdict.json").read_text())
    assert said.returncode == verdict["exit_code"], said.stdout + said.stderr
    assert verdict["steps"] == 8 and {"model", "loss", "optimiser"} <= set(verdict["seen"])
    assert "the end" not in said.stdout and not verdict["crashed"]
    watched = subprocess.run(
        [*command, "--watch", "--", "0.1"], capture_output=True, text=True, check=False
    )
    assert "the end" in watched.stdout


def test_doctor_cannot_judge_a_script_that_fails(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("raise RuntimeError('no data here')")
    command = [sys.executable, "-m", "quadlib", "doctor"]
    said = subprocess.run([*command, "train.py"], capture_output=True, text=True, check=False)
    assert said.returncode == 2 and "COULD NOT JUDGE" in said.stdout
    assert "RuntimeError: no data here" in said.stdout
    said = subprocess.run([*command, "trian.py"], capture_output=True, text=True, check=False)
    assert said.returncode == 2 and "trian.py is no file" in said.stderr

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading

import pytest

from quadlib.config import RunSettings, SettingsError, TrainSettings
from quadlib.files import FileError, is_held, write_text
from quadlib.runs import (
    Run,
    RunError,
    damaged_runs,
    lines_text,
    list_runs,
    read_lines,
)
from quadlib.runs.provenance import code_commit
from tests.helpers.flips import silent


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("QUADLIB_BATCH", raising=False)
    return RunSettings(outputs=str(tmp_path))


def test_a_run_keeps_its_record(settings):
    run = Run.create(settings)
    with run.hold():
        run.update(status="running", timings={"load": 1.0})
        assert run.record["status"] == "running"
    run.update(timings={"train": 2.0}, settings=TrainSettings(epochs=3).model_dump())
    again = Run.create(settings.model_copy(update={"run": run.name}))
    assert again.record["status"] == "killed"  # nobody works on it any more
    assert again.record["timings"] == {"load": 1.0, "train": 2.0}
    assert again.settings(TrainSettings).epochs == 3
    assert again.record["versions"]["torch"].startswith("2.")


def test_latest_run_is_the_newest_that_was_trained(settings):
    first, second, third = (
        Run.create(settings.model_copy(update={"run": name})) for name in ("b", "a", "c")
    )
    for run in (first, second):
        write_text(run.path("history.jsonl"), "")
    assert Run.open(outputs=settings.outputs) == second
    assert [run.name for run in list_runs(settings.outputs)] == ["c", "a", "b"]
    assert Run.open("b", settings.outputs) == first
    assert Run.open(str(third.folder)) == third
    with pytest.raises(RunError, match="no 'd' in .*; the newest are c, a, b"):
        Run.open("d", settings.outputs)


def test_no_trained_run_says_how_to_get_one(settings):
    with pytest.raises(RunError, match="train one first"):
        Run.open(outputs=settings.outputs)


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "..", "a\nb", "a\x1b[2J"])
def test_a_run_stays_in_its_outputs_folder(settings, name):
    with pytest.raises(RunError, match="not a plain folder name"):
        Run.create(settings.model_copy(update={"run": name}))


def test_a_name_is_no_longer_than_a_folder_may_have(settings):
    assert Run.create(settings.model_copy(update={"run": "é" * 100})).folder.is_dir()
    with pytest.raises(RunError, match="is a name of 202 bytes; shorten it to 200 at most"):
        Run.create(settings.model_copy(update={"run": "é" * 101}))


def test_where_there_can_be_no_folder_the_error_says_so(settings, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / ("x" * 300)):
        with pytest.raises(FileError, match=r"cannot be made \(.*Choose another outputs folder"):
            Run.create(settings.model_copy(update={"outputs": str(place)}))


KILLED = """
import sys, time
from pathlib import Path
from quadlib.runs import Run
run = Run(Path(sys.argv[1]))
with run.hold(), run.in_progress():
    print("started", flush=True)
    time.sleep(60)
"""


def test_a_run_whose_process_was_killed_is_killed_and_not_running(settings):
    run = Run.create(settings)
    command = [sys.executable, "-c", KILLED, str(run.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert run.record["status"] == "running"
        process.kill()
    record = run.record
    assert (record["status"], record["error"]["type"]) == ("killed", "Lost")
    with run.hold(), run.in_progress():
        assert run.record["status"] == "running"
    assert run.record["status"] == "done" and run.record["error"] is None


def test_looking_whether_a_run_is_held_never_keeps_its_holder_out(settings):
    run = Run.create(settings)
    stop = threading.Event()

    def look():
        while not stop.wait(0.002):  # as galleries and commands look, not without a pause
            is_held(run.path(".lock"))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            with run.hold():
                assert is_held(run.path(".lock"))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_clock_that_is_set_back_does_not_reorder_runs(settings, monkeypatch):
    names = ["2020-01-02", "2020-01-01", "2019-12-31"]
    for name in names:
        monkeypatch.setattr("quadlib.runs.run._now", lambda name=name: f"{name}T00:00:00.000+00:00")
        Run.create(settings.model_copy(update={"run": name}))
    assert [run.name for run in list_runs(settings.outputs)] == names[::-1]


def test_unknown_status_is_refused(settings):
    with pytest.raises(RunError, match="'finished' is none of queued, running"):
        Run.create(settings).update(status="finished")


def test_progress_is_recorded_with_how_it_ended(settings):
    run = Run.create(settings)
    with run.hold(), run.in_progress():
        assert run.record["status"] == "running"
    assert run.record["status"] == "done"
    with pytest.raises(ZeroDivisionError), run.in_progress():
        1 / 0  # noqa: B018
    assert run.record["status"] == "failed"
    assert run.record["error"] == {"type": "ZeroDivisionError", "message": "division by zero"}


def test_in_batch_the_status_is_the_parents(settings, monkeypatch):
    monkeypatch.setenv("QUADLIB_BATCH", "1")
    run = Run.create(settings)
    with run.in_progress():
        pass
    assert run.record["status"] == "queued"


def _hold(folder, ready, done):
    with Run(folder).hold():
        ready.set()
        done.wait(20)


def test_a_second_writer_is_refused_at_once_and_a_dead_one_holds_nothing(settings):
    run = Run.create(settings)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(run.folder, ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(RunError, match="being written by another process"), run.hold():
        pass
    other.kill()
    other.join()
    with run.hold():
        pass


def test_lines_round_trip_and_refuse_nan(tmp_path):
    path = tmp_path / "history.jsonl"
    assert read_lines(path) == []
    records = [{"loss": 0.1 + 0.2}, {"loss": 1e-30}]
    write_text(path, lines_text(records))
    assert read_lines(path) == records
    with pytest.raises(ValueError):
        lines_text([{"loss": float("inf")}])


def test_lines_with_any_bit_turned_or_one_left_out_are_refused(tmp_path):
    path = tmp_path / "history.jsonl"
    text = lines_text([{"kind": "step", "loss": 0.5}, {"kind": "epoch", "loss": 0.25}])
    write_text(path, text)
    assert silent(path, lambda: read_lines(path), FileError) == []
    first, second = text.splitlines(keepends=True)
    for other in (second, second + first):
        write_text(path, other)
        with pytest.raises(FileError, match=r"history.jsonl was changed since quadlib wrote it"):
            read_lines(path)
    write_text(path, '{"kind": "step", "loss": 0.5}\n')  # as earlier versions wrote it
    assert read_lines(path) == [{"kind": "step", "loss": 0.5}]


def test_settings_of_another_version_name_their_file(settings):
    run = Run.create(settings)
    run.update(settings={**settings.model_dump(), "flux": 1})
    with pytest.raises(
        SettingsError,
        match=r"run.json does not fit this version of quadlib(?s:.*)flux: no such setting",
    ):
        run.settings(type(settings))


def test_a_run_is_free_again_once_its_holder_is_through(settings):
    run = Run.create(settings)
    holder = run.hold()
    with holder:
        pass
    with run.hold():
        pass


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"name": "torn', "is not valid JSON"),
        ("[1, 2]", "holds a list where an object was expected"),
        ('{"format": "quadlib.run/99"}', "has the format 'quadlib.run/99'"),
        ("{}", "has no format"),
        (
            '{"format": "quadlib.run/1", "name": "bad", "status": "finished", "timings": []}',
            "status: 'finished' does not fit",
        ),
        (
            '{"format": "quadlib.run/1", "name": "bad", "status": "done", "timings": []}',
            "timings: [] does not fit",
        ),
    ],
)
def test_a_damaged_run_is_listed_as_damaged_and_the_others_work(settings, content, cause):
    good = Run.create(settings.model_copy(update={"run": "good"}))
    write_text(good.path("history.jsonl"), "")
    bad = Run.create(settings.model_copy(update={"run": "bad"}))
    write_text(bad.path("run.json"), content)
    assert list_runs(settings.outputs) == [good]
    assert Run.open(outputs=settings.outputs) == good
    [damaged] = damaged_runs(settings.outputs)
    assert damaged.run == bad
    assert cause in damaged.cause and str(bad.path("run.json")) in damaged.cause
    with pytest.raises(FileError, match="run.json"):
        Run.open("bad", settings.outputs)


def test_a_torn_line_of_the_history_is_named(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"loss": 1.0}\n{"loss": ')
    with pytest.raises(FileError, match=r"history.jsonl, line 2 is not valid JSON"):
        read_lines(path)


def test_only_a_checkout_that_holds_the_source_names_the_commit(tmp_path, monkeypatch):
    def git(*arguments):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    source = tmp_path / "site-packages" / "quadlib" / "runs.py"
    source.parent.mkdir(parents=True)
    source.touch()
    assert code_commit(source) is None  # no repository at all
    (tmp_path / "analysis.py").touch()
    git("init")
    git("add", "analysis.py")
    git("commit", "-m", "the user's own")
    assert code_commit(source) is None  # installed inside the user's repository
    git("add", "site-packages")
    git("commit", "-m", "with the source")
    assert code_commit(source) == git("rev-parse", "--short=12", "HEAD")
    source.write_text("changed")
    assert code_commit(source).endswith("+changes")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook of the user's
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs.py").touch()
    assert code_commit(tmp_path / "elsewhere" / "runs.py") is None

from __future__ import annotations

import sys

from quadlib.demo import side_by_side


def test_every_source_is_run_said_and_counted(monkeypatch):
    script = (
        "import sys; source = sys.argv[3]; print('hello from', source); sys.exit({'weldsim': 0, "
        "'mfeat': 1}[source])"
    )
    started = side_by_side.subprocess.Popen

    def fake(command, **options):
        assert command[:4] == [sys.executable, "-m", "quadlib", "demo"]
        assert int(options["env"]["OMP_NUM_THREADS"]) >= 1
        return started([sys.executable, "-c", script, *command[3:]], **options)

    monkeypatch.setattr(side_by_side.subprocess, "Popen", fake)
    lines: list[str] = []
    assert (
        side_by_side.demo_side_by_side(
            ("weldsim", "mfeat"), size="tiny", outputs="", say=lines.append
        )
        == 1
    )
    assert {"weldsim | hello from weldsim", "mfeat   | hello from mfeat"} < set(lines)
    assert lines[-1].startswith("both in ")

"""Several runs, stores, pages and galleries written at once in one outputs folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from quadlib.config import TrainSettings
from quadlib.data.open import open_table
from quadlib.data.store.store import MediaStore
from quadlib.reports.gallery import write_gallery
from quadlib.reports.render import render_report
from quadlib.runs import Run, RunError
from tests.soak.damage import notebook_of
from tests.soak.kills import Kills
from tests.soak.world import score, settings_in, start, state, torn, train, wait

REFUSED = 3
PAGES = 5  # written one after the other by each of those that write pages


def writers(kills: Kills, welds: TrainSettings, folder: Path) -> tuple[int, list[str]]:
    """How many wrote at once, and what is not as if each had been alone."""
    outputs, table = folder / "together", open_table(welds)
    for place in (outputs / "c", outputs / "d", folder / "alone/c"):
        shutil.copytree(kills.run.folder, place)
    scored, paged, alone = Run(outputs / "c"), Run(outputs / "d"), Run(folder / "alone/c")
    score(alone)
    notebook = notebook_of(paged)

    def trained(name: str) -> Callable[[], object]:
        settings = settings_in(kills.features, outputs, run=name)
        return lambda: _refused(lambda: train(settings))

    works: list[tuple[str, Callable[[], object]]] = [
        ("training a", trained("a")),
        ("training a again", trained("a")),
        ("training b", trained("b")),
        *[(f"evaluation {n}", lambda: score(scored)) for n in range(2)],
        *[
            (f"store {n}", lambda: MediaStore.open(table, welds, outputs / "store"))
            for n in range(3)
        ],
        *[(f"page {n}", lambda: _often(lambda: render_report(notebook, paged))) for n in range(2)],
        *[(f"gallery {n}", lambda: _often(lambda: write_gallery(outputs))) for n in range(2)],
    ]
    processes = [(name, start(work)) for name, work in works]
    ends = {name: wait(process) for name, process in processes}
    pair = sorted([ends.pop("training a"), ends.pop("training a again")])
    problems = [f"{name}: exit {end}" for name, end in ends.items() if end]
    problems += [] if pair == [0, REFUSED] else [f"two trainings of one run: exits {pair}"]
    problems += torn(outputs)
    problems += [f"left: {path}" for path in outputs.rglob("*.tmp")]
    for name in "ab":
        if state(Run(outputs / name)) != kills.expected:
            problems.append(f"training {name} is another run")
    if kills.files_of(scored) != kills.files_of(alone):
        problems.append("the evaluation is another one")
    for name, array in MediaStore.open(table, welds, outputs / "store").arrays.items():
        expected = MediaStore.open(table, welds, folder / "alone/store").arrays[name]
        if array.tobytes() != expected.tobytes():
            problems.append(f"the store's {name} is another one")
    page = write_gallery(outputs).read_text(encoding="utf-8")
    problems += [
        f"the gallery lacks {name}" for name in "abcd" if f'data-name="{name}"' not in page
    ]
    return len(works), problems


def _refused(work: Callable[[], object]) -> None:
    """Ends with a status of its own where quadlib says that the run is somebody else's."""
    try:
        work()
    except RunError:
        os._exit(REFUSED)


def _often(work: Callable[[], object]) -> None:
    for _ in range(PAGES):
        work()

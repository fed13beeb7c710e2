"""How the time of each step grows with the rows, from 1,000 to 1,000,000.

Prints seconds and each line's slope between its last two decades (1 is linear, 2 quadratic), and
writes growth.json and growth.html to outputs/bench; --picture PATH draws the PNG of the
evaluation room's page with Chromium. Retrieval of a set in itself compares all pairs, so its slope
nears 2; per pair it is flat. It stops at 30,000 rows unless --pairs asks for more.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quadlib import StratifiedBatchSampler, Subject, assign_splits, diagnose, open_source
from quadlib.data.samples import SampleTable
from quadlib.evaluation.neighbours import knn_predict
from quadlib.evaluation.retrieval import retrieval

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
MOST_IN_ITSELF = 30_000
CLASSES, DIM, NEIGHBOURS, GALLERY = 12, 128, 5, 1_000
ROWS_PER_SESSION = 20
CHROMIUM = "/usr/bin/chromium"

clock = time.perf_counter  # --cpu: time.process_time, on a machine that others use too


def seconds(step: Callable[[], object]) -> float:
    """The least of two runs, of one where it is long."""
    times: list[float] = []
    while len(times) < 2 and sum(times) < 5:
        start = clock()
        step()
        times.append(clock() - start)
    return min(times)


def unit_rows(labels: np.ndarray) -> np.ndarray:
    """Noisy unit rows (n, DIM) float32 around a centre for each class."""
    random = np.random.default_rng(0)
    rows = 0.1 * random.normal(size=(CLASSES, DIM))[labels] + random.normal(size=(len(labels), DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def measure(n: int, most_in_itself: int) -> dict[str, float]:
    """Seconds of every step over n rows."""
    random = np.random.default_rng(n)
    session = random.integers(0, n // ROWS_PER_SESSION, n)
    labels = session % CLASSES
    splits = np.array(["train", "val", "test"])[random.choice(3, n, p=[0.6, 0.2, 0.2])]
    subject = Subject(labels=labels, splits=splits, settings={"batch_size": 32})
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npz"
        np.savez(path, y=labels, group=session, features=random.normal(size=(n, 4)))
        tables: list[SampleTable] = []
        times["open a table"] = seconds(lambda: tables.append(open_source("table", path)))
        times["split by session"] = seconds(lambda: assign_splits(tables[0]))
    times["plan an epoch"] = seconds(lambda: StratifiedBatchSampler(labels, 32).plan())
    times["doctor before training"] = seconds(lambda: diagnose(subject, phases=("before",)))
    rows = unit_rows(labels)
    times[f"5-NN in {GALLERY:,} rows"] = seconds(
        lambda: knn_predict(rows, rows[:GALLERY], labels[:GALLERY], NEIGHBOURS)
    )
    if n <= most_in_itself:
        times["retrieval in itself"] = seconds(lambda: retrieval(rows, labels))
    return times


def slopes(measured: dict[int, dict[str, float]]) -> dict[str, float]:
    """Growth exponent of each line over its upper half, by least squares on logarithms."""
    result = {}
    for name in measured[min(measured)]:
        points = [(math.log(n), math.log(t[name])) for n, t in measured.items() if name in t]
        upper = np.array(points[len(points) // 2 - 1 :])
        if len(upper) > 1:
            result[name] = float(np.polyfit(upper[:, 0], upper[:, 1], 1)[0])
    return result


def figure(measured: dict[int, dict[str, float]], exponents: dict[str, float]) -> object:
    """Seconds over rows, both logarithmic, one line a step, with a line of slope 1 to compare."""
    import plotly.graph_objects as go

    unit = "seconds of processor time" if clock is time.process_time else "seconds"
    picture = go.Figure(
        layout={
            "title": "Time over rows; the dotted line is linear growth",
            "template": "plotly_white",
            "margin": {"l": 70, "r": 20, "t": 50, "b": 50},
        }
    )
    for name in measured[min(measured)]:
        sizes = [n for n, times in measured.items() if name in times]
        label = f"{name}, slope {exponents[name]:.1f}" if name in exponents else name
        picture.add_scatter(
            x=sizes, y=[measured[n][name] for n in sizes], name=label, mode="lines+markers"
        )
    ends = np.array([min(measured), max(measured)])
    picture.add_scatter(
        x=ends,
        y=ends * 1e-5,
        name="10 microseconds a row",
        mode="lines",
        line={"dash": "dot", "color": "grey"},
    )
    return picture.update_xaxes(type="log", title="rows", dtick=1).update_yaxes(
        type="log", title=unit, dtick=1
    )


def draw(page: Path, picture: Path) -> None:
    """The page's figure as a PNG, by Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        view = browser.new_page(viewport={"width": 900, "height": 520})
        view.goto(page.resolve().as_uri())
        view.wait_for_selector(".legend")
        view.screenshot(path=str(picture))
        browser.close()


def run(sizes: tuple[int, ...], folder: Path, most_in_itself: int) -> Path:
    """Measures every size, prints a row each and the slopes, and writes growth.json and .html."""
    measured: dict[int, dict[str, float]] = {}
    for n in sizes:
        measured[n] = measure(n, most_in_itself)
        if n == sizes[0]:
            print(f"{'rows':>9} " + " ".join(f"{name:>22}" for name in measured[n]))
        cells = (f"{value:.3f} s" for value in measured[n].values())
        print(f"{n:>9} " + " ".join(f"{cell:>22}" for cell in cells), flush=True)
    exponents = slopes(measured)
    print(f"{'slope':>9} " + " ".join(f"{value:>22.2f}" for value in exponents.values()))
    folder.mkdir(parents=True, exist_ok=True)
    content = {"clock": clock.__name__, "seconds": measured, "slopes": exponents}
    (folder / "growth.json").write_text(json.dumps(content, indent=1))
    figure(measured, exponents).write_html(folder / "growth.html", include_plotlyjs=True)
    return folder / "growth.html"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--pairs", type=int, default=MOST_IN_ITSELF, metavar="ROWS")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--picture", type=Path, help="also draw the figure as a PNG")
    parser.add_argument("--cpu", action="store_true", help="count processor time of all threads")
    options = parser.parse_args(arguments)
    if options.cpu:
        global clock
        clock = time.process_time
    page = run(tuple(options.sizes), options.outputs, options.pairs)
    if options.picture:
        draw(page, options.picture)


if __name__ == "__main__":
    main()

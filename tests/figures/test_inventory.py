from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from quadlib.config import BatchesSettings, TrainSettings
from quadlib.data.inventory import inventory
from quadlib.data.preview import first_look
from quadlib.data.samples import Modality, SampleTable
from quadlib.data.sources.tabular import read
from quadlib.data.store.store import decode_table
from quadlib.figures.inventory import inventory_table
from quadlib.reports.sanitise import sanitise


def logs(folder: Path, count: int, broken: int = -1) -> SampleTable:
    rows = []
    for number in range(count):
        lines = [f"{step / 10},{number},{2 * step},x{number}" for step in range(30)]
        text = "time_s,<b>flow</b> [l/min],pressure,remark\n" + "\n".join(lines)
        (folder / f"{number}.csv").write_text("" if number == broken else text)
        rows.append((f"r{number}", "ab"[number % 2], f"s{number // 4}", f"{number}.csv"))
    frame = pd.DataFrame(rows, columns=["sample_id", "label", "group", "log"])
    frame.to_csv(folder / "recordings.csv", index=False)
    return read(folder / "recordings.csv")


def test_its_text_is_what_data_check_prints(tmp_path):
    table = logs(tmp_path, 8)
    store = decode_table(table, TrainSettings(outputs=str(tmp_path / "out")))
    shown = inventory_table(table, store)
    assert str(shown).splitlines() == inventory(table, store)
    assert "log: series, 8 of 8 recordings, shape (2, 96)" in str(shown)
    assert "channel <b>flow</b> [l/min]: 0 to 7" in str(shown)
    assert "clock: time_s, 10 Hz, 2.9 s long" in str(
        shown
    ) and "remark: text ('x0') and the like" in str(shown)
    assert shown._repr_mimebundle_()["text/plain"] == str(shown)


def test_its_table_survives_a_report_and_escapes_what_data_bring(tmp_path):
    table = logs(tmp_path, 8)
    page = inventory_table(
        table, decode_table(table, TrainSettings(outputs=str(tmp_path / "out")))
    ).to_html()
    assert "<b>" not in page and "&lt;b&gt;flow&lt;/b&gt;" in page
    assert page.count(">log</th>") == 1
    assert 'rowspan="' in sanitise(page) and "&lt;b&gt;flow" in sanitise(page)


def test_of_a_few_recordings_it_says_how_many_were_looked_at(tmp_path):
    table = logs(tmp_path, 40, broken=0)
    lines = inventory(table, first_look(table, BatchesSettings(outputs=str(tmp_path / "out"))))
    assert "log: series, 40 of 40 recordings, shape (2, 96)" in lines
    assert "  files: 40 .csv" in lines
    assert "  looked at: 11 of these recordings, 1 more are damaged" in lines


def test_a_crop_that_settings_ask_for_is_named(tmp_path):
    table = logs(tmp_path, 8)
    store = decode_table(
        table, TrainSettings(series_crop="pressure", outputs=str(tmp_path / "out"))
    )
    assert "  crop: where pressure is on" in inventory(table, store)


def test_arrays_have_no_files():
    values = np.zeros((4, 3), dtype=np.float32)
    frame = pd.DataFrame(
        {
            "sample_id": list("abcd"),
            "label": list("xxyy"),
            "group": list("1234"),
            "split": "",
            "pose": range(4),
        }
    )
    table = SampleTable(frame, {"pose": Modality("vector", (3,))}, arrays={"pose": values})
    assert str(inventory_table(table)).splitlines() == [
        "pose: vector, 4 of 4 recordings, shape (3,)",
        "sessions: 4, of 1 to 1 recordings",
        "classes: 2: x 2, y 2",
        "split train: 0 recordings, 0 classes, 0 sessions",
        "split val: 0 recordings, 0 classes, 0 sessions",
        "split test: 0 recordings, 0 classes, 0 sessions",
        "no split: 4 recordings",
    ]

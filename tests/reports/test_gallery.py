"""The gallery: newest first, verdict and score, what differs, links that work from the file
system.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup

from quadlib.config import TrainSettings
from quadlib.files import write_record
from quadlib.reports.gallery import loss_curve, write_gallery
from quadlib.runs import Run, lines_text

HOSTILE = "<script>alert(1)</script>"
HEADLINE = {"tone": "fine", "sign": "✓", "word": "Fine", "sentence": f"Good {HOSTILE}."}


def history(epochs: int) -> list[dict]:
    return [
        {"kind": "epoch", "epoch": n, "fused": 3.0 / n, "floor": 0.5, "collapse": 3.4}
        for n in range(1, epochs + 1)
    ]


def make_run(outputs: Path, name: str, created: str, **settings) -> Run:
    run = Run.create(TrainSettings(run=name, outputs=str(outputs)))
    run.update(
        created=created,
        settings=TrainSettings(run=name, **settings).model_dump(),
        source="weldsim",
        status="done",
    )
    return run


def test_runs_newest_first_with_verdict_score_and_difference(tmp_path):
    first = make_run(tmp_path, "first", "2026-01-01T10:00:00+00:00", epochs=10)
    second = make_run(
        tmp_path, "second & last", "2026-01-02T10:00:00+00:00", epochs=20, learning_rate=0.1
    )
    second.path("reports").mkdir()
    second.path("reports", "04_evaluate.html").touch()
    second.update(
        notebooks={
            "02_train": {"headline": HEADLINE | {"sentence": "trained"}},
            "04_evaluate": {"headline": HEADLINE},
        }
    )
    write_record(
        second.path("evaluation.json"),
        "evaluation",
        {"headline": "macro-F1 .862 | set-points .41"},
    )
    first.update(status="killed", error={"type": "DeadKernel", "message": HOSTILE})
    soup = BeautifulSoup(write_gallery(tmp_path).read_text(encoding="utf-8"), "html.parser")
    cards = soup.select(".run")
    assert [card.h2.text for card in cards] == ["second & last", "first"]
    assert f"Good {HOSTILE}." in cards[0].text and "macro-F1 .862 | set-points .41" in cards[0].text
    assert "Differs from first: epochs 10 → 20, learning_rate 0.002 → 0.1" in " ".join(
        cards[0].text.split()
    )
    assert (
        "tone-fine" in cards[0]["class"]
        and "tone-broken" in cards[1]["class"]
        and "DeadKernel" in cards[1].text
    )
    assert (tmp_path / unquote(cards[0].a["href"])).exists()
    data, script = soup.find_all("script")
    assert data["type"] == "application/json" and "<" not in data.text  # no way out of its element
    assert "alert" not in script.text


def test_what_the_page_compares_of_each_run(tmp_path):
    scored = make_run(tmp_path, HOSTILE[1:7], "2026-01-01T10:00:00+00:00", epochs=10)
    scores = {"macro_f1": {"value": 0.862, "low": 0.8, "high": 0.9}}
    content = {"headline": "macro-F1 .862 [.80, .90] | rest", "scores": scores}
    write_record(scored.path("evaluation.json"), "evaluation", content)
    epochs = [record | {"progress": 0.1 * record["epoch"]} for record in history(3)]
    scored.path("history.jsonl").write_text(lines_text(epochs))
    make_run(tmp_path, "bare", "2026-01-02T10:00:00+00:00")
    soup = BeautifulSoup(write_gallery(tmp_path).read_text(encoding="utf-8"), "html.parser")
    known = json.loads(soup.script.text)
    (run,) = known["runs"].values()  # neither score nor progress: nothing to compare
    assert run["words"] == "macro-F1 .862 [.80, .90]" and run["score"] == 0.862
    assert run["progress"] == [[1, 0.1], [2, 0.2], [3, 0.3]]
    assert run["settings"] == {"epochs": "10"} and known["defaults"]["epochs"] == "24"


def test_a_run_is_compared_with_the_one_before_it_on_the_same_source(tmp_path):
    make_run(tmp_path, "old", "2026-01-01T10:00:00+00:00", epochs=10)
    make_run(tmp_path, "other", "2026-01-02T10:00:00+00:00", epochs=30).update(source="mfeat")
    new = make_run(tmp_path, "new", "2026-01-03T10:00:00+00:00", epochs=20)
    new.update(
        notebooks={
            "04_evaluate": {
                "headline": HEADLINE | {"tone": "look", "sign": "▲", "word": "Needs attention"}
            }
        }
    )
    card = BeautifulSoup(
        write_gallery(tmp_path).read_text(encoding="utf-8"), "html.parser"
    ).select_one(".run")
    assert "Differs from old: epochs 10 → 20" in " ".join(card.text.split())
    assert card.select_one(".status").text == "▲ Done: needs attention"


def test_an_empty_gallery_says_how_to_begin(tmp_path):
    assert "quadlib demo" in write_gallery(tmp_path).read_text(encoding="utf-8")


def test_loss_curve_lies_between_floor_and_collapse():
    soup = BeautifulSoup(loss_curve(history(3)), "html.parser")
    heights = {
        line["class"][1]: [float(point.split(",")[1]) for point in line["points"].split()]
        for line in soup.find_all("polyline")
    }
    assert heights["collapse"] == [12.0] * 3 and heights["floor"] == [62.0] * 3
    assert 12 < heights["fused"][0] < heights["fused"][1] < heights["fused"][2] < 62
    assert soup.svg["aria-label"].startswith("Loss by epoch: 3.00 to 1.00 in 3 epochs")
    assert loss_curve(history(1)) == ""


def test_a_loss_that_cannot_fall_is_drawn_flat():
    records = [
        {"kind": "epoch", "fused": 3.44 - 0.001 * n, "floor": 3.434, "collapse": 3.434}
        for n in range(3)
    ]
    soup = BeautifulSoup(loss_curve(records), "html.parser")
    heights = [float(p.split(",")[1]) for p in soup.select_one(".fused")["points"].split()]
    assert max(heights) - min(heights) < 1
    assert soup.get_text() == "floor = collapse" and "pinned" in soup.svg["aria-label"]


def test_a_damaged_run_has_a_card_that_says_so(tmp_path):
    make_run(tmp_path, "good", "2026-01-01T10:00:00+00:00")
    for name, file in (("torn", "run.json"), ("unscored", "evaluation.json")):
        run = make_run(tmp_path, name, "2026-01-02T10:00:00+00:00")
        run.path(file).write_text('{"headline')
    make_run(tmp_path, "cut", "2026-01-03T10:00:00+00:00").path("history.jsonl").write_text("{")
    soup = BeautifulSoup(write_gallery(tmp_path).read_text(encoding="utf-8"), "html.parser")
    cards = {card.h2.text: card for card in soup.select(".run")}
    assert set(cards) == {"good", "torn", "unscored", "cut"}
    assert "Damaged" not in cards["good"].text
    for name, file in (
        ("torn", "run.json"),
        ("unscored", "evaluation.json"),
        ("cut", "history.jsonl"),
    ):
        assert cards[name].select_one(".status").text == "✕ Damaged"
        assert str(tmp_path / name / file) in cards[name].text

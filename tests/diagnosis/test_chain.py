"""The chain shows each link in the colour of the worst that was found in it, grey where unseen."""

from __future__ import annotations

import numpy as np

from quadlib.diagnosis import Diagnosis, Subject, diagnose
from quadlib.diagnosis.chain import Link, chain_html, chain_of


def links_of(result: Diagnosis) -> tuple[Link, ...]:
    return chain_of(result.findings, result.ran, result.not_run)


def test_links_are_coloured_by_what_was_found_and_grey_where_nothing_was_seen():
    labels = np.arange(64) % 4
    splits = np.where(labels == 0, "train", "val")
    links = {link.name: link for link in links_of(diagnose(Subject(labels=labels, splits=splits)))}
    assert links["data and labels"].state == "error"
    assert any("QL-S01" in line for line in links["data and labels"].found)
    assert links["model"].state == "not seen" and links["model"].not_run
    healthy = {link.name: link for link in links_of(diagnose(Subject(labels=labels)))}
    assert healthy["data and labels"].state == "ok" and healthy["data and labels"].passed


def test_the_page_escapes_what_comes_from_the_subject():
    result = diagnose(Subject(labels=["<script>x</script>", "b"] * 20 + ["<img>"]))
    page = chain_html(links_of(result))
    assert "<script>" not in page and "<img>" not in page and page.count("<details") == 7

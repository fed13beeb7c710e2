"""Technical terms are explained where they are met first, and nothing becomes a tag."""

from __future__ import annotations

from quadlib.figures.terms import TERMS, explained, terms_in
from quadlib.figures.verdict import Verdict


def test_the_first_use_is_explained_and_the_text_stays_escaped() -> None:
    text = explained("macro-F1 of <b>; Macro-F1, positives & the collapse plateau")
    assert text.count("<abbr") == 3 and text.count('title="mean over the classes of F1') == 1
    assert "&lt;b&gt;" in text and "&amp; the" in text
    assert ">positives</abbr>" in text and ">collapse plateau</abbr>" in text


def test_parts_of_other_words_are_none() -> None:
    assert terms_in("a non-positive, the floorboard, recalled, unfused") == {}
    assert list(terms_in("Recall by session; floors")) == ["floor", "recall", "session"]


def test_explanations_are_one_plain_line() -> None:
    for term, line in TERMS.items():
        assert 20 < len(line) < 170 and line[0].islower() or term in ("temperature",), term
        assert not line.endswith(".") and "\n" not in line


def test_a_verdict_explains_its_numbers() -> None:
    verdict = Verdict("fine", "The loss is near its floor.", (("macro-F1", ".9"),))
    assert verdict.to_html().count("<abbr") == 2
    assert "<abbr" not in str(verdict)

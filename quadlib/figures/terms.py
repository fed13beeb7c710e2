"""A line for each technical term that a reader meets: shown on hover, and listed under a report."""

from __future__ import annotations

import html
import re

TERMS = {
    "macro-F1": "mean over the classes of F1, which is high only where a class is both found and "
    "not claimed falsely; each class counts alike, however rare",
    "accuracy": "share of recordings whose class was named correctly",
    "recall": "share of a class's recordings that were found",
    "precision": "share of the recordings named as a class that are of it",
    "MAP@R": "mean average precision at R: whether the R nearest recordings are of the same class, "
    "R being how many there are, and the nearer the more it counts",
    "AUROC": "chance that what is not normal is ranked above what is; .5 is guessing",
    "AUPRC": "mean precision over all thresholds; guessing gives the share of what is not normal",
    "anchor": "the recording of a batch whose positives and negatives are compared",
    "positive": "another recording of the anchor's class in the same batch",
    "negative": "a recording of another class in the same batch",
    "floor": "the lowest loss that the labels of a batch allow, at the given temperature",
    "collapse": "all embeddings being equal: the loss then is ln(batch size - 1)",
    "collapse plateau": "the loss of a network whose embeddings are all equal: ln(batch size - 1)",
    "progress": "how far the loss has come from the collapse plateau (0 %) to its floor (100 %)",
    "fused": "of all modalities together",
    "embedding": "the vector of length 1 that the network makes of a recording",
    "temperature": "T by which cosines are divided in the loss; small values stress the nearest",
    "baseline": "a score that needs no recording, beside which a model's score means something",
    "confounds": "how a recording was made (set-points, machine), which may tell its class",
    "session": "recordings made together; they are alike beyond their class, so none is split",
    "modality": "one of the ways in which a recording was made: video, image, audio, sensor",
    "most common class": "always naming the largest class of train",
}
_LONGEST_FIRST = sorted(TERMS, key=len, reverse=True)
_PATTERN = re.compile(
    r"(?<![\w-])(" + "|".join(map(re.escape, _LONGEST_FIRST)) + r")(e?s|ies)?(?![\w-])",
    re.IGNORECASE,
)
_BY_LOWER = {term.lower(): term for term in TERMS}


def explained(text: str) -> str:
    """A text as HTML, each technical term with its explanation on hover the first time."""
    seen: set[str] = set()

    def mark(found: re.Match[str]) -> str:
        term = _BY_LOWER[found[1].lower()]
        if term in seen:
            return found[0]
        seen.add(term)
        title = html.escape(TERMS[term], quote=True)
        return f'<abbr title="{title}">{found[0]}</abbr>'

    return _PATTERN.sub(mark, html.escape(text))


def terms_in(text: str) -> dict[str, str]:
    """The technical terms that a text uses, in the order of the alphabet, with their
    explanations.
    """
    used = {_BY_LOWER[found[1].lower()] for found in _PATTERN.finditer(text)}
    return {term: TERMS[term] for term in sorted(used, key=str.lower)}

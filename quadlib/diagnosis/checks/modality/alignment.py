"""Contracts of alignment: the streams of a row go together, across classes and within them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from quadlib.diagnosis.checks.modality.contracts import M01, M02
from quadlib.diagnosis.checks.modality.identity import named_samples
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.features import features_of, stored_arrays, summaries, table_arrays
from quadlib.diagnosis.evidence.signature import Link, Signature, signature
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(
    M01,
    "every stream of a sample is linked to the label or to another stream",
    "batch",
)
def aligned(x: Examination) -> Iterator[Finding]:
    found = x.signature
    if len(found.labels) < 3:
        raise Unavailable(
            "with fewer than three modalities the misaligned one cannot be identified"
        )
    for name in found.labels:
        rest = [other for other in found.labels if other != name]
        linked = {each: _links(found, each, x.limits.linked) for each in found.labels}
        if linked[name] or not all(linked[other] for other in rest):
            continue
        if name in named_samples(x):
            continue  # its files name their samples, and that is judged exactly
        features, labels = features_of(x)
        to_label = signature(
            {name: features[name]}, labels, most_rows=x.limits.alignment_rows
        ).labels.get(name)
        if to_label is None or to_label.p <= x.limits.unlinked:
            continue
        own = _unlinked(x, features, labels, name, within=False)
        if not own:
            continue
        pointers, structure, sessions = (
            _rows_differ(x, name),
            _structure(x, name),
            _session_link(x, name),
        )
        if not pointers and (
            structure is None
            or structure.p > x.limits.linked
            or (sessions is not None and sessions.p <= x.limits.unlinked)
        ):
            continue  # noise, or still linked to its session: it may simply be uninformative
        evidence = (
            f"{name} and label p = {to_label.p:.3f}; {name} and the {len(own)} others p = "
            f"{_range(own)} (permutation tests of distance covariance, {to_label.n} samples)",
            f"the others and label p = {_range([found.labels[other] for other in rest])}",
            pointers
            or f"{name} is no noise: one half of its values depends on the other half (p = "
            f"{structure.p:.3f})"  # type: ignore[union-attr]
            + (f", yet not on the session (p = {sessions.p:.3f})" if sessions is not None else ""),
        )
        yield M01.broken(
            "warning",
            f"modality {name} has lost every link to the label and to the other modalities, while "
            "they keep theirs",
            where=f"{name}, {to_label.n} training samples",
            evidence=evidence,
            scope=name,
            candidates=(
                f"the rows of {name} are in another order than the samples",
                f"{name} is truly uninformative",
            ),
            decide=f"compare {name} of three samples with their ids at the source",
            ruled_out=(
                "shuffled labels (the other modalities keep their link to the label)",
                "a constant modality",
            ),
            help=f"join {name} to the samples by id instead of by position   [changes what the "
            "model sees; retrain]",
        )


@check(M02, "the streams of a sample are linked beyond their class", "batch")
def aligned_within_class(x: Examination) -> Iterator[Finding]:
    found = x.signature
    if len(found.labels) < 3 or not found.within:
        raise Unavailable(
            "with fewer than three modalities the misaligned one cannot be identified within its "
            "class"
        )
    for name in found.labels:
        few = [link for pair, link in found.within.items() if name in pair]
        others = [link for pair, link in found.within.items() if name not in pair]
        pointers = _rows_differ(x, name)
        linked = [link.p <= x.limits.linked for link in others]
        suspect = (
            few
            and min(link.p for link in few) > x.limits.linked
            and others
            and (any(linked) if pointers else all(linked))
        )
        own = (
            _unlinked(x, *features_of(x), name, within=True)
            if suspect and found.labels[name].p <= x.limits.linked
            else []
        )
        if not own:
            continue
        yield M02.broken(
            "warning" if pointers else "note",
            f"modality {name} shares its class with the others and nothing else",
            where=f"{name}, {own[0].n} training samples",
            scope=name,
            evidence=(
                f"permuted within classes: {name} and the {len(own)} others p = {_range(own)}; "
                f"among the others p = {_range(others)}",
                f"{name} and label p = {found.labels[name].p:.3f}",
                *([pointers] if pointers else []),
            ),
            candidates=(
                f"the rows of {name} are exchanged within their class",
                f"{name} is healthy and tells of the class alone",
            ),
            decide=f"compare {name} of three samples with their ids at the source",
            ruled_out=(f"misaligned across classes ({name} keeps its link to the label)",),
            help=f"if ids disagree, join {name} by id instead of by position   [changes what the "
            "model sees; retrain]",
        )


def _links(found: Signature, name: str, p: float) -> list[str]:
    """What a modality is linked to, as surely as the permutations can tell: the label, other
    modalities.
    """
    return [
        *(["the label"] if found.labels[name].p <= p else []),
        *found.linked(name, p),
    ]


def _unlinked(
    x: Examination,
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    name: str,
    within: bool,
) -> list[Link]:
    """The links of a modality to every other one, on as many rows as are read, where none of them
    is there; else nothing.
    """
    others = [other for other in features if other != name]
    links = []
    for other in others:
        found = signature(
            {name: features[name], other: features[other]},
            labels,
            most_rows=x.limits.alignment_rows,
            within=within,
        )
        link = (found.within if within else found.pairs).get((name, other))
        if link is None or link.p <= x.limits.unlinked / len(others):
            return []
        links.append(link)
    return links


def _rows_differ(x: Examination, name: str) -> str:
    """Says it where a modality's column points to its array's rows in another order than all the
    others do, else "".
    """
    places = {other: place for other, (_, place) in table_arrays(x).items()}
    if name not in places or len(places) < 3:
        return ""
    others = [place for other, place in places.items() if other != name]
    there = np.all([place >= 0 for place in places.values()], axis=0)
    if not there.any() or any((place[there] != others[0][there]).any() for place in others):
        return ""
    differ = int((places[name][there] != others[0][there]).sum())
    return (
        f"column {name} points to other array rows than all others do in {differ} of "
        f"{int(there.sum())} samples"
        if differ
        else ""
    )


def _structure(x: Examination, name: str) -> Link | None:
    """Dependence of one half of a stored modality on its other half: every second feature, or the
    second half of its last axis.

    None where it is not stored, or too small to be halved.
    """
    given = (table_arrays(x) or stored_arrays(x)).get(name)
    if given is None or given[0].ndim < 2 or given[0].shape[-1] < 2:
        return None
    rows = np.asarray(x.train_rows)
    values = np.asarray(given[0][given[1][rows[given[1][rows] >= 0][: x.limits.alignment_rows]]])
    middle = values.shape[-1] // 2
    halves = (
        (values[..., ::2], values[..., 1::2])
        if values.ndim == 2
        else (values[..., :middle], values[..., middle:])
    )
    return _pair_of(
        {"one": summaries(halves[0], x.limits), "other": summaries(halves[1], x.limits)}
    )


def _pair_of(features: dict[str, np.ndarray]) -> Link | None:
    """Dependence of two sets of features of the same rows; None where they are too few or
    constant.
    """
    rows = len(next(iter(features.values())))
    return next(iter(signature(features, np.zeros(rows), within=False).pairs.values()), None)


def _session_link(x: Examination, name: str) -> Link | None:
    """Dependence of a modality on the session; None where sessions are not known or hold one
    sample each.
    """
    given = (table_arrays(x) or stored_arrays(x)).get(name)
    if given is None or x.subject.table is None or "group" not in x.frame:
        return None
    rows = np.asarray(x.train_rows)
    rows = rows[given[1][rows] >= 0][: x.limits.alignment_rows]
    groups = x.frame["group"].to_numpy()[rows]
    if not 1 < len(set(groups)) <= len(groups) / 2:
        return None
    return signature(
        {name: summaries(np.asarray(given[0][given[1][rows]]), x.limits)}, groups, within=False
    ).labels.get(name)


def _range(links: list[Link]) -> str:
    low, high = min(link.p for link in links), max(link.p for link in links)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"

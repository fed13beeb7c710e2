"""Contracts of the rows: every stream of a row is of one recording, and an embedding's row is the
recording's row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch

from quadlib.diagnosis.checks.modality.identity import named_recordings
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.features import features_of, stored_arrays, summaries, table_arrays
from quadlib.diagnosis.evidence.forward import inputs_of, presence_of
from quadlib.diagnosis.evidence.signature import Link, Signature, signature
from quadlib.diagnosis.evidence.streams import rows_of_batch
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(
    "M01",
    "the streams of a recording go together: each is linked to the label or to another stream",
    "batch",
)
def aligned(x: Examination) -> Iterator[Finding]:
    found = x.signature
    if len(found.labels) < 3:
        raise Unavailable(
            "with fewer than three modalities it cannot be told which one is misaligned"
        )
    for name in found.labels:
        rest = [other for other in found.labels if other != name]
        linked = {each: _links(found, each, x.limits.linked) for each in found.labels}
        if linked[name] or not all(linked[other] for other in rest):
            continue
        if name in named_recordings(x):
            continue  # its files name their recordings, and that is judged exactly
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
            continue  # noise, or still linked to its session: it may simply tell nothing
        evidence = (
            f"{name} and label p = {to_label.p:.3f}; {name} and the {len(own)} others p = "
            f"{_range(own)} (permutation tests of distance covariance, {to_label.n} recordings)",
            f"the others and label p = {_range([found.labels[other] for other in rest])}",
            pointers
            or f"{name} is no noise: one half of its values depends on the other half (p = "
            f"{structure.p:.3f})"  # type: ignore[union-attr]
            + (f", yet not on the session (p = {sessions.p:.3f})" if sessions is not None else ""),
        )
        yield Finding(
            "QL-M01",
            "warning",
            f"modality {name} has lost every link to the label and to the other modalities, while "
            "they keep theirs",
            where=f"{name}, {to_label.n} training recordings",
            evidence=evidence,
            scope=name,
            consequences=("QL-M02", "QL-N07"),
            candidates=(
                f"the rows of {name} stand in another order than the recordings",
                f"{name} truly tells nothing of them",
            ),
            decide=f"compare {name} of three recordings with their ids at the source",
            ruled_out=(
                "shuffled labels (the other modalities keep their link to the label)",
                "a constant modality",
            ),
            help=f"join {name} to the recordings by id instead of by position   [changes what the "
            "model sees; retrain]",
        )


@check("M01", "a batch holds each recording's own streams", "batch")
def loaded_in_its_row(x: Examination) -> Iterator[Finding]:
    arrays = table_arrays(x) or stored_arrays(x)
    own: dict[str, tuple[float, int]] = {}
    for name, (array, place) in arrays.items():
        loaded, stored = [], []
        for batch in x.batches:
            rows, inputs = rows_of_batch(batch), inputs_of(x.subject, batch)
            if (
                rows is None
                or name not in inputs
                or len(rows) != len(inputs[name])
                or rows.max(initial=-1) >= len(place)
            ):
                continue
            mask = presence_of(batch, len(rows), len(inputs))
            there = place[rows] >= 0
            if mask is not None:
                there &= mask[:, list(inputs).index(name)].cpu().numpy()
            if not there.any():
                continue
            loaded.append(summaries(inputs[name].detach().float().cpu().numpy()[there]))
            stored.append(summaries(np.asarray(array[place[rows][there]])))
        if sum(map(len, loaded)) >= x.limits.compared_rows:
            own[name] = (
                _own_nearest(np.concatenate(loaded), np.concatenate(stored)),
                sum(map(len, loaded)),
            )
    if not own:
        raise Unavailable(
            "the batches do not say which rows they hold, or no stored arrays to compare them with"
        )
    if max(share for share, _ in own.values()) < x.limits.own_row:
        raise Unavailable(
            "no modality in the batches resembles what is stored: augmentation hides it, or all "
            "are in other rows"
        )
    for name, (share, n) in own.items():
        if share > max(x.limits.other_row, 3 / n):
            continue
        yield Finding(
            "QL-M01",
            "warning",
            f"the loader hands out {name} of other recordings than its rows say",
            scope=name,
            where=f"{name} in the first {len(x.batches)} batches, {n} recordings",
            evidence=(
                f"{name} in the batch is nearest to {name} as stored of the same row for "
                f"{share:.0%} of {n} recordings; by chance {1 / n:.0%}, of a recording's own "
                "nearly all",
                "the same of the others: "
                + ", ".join(
                    f"{other} {value:.0%}" for other, (value, _) in own.items() if other != name
                ),
            ),
            consequences=("QL-M02", "QL-N07", "QL-E10"),
            ruled_out=("augmentation (the others are found)", "the stored data"),
            help=f"index {name} with the same rows as the other modalities in the dataset   "
            "[changes what the model sees; retrain]",
        )


@check("M02", "the streams of a recording are linked beyond their class", "batch")
def aligned_within_class(x: Examination) -> Iterator[Finding]:
    found = x.signature
    if len(found.labels) < 3 or not found.within:
        raise Unavailable(
            "with fewer than three modalities it cannot be told which one is misaligned within its "
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
        yield Finding(
            "QL-M02",
            "warning" if pointers else "note",
            f"modality {name} shares its class with the others and nothing else",
            where=f"{name}, {own[0].n} training recordings",
            scope=name,
            consequences=("QL-N07",),
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
            decide=f"compare {name} of three recordings with their ids at the source",
            ruled_out=(f"misaligned across classes ({name} keeps its link to the label)",),
            help=f"if ids disagree, join {name} by id instead of by position   [changes what the "
            "model sees; retrain]",
        )


@check("M07", "changing a recording changes its own embedding and no other", "batch")
def own_row(x: Examination) -> Iterator[Finding]:
    forward = x.forward
    rows, embedded = forward.rows, len(forward.base)
    views, rest = divmod(embedded, rows)
    if rest or not views or rows < 3:
        raise Unavailable(
            f"{embedded} embeddings of {rows} recordings; a whole number of views of three or more "
            "was expected"
        )
    if not bool(torch.isfinite(forward.base).all()):
        raise Unavailable("the embeddings are not finite")
    columns = forward.base.norm(dim=0)
    if torch.allclose(columns, torch.ones_like(columns), atol=1e-3):
        # normalised over the batch, which moves every row with every other: a contract of the
        # loss's input
        return
    labels = x.batch_labels
    problems = []
    for row in sorted({0, rows // 2, rows - 2}):
        changed = {name: _replaced(values, row) for name, values in forward.inputs.items()}
        moves = (forward.embed(changed) - forward.base).norm(dim=1)
        if float(moves.max()) <= 1e-6 * float(forward.base.norm(dim=1).max()):
            continue
        moved = (moves > x.limits.moved_row * moves.max()).nonzero().flatten().tolist()
        by_view, by_row = (
            [row + view * rows for view in range(views)],
            list(range(row * views, (row + 1) * views)),
        )
        if moved != by_view and (moved != by_row or forward.has_view_axis):
            problems.append(
                f"changing recording {row} moves the embedding rows {_some(moved)}; expected "
                f"{by_view}"
            )
        elif len(labels) == embedded > rows:
            grid = (
                labels.reshape(views, rows).T if moved == by_view else labels.reshape(rows, views)
            )
            mixed = np.flatnonzero((grid != grid[:, :1]).any(axis=1))
            if len(mixed):
                order = "view by view" if moved == by_view else "recording by recording"
                problems.append(
                    f"embeddings stand {order}, labels do not: views differ in label in "
                    f"{len(mixed)} of {rows} recordings, in recording {mixed[0]} "
                    f"{grid[mixed[0]].tolist()}"
                )
                break
    if not problems:
        return
    yield Finding(
        "QL-M07",
        "error",
        "embeddings are in another order than their labels: recordings or views are mixed",
        where=f"{embedded} embeddings of {rows} recordings"
        + (f", {views} views each" if views > 1 else ""),
        evidence=tuple(problems),
        consequences=("QL-P10", "QL-E10", "QL-N07"),
        ruled_out=(
            "the labels (the inputs alone were changed)",
            "dropout and batch statistics (evaluation mode)",
        ),
        help="put views in their own axis with torch.stack([view1, view2], dim=1) instead of "
        "view() or reshape(), and keep the batch first "
        "(batch_first=True)   [changes the model; retrain]",
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


def _own_nearest(loaded: np.ndarray, stored: np.ndarray) -> float:
    """Share of rows whose nearest stored row is their own, each feature on its own scale of both
    sides.
    """
    varies = (loaded.std(axis=0) > 0) & (stored.std(axis=0) > 0)
    one, other = (
        (values - values.mean(axis=0)) / values.std(axis=0)
        for values in (loaded[:, varies], stored[:, varies])
    )
    distance = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return float((distance.diagonal() <= distance.min(axis=1) + 1e-6).mean())


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
        f"{int(there.sum())} recordings"
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
    return _pair_of({"one": summaries(halves[0]), "other": summaries(halves[1])})


def _pair_of(features: dict[str, np.ndarray]) -> Link | None:
    """Dependence of two sets of features of the same rows; None where they are too few or
    constant.
    """
    rows = len(next(iter(features.values())))
    return next(iter(signature(features, np.zeros(rows), within=False).pairs.values()), None)


def _session_link(x: Examination, name: str) -> Link | None:
    """Dependence of a modality on the session; None where sessions are not known or hold one
    recording each.
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
        {name: summaries(np.asarray(given[0][given[1][rows]]))}, groups, within=False
    ).labels.get(name)


def _replaced(values: torch.Tensor, row: int) -> torch.Tensor:
    """A copy with one row replaced by noise in the scale of the batch."""
    changed, generator = values.clone(), torch.Generator().manual_seed(row)
    noise = torch.randn(values[row].shape, generator=generator).to(values.device, values.dtype)
    changed[row] = values.mean() + (values.std() + 1e-3) * noise
    return changed


def _range(links: list[Link]) -> str:
    low, high = min(link.p for link in links), max(link.p for link in links)
    return f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"


def _some(rows: list[int]) -> str:
    return f"{rows[:6]}" + (f" and {len(rows) - 6} more" if len(rows) > 6 else "")

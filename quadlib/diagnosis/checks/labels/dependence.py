"""Do the labels belong to the samples? Permutation tests and the neighbours of every
sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import binom

from quadlib.diagnosis.checks.labels.contracts import L01, L02
from quadlib.diagnosis.evidence.contents import sample_ids
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.evidence.features import stored_arrays, table_arrays
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.limits import Limits
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.words import some


def _from_arrays(x: Examination) -> bool:
    return bool(table_arrays(x) or stored_arrays(x))


@check(L01, "the modalities depend on the label")
def labels_shuffled_stored(x: Examination) -> Iterator[Finding]:
    if not _from_arrays(x):
        raise Unavailable("no decoded arrays before the first batch is loaded")
    yield from labels_shuffled(x)


@check(L01, "the modalities that the loader gives depend on the label", "batch")
def labels_shuffled_loaded(x: Examination) -> Iterator[Finding]:
    if not _from_arrays(x):
        yield from labels_shuffled(x)


@check(L02, "samples are labelled like those they resemble")
def label_noise_stored(x: Examination) -> Iterator[Finding]:
    if not _from_arrays(x):
        raise Unavailable("no decoded arrays before the first batch is loaded")
    yield from label_noise(x)


@check(L02, "samples, as the loader gives them, are labelled like those they resemble", "batch")
def label_noise_loaded(x: Examination) -> Iterator[Finding]:
    if not _from_arrays(x):
        yield from label_noise(x)


def labels_shuffled(x: Examination) -> Iterator[Finding]:
    found, counts = np.unique(x.train_labels, return_counts=True)
    if len(found) < 2 or len(found) > len(x.train_labels) / 3:
        raise Unavailable(
            f"{len(found)} classes over {len(x.train_labels)} samples: too few samples a class to "
            "permute"
        )
    seen = x.signature
    if len(seen.labels) < 2:
        raise Unavailable(
            f"{len(seen.labels)} modality: with two or more, their links would distinguish "
            "shuffled labels from bad inputs"
        )
    if not seen.label_lost(x.limits.label_link) or seen.joint is None:
        return
    linked = sum(link.p <= x.limits.label_link for link in seen.pairs.values())
    to_label = ", ".join(f"{name} p = {link.p:.3g}" for name, link in seen.labels.items())
    between = ", ".join(f"{a}-{b} p = {link.p:.3g}" for (a, b), link in seen.pairs.items())
    yield L01.broken(
        "warning",
        f"no modality depends on the label, while {linked} of {len(seen.pairs)} pairs of "
        "modalities depend on each other",
        where=f"label column of train, {seen.joint.n} samples tested",
        evidence=(
            f"permutation test of the distance covariance with the label: {to_label}; all "
            f"together p = {seen.joint.p:.3g}",
            f"between modalities: {between}",
            "shuffled labels predict exactly this; correct labels give p <= 0.01 for at least "
            "one modality",
        ),
        ruled_out=(
            "modalities misaligned with each other (their links are there)",
            "dead inputs",
            "loss, model and learning rate (not used)",
        ),
        candidates=(
            "labels shuffled against the samples",
            "a task about which these modalities carry no information",
        ),
        decide="look at the files of five samples: do they show the class in their label?",
        help="find where labels and files are joined: join by sample_id, never by position   "
        "[changes the labels; retrain]",
    )


def label_noise(x: Examination) -> Iterator[Finding]:
    features, labels = x.features
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    classes = int(codes.max(initial=0)) + 1
    if classes < 2 or len(features) < 2 or len(codes) < max(x.limits.noise_samples, 4 * classes):
        raise Unavailable(
            f"{len(codes)} samples of {classes} classes in {len(features)} modalities; two "
            f"modalities and {x.limits.noise_samples} samples are needed"
        )
    votes = [_votes(values, codes, classes, x.limits.neighbours) for values in features.values()]
    judged, against = _agreed_against(votes, codes, x.limits)
    if judged < x.limits.judged_samples:
        return
    share = len(against) / judged
    p = float(binom.sf(len(against) - 1, judged, x.limits.usual_noise))
    if share < 2 * x.limits.usual_noise or p > x.limits.noise_p:
        return
    names = np.unique(labels)
    examples = some(
        f"{names[codes[row]]} (neighbours say {names[code]})" for row, code in against[:3]
    )
    yield L02.broken(
        "warning",
        f"{share:.0%} of the labels that can be judged contradict what all modalities agree on",
        where=f"label column of train, {len(codes)} samples tested",
        evidence=(
            f"{judged} samples whose {x.limits.neighbours} nearest neighbours name one class in "
            f"every modality; for {len(against)} of them it is another class than their label",
            f"p = {p:.1g} for that many at a usual {x.limits.usual_noise:.0%} of wrong labels",
            f"for example {examples}",
        ),
        ruled_out=(
            "a hard task (there the modalities would not agree)",
            "one bad modality (all of them agree)",
        ),
        help="look at these samples first, and have them labelled again   [changes the labels; "
        "retrain]",
    )


@check(L02, "labels agree with the class that ids or paths spell")
def spelled_classes(x: Examination) -> Iterator[Finding]:
    labels = np.asarray(x.labels).astype(str)
    columns = [
        name
        for name in ("sample_id", *getattr(x.subject.table, "modalities", ()))
        if name in x.frame
    ]
    for column in columns:
        values = x.frame[column]
        for place, tokens in _tokens(values, x.limits.name_parts):
            wrong = _against_tokens(tokens, labels, x.limits.spelled_classes)
            if wrong is None or not len(wrong):
                continue
            row = wrong[0]
            yield L02.broken(
                "warning",
                f"{len(wrong)} of {len(labels)} labels contradict the class that the {column} "
                "spells",
                where=f"label column: {some(sample_ids(x, wrong[:5]))}",
                evidence=(
                    f"part {place} of {column} has as many values as there are classes "
                    f"({len(np.unique(labels))}), each of them mostly of one class; "
                    f"{values.iloc[row]} says {tokens[row]!r}, which is another class than "
                    f"{labels[row]!r}",
                    f"{1 - len(wrong) / len(labels):.1%} agree; if the names were right all "
                    f"would, by chance about {1 / len(np.unique(labels)):.0%} do (p < 1e-6)",
                ),
                ruled_out=("a hard task (no input was used)",),
                help="compare the label column with these names, and keep the one that the "
                "samples show   [changes the labels; retrain]",
            )
            return


def _tokens(values: pd.Series, most: int) -> Iterator[tuple[str, np.ndarray]]:
    """Parts of ids or paths by their place, counted from the start and from the end."""
    parts = [re.split(r"[/_\\\-. |]+", value) for value in values.astype(str)]
    shortest = min(map(len, parts), default=0)
    for place in range(min(shortest, most)):
        yield f"{place + 1}", np.array([part[place] for part in parts])
        yield f"{place + 1} from the end", np.array([part[-1 - place] for part in parts])


def _against_tokens(tokens: np.ndarray, labels: np.ndarray, agreed: float) -> np.ndarray | None:
    """Rows whose token belongs to another class, where tokens and classes correspond one to one for
    most rows; else None.
    """
    names, codes = np.unique(labels, return_inverse=True)
    spelled, own = np.unique(tokens, return_inverse=True)
    if len(names) < 4 or len(spelled) != len(names) or len(names) > len(labels) / 4:
        return None
    table = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(table, (own, codes), 1)
    modal = table.argmax(axis=1)
    agreeing = int(table.max(axis=1).sum())
    if len(np.unique(modal)) < len(names) or agreeing < agreed * len(labels):
        return None
    return np.flatnonzero(modal[own] != codes)


def _votes(values: np.ndarray, codes: np.ndarray, classes: int, neighbours: int) -> np.ndarray:
    """Share of each class among the nearest neighbours of every row, (n, classes); NaN where the
    modality is absent.
    """
    there = np.isfinite(values).all(axis=1)
    points = values[there].astype(np.float64)
    deviation = points.std(axis=0)
    points = (points - points.mean(axis=0))[:, deviation > 0] / deviation[deviation > 0]
    square = (points**2).sum(axis=1)
    distance = square[:, None] + square - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    result = np.full((len(codes), classes), np.nan)
    last = min(neighbours, len(points) - 1) - 1
    near = np.argpartition(distance, last, axis=1)[:, :neighbours]
    result[there] = np.eye(classes)[codes[there][near]].mean(axis=1)
    return result


def _agreed_against(
    votes: list[np.ndarray], codes: np.ndarray, limits: Limits
) -> tuple[int, list[tuple[int, int]]]:
    """How many rows have one class that leads in every modality, clearly; and (row, class) where it
    is not the row's own.
    """
    stacked = np.stack(votes)
    heard = ~np.isnan(stacked[:, :, 0])
    mean = (
        np.nanmean(np.where(heard[:, :, None], stacked, np.nan), axis=0)
        if heard.any(axis=0).all()
        else np.nan_to_num(stacked).mean(axis=0)
    )
    lead = mean.argmax(axis=1)
    leads = np.where(heard, stacked.argmax(axis=2) == lead, True).all(axis=0) & (
        heard.sum(axis=0) >= 2
    )
    clear = leads & (mean.max(axis=1) >= limits.neighbours_agree)
    own = mean[np.arange(len(codes)), codes]
    against = np.flatnonzero(clear & (lead != codes) & (own <= limits.own_class_votes))
    return int(clear.sum()), [(int(row), int(lead[row])) for row in against]

"""Contracts of the rows: a batch holds each sample's own streams, in its own row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from quadlib.diagnosis.checks.modality.contracts import M01, M07
from quadlib.diagnosis.evidence.batch import inputs_of, presence_of
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.features import stored_arrays, summaries, table_arrays
from quadlib.diagnosis.evidence.streams import rows_of_batch
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(M01, "a batch holds each sample's own streams", "batch")
def loaded_in_its_row(x: Examination) -> Iterator[Finding]:
    arrays = table_arrays(x) or stored_arrays(x)
    own: dict[str, tuple[float, int]] = {}
    for name, (array, place) in arrays.items():
        loaded, stored = [], []
        for batch in x.batches:
            rows, inputs = rows_of_batch(batch), inputs_of(batch)
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
            loaded.append(summaries(inputs[name].detach().float().cpu().numpy()[there], x.limits))
            stored.append(summaries(np.asarray(array[place[rows][there]]), x.limits))
        if sum(map(len, loaded)) >= x.limits.compared_rows:
            own[name] = (
                _own_nearest(np.concatenate(loaded), np.concatenate(stored)),
                sum(map(len, loaded)),
            )
    if not own:
        raise Unavailable(
            "the batches do not say which rows they hold, or there are no stored arrays to compare "
            "them with"
        )
    if max(share for share, _ in own.values()) < x.limits.own_row:
        raise Unavailable(
            "no modality in the batches resembles what is stored: augmentation hides it, or all "
            "are in other rows"
        )
    for name, (share, n) in own.items():
        if share > max(x.limits.other_row, 3 / n):
            continue
        yield M01.broken(
            "warning",
            f"the loader returns {name} of other samples than its rows say",
            scope=name,
            where=f"{name} in the first {len(x.batches)} batches, {n} samples",
            evidence=(
                f"{name} in the batch is nearest to {name} as stored of the same row for "
                f"{share:.0%} of {n} samples; by chance {1 / n:.0%}, of a sample's own "
                "nearly all",
                "the same of the others: "
                + ", ".join(
                    f"{other} {value:.0%}" for other, (value, _) in own.items() if other != name
                ),
            ),
            ruled_out=("augmentation (the others are found)", "the stored data"),
            help=f"index {name} with the same rows as the other modalities in the dataset   "
            "[changes what the model sees; retrain]",
        )


@check(M07, "changing a sample changes its own embedding and no other", "batch")
def own_row(x: Examination) -> Iterator[Finding]:
    forward = x.forward
    rows, embedded = forward.rows, len(forward.base)
    views, rest = divmod(embedded, rows)
    if rest or not views or rows < 3:
        raise Unavailable(
            f"{embedded} embeddings of {rows} samples; a whole number of views of three or more "
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
                f"changing sample {row} moves the embedding rows {_some(moved)}; expected {by_view}"
            )
        elif len(labels) == embedded > rows:
            grid = (
                labels.reshape(views, rows).T if moved == by_view else labels.reshape(rows, views)
            )
            mixed = np.flatnonzero((grid != grid[:, :1]).any(axis=1))
            if len(mixed):
                order = "view by view" if moved == by_view else "sample by sample"
                problems.append(
                    f"embeddings are ordered {order}, labels are not: views differ in label in "
                    f"{len(mixed)} of {rows} samples, in sample {mixed[0]} "
                    f"{grid[mixed[0]].tolist()}"
                )
                break
    if not problems:
        return
    yield M07.broken(
        "error",
        "embeddings are in another order than their labels: samples or views are mixed",
        where=f"{embedded} embeddings of {rows} samples"
        + (f", {views} views each" if views > 1 else ""),
        evidence=tuple(problems),
        ruled_out=(
            "the labels (the inputs alone were changed)",
            "dropout and batch statistics (evaluation mode)",
        ),
        help="put views in their own axis with torch.stack([view1, view2], dim=1) instead of "
        "view() or reshape(), and keep the batch first "
        "(batch_first=True)   [changes the model; retrain]",
    )


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


def _replaced(values: torch.Tensor, row: int) -> torch.Tensor:
    """A copy with one row replaced by noise in the scale of the batch."""
    changed, generator = values.clone(), torch.Generator().manual_seed(row)
    noise = torch.randn(values[row].shape, generator=generator).to(values.device, values.dtype)
    changed[row] = values.mean() + (values.std() + 1e-3) * noise
    return changed


def _some(rows: list[int]) -> str:
    return f"{rows[:6]}" + (f" and {len(rows) - 6} more" if len(rows) > 6 else "")

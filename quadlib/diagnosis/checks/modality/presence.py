"""Contracts of the modalities: every stream varies from sample to sample, and the mask says
what is there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quadlib.diagnosis.checks.modality.contracts import M04, M05
from quadlib.diagnosis.evidence.batch import inputs_of, presence_of
from quadlib.diagnosis.evidence.examination import Examination
from quadlib.diagnosis.evidence.streams import (
    constant,
    entering_rows,
    expected_presence,
    stored_rows,
    unchanged_rows,
)
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check
from quadlib.diagnosis.subject import Unavailable


@check(M04, "every modality varies from sample to sample as it is stored")
def dead_on_disk(x: Examination) -> Iterator[Finding]:
    stored = stored_rows(x)
    dead = [
        name
        for name, values in stored.items()
        if len(values) >= x.limits.judged_rows and constant(values, x.limits)
    ]
    for name in dead:
        values = stored[name]
        yield _dead(
            name,
            f"{len(values)} of {len(values)} training samples read hold the same "
            f"{values[0].size} value(s) ({_range(values)}): variance 0 as stored, before any "
            "transform",
            "as it is stored",
            len(dead) == len(stored),
            f"read {name} again from its source, or leave it out: "
            f"modalities={[other for other in stored if other != name]}",
        )


@check(M04, "every modality varies from sample to sample as it enters its encoder", "batch")
def dead_at_entry(x: Examination) -> Iterator[Finding]:
    stored = stored_rows(x, required=False)
    unchanged, entering = unchanged_rows(x), entering_rows(x)
    dead: dict[str, np.ndarray] = {}
    for name, given in entering.items():
        for values in (given, unchanged.get(name, given)):
            rare = (
                len(values) > 0 and values[0].size < x.limits.judged_values and name not in stored
            )
            # dead as it is stored: the transform cannot help it
            if (
                len(values) >= x.limits.judged_rows
                and constant(values, x.limits)
                and not rare
                and not (name in stored and constant(stored[name], x.limits))
            ):
                dead.setdefault(name, values)
    for name, values in dead.items():
        kept = stored.get(name)
        source = (
            f"as stored, {len(kept)} samples vary ({_range(kept)}), so the transform or the "
            "loader loses it"
            if kept is not None
            else "how it is stored could not be read: the file reader or the transform loses it"
        )
        yield _dead(
            name,
            f"{len(values)} of {len(values)} samples enter the encoder with the same "
            f"{values[0].size} value(s) ({_range(values)}): variance over the batch 0; {source}",
            "at the input of its encoder",
            len(dead) == len(entering),
            f"look at what the transform makes of two samples, batch.inputs[{name!r}][:2], and "
            "fix the reader or the scale",
        )


def _dead(name: str, evidence: str, place: str, all_dead: bool, help_text: str) -> Finding:
    return M04.broken(
        "error",
        f"modality {name} is the same in every sample, so nothing can be learned from it",
        where=f"{name}, {place}",
        evidence=(evidence,),
        scope=name,
        # the loss still has the other modalities, unless all are dead
        predicts=None if all_dead else tuple(code for code in M04.predicts if code[3] in "MN"),
        ruled_out=(
            "a missing modality (only rows that have it were counted)",
            f"the encoder of {name} (its input is constant)",
        ),
        help=f"{help_text}   [changes what the model sees; retrain]",
    )


@check(M05, "a batch's mask says which modalities are there", "batch")
def mask_of_batch(x: Examination) -> Iterator[Finding]:
    claimed, real = [], []
    for batch in x.batches:
        inputs = inputs_of(batch)
        mask = presence_of(batch, len(next(iter(inputs.values()))), len(inputs))
        if mask is None:
            raise Unavailable("the batches have no mask `present` (B, M)")
        given, expected = mask.cpu().numpy(), expected_presence(x, batch, list(inputs))
        if expected is None:
            # Without a table the data speak: what is declared absent holds values, what is declared
            # present holds zeros.
            full = np.stack(
                [values.flatten(1).ne(0).any(dim=1).cpu().numpy() for values in inputs.values()],
                axis=1,
            )
            expected = (
                full
                if (given != full).mean() >= x.limits.inverted_mask
                and full.any()
                and not given.all()
                else given
            )
        claimed.append(given)
        real.append(expected)
    given, expected = np.concatenate(claimed), np.concatenate(real)
    wrong, hidden = int((given & ~expected).sum()), int((~given & expected).sum())
    bare = int((~given.any(axis=1) & expected.any(axis=1)).sum())
    if not wrong and not bare:  # hiding some of what is there is modality dropout
        return
    inverted = (given != expected).mean() >= x.limits.inverted_mask
    title = (
        "the mask of missing modalities is inverted: what is there is hidden, what is missing is "
        "read"
        if inverted
        else f"the mask declares {wrong} missing modalities present, so their zeros are read as "
        "data"
        if wrong
        else f"the mask hides every modality of {bare} samples"
    )
    yield M05.broken(
        "error",
        title,
        where=f"present of the first {len(x.batches)} batches, {len(given)} samples",
        evidence=(
            f"mean of the mask {given.mean():.3f}; expected {expected.mean():.3f}; inverted it "
            f"would be {1 - expected.mean():.3f}",
            f"{wrong} of {int((~expected).sum())} missing modalities are declared present, "
            f"{hidden} of {int(expected.sum())} that are there are declared missing",
        ),
        ruled_out=("modality dropout (it leaves one, and adds none)",),
        help="make True mean present where the batch is put together: present = ~missing   "
        "[changes what the model reads; retrain]",
    )


@check(M05, "the model reads what is present and nothing that is absent", "batch")
def mask_in_model(x: Examination) -> Iterator[Finding]:
    forward = x.forward
    if forward.present is None or len(forward.inputs) < 2:
        raise Unavailable("the batches have no mask `present` over two modalities or more")
    if len(forward.base) != forward.rows:
        raise Unavailable(f"{len(forward.base)} embeddings of {forward.rows} samples")
    for place, name in enumerate(forward.inputs):
        rows = (
            (forward.present[:, place] & (forward.present.sum(dim=1) >= 2))
            .nonzero()
            .flatten()
            .tolist()
        )
        if not rows or name not in forward.varying:
            continue
        row, values = rows[0], forward.inputs[name]
        changed = values.clone()
        changed[row] = 2 * values.mean(dim=0) - values[row] + values.std()
        hidden = forward.present.clone()
        hidden[row, place] = False
        absent_moves = float(
            (forward.embed({name: changed}, hidden) - forward.embed(None, hidden))[row].norm()
        )
        if absent_moves <= x.limits.absent_reads * float(forward.base[row].norm()):
            continue
        present_moves = float((forward.embed({name: changed}) - forward.base)[row].norm())
        exactly = "exactly " if present_moves < 1e-3 * absent_moves else ""
        yield M05.broken(
            "error",
            f"the model reads {name} {exactly}where the mask says it is missing",
            where=f"the embedding of sample {row} of the first batch",
            evidence=(
                f"changing {name} where it is declared missing moves the embedding by "
                f"{absent_moves:.3g}; 0 was expected",
                "changing it where it is declared present moves the embedding by "
                f"{present_moves:.3g}",
            ),
            ruled_out=("the loader (this test set the mask itself)", "dropout (evaluation mode)"),
            help="attend and pool only where present is True: scores.masked_fill(~present, "
            "-torch.inf)   [changes the model; retrain]",
        )
        return  # one modality shows what the model does with its mask


def _range(values: np.ndarray) -> str:
    return f"{float(np.min(values)):.4g} to {float(np.max(values)):.4g}"

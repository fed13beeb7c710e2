"""Contracts of the evaluation: what is compared with what, in which mode, and what the figures can
mean.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.evaluation.contracts import E01, E02
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check

MODAL = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


@dataclass
class Watched:
    """One call of evaluate: its figures, how long it took, and which modules whose output depends
    on the mode ran in training mode.
    """

    figures: dict[str, float]
    seconds: float
    ran: list[str]
    training: list[str]
    model_training: bool


def evaluated(x: Examination) -> Watched:
    """The subject's evaluation, watched once and kept; the subject is put back. Raises
    Unavailable.
    """
    known = x.__dict__.get("_evaluated")
    if known is None:
        if x.subject.evaluate is None:
            raise Unavailable("evaluate was not given")
        known = x.__dict__["_evaluated"] = _watch(x)
    return known


def _watch(x: Examination) -> Watched:
    model = x.subject.model if isinstance(x.subject.model, nn.Module) else None
    modes: dict[str, bool] = {}
    whole: list[bool] = []
    handles = []
    if model is not None:
        model.train()
        handles = [
            module.register_forward_pre_hook(
                lambda module, inputs, name=name: modes.__setitem__(name, module.training)
            )
            for name, module in model.named_modules()
            if isinstance(module, MODAL) and getattr(module, "p", 1) > 0
        ]
        handles.append(
            model.register_forward_pre_hook(lambda module, inputs: whole.append(module.training))
        )
    started = time.perf_counter()
    try:
        figures = _figures(x)
    finally:
        for handle in handles:
            handle.remove()
        x.restore()
    return Watched(
        figures,
        time.perf_counter() - started,
        list(modes),
        [name for name, training in modes.items() if training],
        bool(whole and whole[-1]),
    )


def _figures(x: Examination) -> dict[str, float]:
    found = x.subject.evaluate() if x.subject.evaluate is not None else None
    if not isinstance(found, Mapping):
        raise Unavailable(f"evaluate gives {type(found).__name__}, not a dict of figures")
    return {
        str(name): float(value)
        for name, value in found.items()
        if isinstance(value, (int, float, np.number))
        or (isinstance(value, Tensor) and value.numel() == 1)
    }


def again(x: Examination) -> dict[str, float]:
    """The figures of one more evaluation; raises Unavailable where one takes long."""
    first = evaluated(x)
    if first.seconds > x.limits.evaluation_seconds:
        raise Unavailable(f"one evaluation takes {first.seconds:.0f} s, so it is not repeated")
    try:
        return _figures(x)
    finally:
        x.restore()


@check(E01, "a query is not in the gallery it is searched in", "epoch")
def query_in_gallery(x: Examination) -> Iterator[Finding]:
    if x.subject.evaluate is None and x.subject.run is not None:
        yield from _stored_overlap(x)
        return
    model = x.subject.model
    scores = {
        name: value
        for name, value in evaluated(x).figures.items()
        if conventions.SCORES.search(name) and "train" not in name
    }
    if not scores or not isinstance(model, nn.Module):
        raise Unavailable(
            "no model"
            if scores
            else "evaluate gives no score by name (accuracy, precision, recall, f1, map)"
        )
    with hashed_output(model) as replaced:
        blind = again(x)
    if not replaced:
        raise Unavailable("the evaluation does not call the model as model(batch)")
    top = max(abs(value) for value in scores.values())
    whole = 100.0 if top > 1.5 else 1.0
    perfect = [name for name in scores if blind.get(name, 0.0) >= x.limits.perfect * whole]
    if perfect:
        name = perfect[0]
        yield E01.broken(
            "error",
            f"{name} is {blind[name]:.4g} even with random embeddings: every query finds itself",
            where=f"evaluation of {x.subject.name}",
            evidence=(
                f"with the model: {scores[name]:.4g}; with embeddings that are random but equal "
                f"for equal inputs: {blind[name]:.4g}; the chance level was expected",
            ),
            ruled_out=(
                "easy data: the random embeddings know nothing of the data",
                "the model: its output was replaced",
            ),
            help="leave the query itself out of its neighbours, by row   [changes the score]",
        )


@contextmanager
def hashed_output(model: nn.Module) -> Iterator[list[int]]:
    """Inside, the model's embeddings are random directions, the same for equal inputs and unrelated
    otherwise.
    """
    replaced: list[int] = []

    def look(module: nn.Module, inputs: Any, output: Any) -> Any:
        embeddings = getattr(output, "fused", output)
        if not isinstance(embeddings, Tensor) or embeddings.ndim != 2:
            return None
        key = fingerprints(inputs, len(embeddings))
        if key is None:
            return None
        replaced.append(len(embeddings))
        rows = [
            torch.randn(embeddings.shape[1], generator=torch.Generator().manual_seed(value))
            for value in key
        ]
        fresh = nn.functional.normalize(torch.stack(rows), dim=1).to(embeddings)
        return (
            fresh
            if output is embeddings
            else output._replace(fused=fresh)
            if hasattr(output, "_replace")
            else None
        )

    handle = model.register_forward_hook(look)
    try:
        yield replaced
    finally:
        handle.remove()


def fingerprints(inputs: Any, rows: int) -> list[int] | None:
    """A seed per row from the bytes of all input tensors of that many rows; None where there is no
    such tensor.
    """
    tensors: list[Tensor] = []

    def gather(value: Any) -> None:
        if isinstance(value, Tensor):
            if value.ndim >= 2 and len(value) == rows:
                tensors.append(value.detach().cpu())
        elif isinstance(value, Mapping):
            for item in value.values():
                gather(item)
        elif isinstance(value, (tuple, list)):
            for item in value:
                gather(item)
        elif hasattr(value, "__dict__"):
            gather(vars(value))

    gather(inputs)
    if not tensors:
        return None
    import hashlib

    digests = [hashlib.blake2b(digest_size=7) for _ in range(rows)]
    for tensor in tensors:
        flat = (
            tensor.reshape(rows, -1).contiguous().numpy()
            if tensor.dtype != torch.bfloat16
            else tensor.float().reshape(rows, -1).numpy()
        )
        for digest, row in zip(digests, flat, strict=True):
            digest.update(row.tobytes())
    return [int.from_bytes(digest.digest(), "big") for digest in digests]


def _stored(x: Examination) -> Mapping[str, np.ndarray]:
    path = x.run_folder / "embeddings.npz"
    if not path.is_file():
        raise Unavailable("the run holds no evaluation")
    with np.load(path, allow_pickle=False) as stored:
        return {
            name: stored[name]
            for name in ("rows", "split", "sample_id", "fused")
            if name in stored.files
        }


def _stored_overlap(x: Examination) -> Iterator[Finding]:
    stored = _stored(x)
    if "rows" not in stored or "split" not in stored:
        raise Unavailable(
            "embeddings.npz does not say which rows are gallery and which are queries"
        )
    rows, counts = np.unique(stored["rows"], return_counts=True)
    shared = int((counts > 1).sum())
    if shared:
        yield E01.broken(
            "error",
            f"{shared} samples are both query and gallery, and find themselves",
            where="embeddings.npz",
            evidence=(
                f"{len(stored['rows'])} embeddings of {len(rows)} samples; first shared row: "
                f"{rows[counts > 1][0]}",
            ),
            help="evaluate(run): the gallery is train, the queries are test   [changes the score]",
        )


@check(E02, "the evaluation runs in evaluation mode", "epoch")
def training_mode(x: Examination) -> Iterator[Finding]:
    seen = evaluated(x)
    if not isinstance(x.subject.model, nn.Module):
        raise Unavailable("no model")
    if not seen.training:
        return
    first, second = again(x), again(x)
    differing = [name for name in first if not _equal(first[name], second.get(name, math.nan))]
    # dropout alone left on in a model that is otherwise in evaluation mode is a choice: sampling
    # over dropout
    chosen = not seen.model_training
    shown = (
        ", ".join(
            f"{name} {first[name]:.4g} and {second[name]:.4g}"
            for name in differing[:3]
            if name in second
        )
        or "equal figures"
    )
    yield E02.broken(
        "note" if chosen else "error",
        f"the evaluation runs in training mode: {len(seen.training)} of {len(seen.ran)} dropout "
        "and batch norm layers are on",
        where=f"evaluate of {x.subject.name}, for example {seen.training[0]}",
        evidence=(
            f"module.training is True while evaluating: {', '.join(seen.training[:4])}",
            f"two evaluations of the same model: {shown}",
        ),
        ruled_out=("frozen layers: those would be in evaluation mode",),
        help="model.eval() before, model.train() after   [changes the score]",
    )


@check(E02, "two evaluations of one model agree", "epoch")
def irreproducible(x: Examination) -> Iterator[Finding]:
    seen = evaluated(x)
    if seen.training:
        return
    second = again(x)
    differing = [
        name
        for name, value in seen.figures.items()
        if not _equal(value, second.get(name, math.nan))
        and "second" not in name
        and "time" not in name
    ]
    if differing:
        name = differing[0]
        then = f"{second[name]:.6g}" if name in second else "missing"
        yield E02.broken(
            "warning",
            f"two evaluations of the same model differ: {name} is {seen.figures[name]:.6g}, then "
            f"{then}",
            where=f"evaluate of {x.subject.name}",
            evidence=(
                f"{len(differing)} of {len(seen.figures)} figures differ; no layer is in training "
                "mode",
            ),
            candidates=(
                "augmentation is on for the evaluated samples",
                "the gallery or the queries are drawn at random",
                "the model draws random numbers in evaluation mode",
            ),
            decide="the embeddings of one sample, twice",
            help="switch augmentation off for validation and test   [changes the score]",
        )


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) or (
        math.isnan(one) and math.isnan(other)
    )

"""Contracts of the weights in a checkpoint: they fit the model, and are finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.checks.checkpoint.contracts import C01, C02
from quadlib.diagnosis.evidence.examination import Examination, Unavailable
from quadlib.diagnosis.finding import Finding
from quadlib.diagnosis.registry import check


def weights_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The model's weights in a checkpoint: under one of the usual keys, or the checkpoint itself.
    Raises Unavailable.
    """
    for candidate in (*(content.get(key) for key in conventions.MODEL_KEYS), content):
        if isinstance(candidate, Mapping):
            found = {
                str(name): value for name, value in candidate.items() if isinstance(value, Tensor)
            }
            if found and len(found) >= 0.5 * len(candidate):
                return found
    held = ", ".join(map(str, list(content)[:6]))
    raise Unavailable(
        f"the checkpoint holds no weights under {', '.join(conventions.MODEL_KEYS[:3])}; it holds "
        f"{held}"
    )


@check(C01, "the checkpoint's weights fit the model", "epoch")
def keys_match(x: Examination) -> Iterator[Finding]:
    stored = weights_of(x.checkpoint)
    if not isinstance(x.subject.model, nn.Module):
        raise Unavailable("no model")
    own = x.subject.model.state_dict()
    matched = [name for name in own if name in stored and own[name].shape == stored[name].shape]
    misshapen = [name for name in own if name in stored and own[name].shape != stored[name].shape]
    share = max(len(matched) / max(len(own), 1), len(matched) / max(len(stored), 1))
    if share >= x.limits.matching_tensors:
        yield from _misshapen(x, own, stored, misshapen)
        return
    prefix, after, renamed = _prefix(own, stored)
    held = [
        name
        for name in own
        if name in renamed and torch.equal(own[name].cpu(), renamed[name].cpu())
    ]
    if len(held) >= x.limits.matching_tensors * len(own):
        yield C01.broken(
            "note",
            f"the checkpoint's names are not the model's: they fit {prefix}",
            where=where_is(x),
            evidence=(
                f"{len(held)} of the model's {len(own)} tensors hold the checkpoint's values, so "
                "whoever loaded it changed the names",
                f"checkpoint: first {next(iter(stored))}; model: first {next(iter(own), '')}",
            ),
            help="save the state of what is wrapped, such as model.module, so that "
            "load_state_dict(strict=True) reads it   "
            "[changes the file]",
        )
        return
    first, mine = next(iter(stored)), next(iter(own), "")
    evidence = [
        f"checkpoint: {len(stored)} tensors, first {first}; model: {len(own)}, first {mine}; same "
        f"name and shape: {len(matched)}"
    ]
    if after > len(matched):
        evidence.append(f"{prefix}: {after} of {len(own)} would match")
    if misshapen:
        evidence.append(f"{len(misshapen)} names match in another shape, first {misshapen[0]}")
    yield C01.broken(
        "error" if not matched else "warning",
        f"the checkpoint holds {len(matched) or 'none'} of the model's {len(own)} tensors; with "
        "strict=False the others stay as they were",
        where=where_is(x),
        evidence=tuple(evidence),
        ruled_out=("a damaged file: it can be read",) if stored else (),
        help="model.load_state_dict(state, strict=True), with the prefix removed from the names   "
        "[changes the weights]",
    )


def _misshapen(
    x: Examination, own: Mapping[str, Tensor], stored: Mapping[str, Tensor], names: list[str]
) -> Iterator[Finding]:
    if names:
        name = names[0]
        yield C01.broken(
            "warning",
            f"{len(names)} tensors of the checkpoint have another shape than the model's",
            where=where_is(x),
            evidence=(
                f"{name}: {tuple(stored[name].shape)} in the checkpoint, {tuple(own[name].shape)} "
                "in the model",
            ),
            help="build the model from the checkpoint's own settings   [changes the model]",
        )


def _prefix(
    own: Mapping[str, Tensor], stored: Mapping[str, Tensor]
) -> tuple[str, int, Mapping[str, Tensor]]:
    """The change of prefix after which most names match in shape: in words, how many do, and the
    tensors by their new names.
    """
    tries: dict[str, Mapping[str, Tensor]] = {"as it is": stored}
    for prefix in conventions.WEIGHT_PREFIXES:
        inside = {
            name.removeprefix(prefix): value
            for name, value in stored.items()
            if name.startswith(prefix)
        }
        tries |= {
            f"without the prefix {prefix!r}": inside,
            f"with the prefix {prefix!r}": {prefix + name: value for name, value in stored.items()},
        }
    counts = {
        text: sum(name in own and own[name].shape == value.shape for name, value in state.items())
        for text, state in tries.items()
    }
    best = max(counts, key=lambda text: counts[text])
    return best, counts[best], tries[best]


@check(C02, "the checkpoint's weights are finite", "epoch")
def finite_weights(x: Examination) -> Iterator[Finding]:
    stored = weights_of(x.checkpoint)
    bad = {
        name: int((~torch.isfinite(value)).sum())
        for name, value in stored.items()
        if value.is_floating_point()
    }
    bad = {name: count for name, count in bad.items() if count}
    if bad:
        name = next(iter(bad))
        yield C02.broken(
            "error",
            f"{len(bad)} of {len(stored)} tensors in the checkpoint hold values that are not "
            "finite",
            where=where_is(x),
            evidence=(f"first {name}: {bad[name]} of {stored[name].numel()} values",),
            help="go back to an earlier checkpoint, and find the first loss that is not finite   "
            "[changes the weights]",
        )


def where_is(x: Examination) -> str:
    given = x.subject.checkpoint
    if isinstance(given, (str, Path)):
        return str(given)
    return f"checkpoint of {x.subject.name}"
